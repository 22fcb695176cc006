"""What the store cannot give costs a reader of the feed no more than that, and no fault is told of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from starlette.requests import Request

from cloud.api.routes import Asked
from cloud.api.sse import StreamResponse
from cloud.entrance.shares import Shares
from cloud.feed import feed as feeds
from cloud.feed import slices
from cloud.feed.events import Slice
from cloud.feed.feed import KEEP_ALIVE_S, Feed
from cloud.feed.known import NodesKnown
from cloud.feed.slices import Slices
from cloud.log.contract import Record, Unavailable
from cloud.log.notices import Finding
from cloud.log.outline import UNKNOWN
from cloud.metrics import Metrics
from cloud.problem import Problem
from cloud.sqlite.tokens import SqliteTokens
from cloud.store import Store, opened
from cloud.views.watching import Watching
from support.cloud_batches import START_US, Sender, Ticking, columns, send

FOUND = Finding(node="cab-1", kind="gap", time_us=START_US, detail={})


async def test_a_notice_that_is_damaged_is_left_out_and_its_readers_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path, Ticking()) as store:
        await store.log.note([FOUND])
        at = store.log.reach().head
        for body in (b"{", b'{"\xff": 1}', b"[]"):
            await store.writer.do(lambda c, body=body: c.execute("UPDATE log SET body = ?", (body,)))
            assert await Slices(store.log, NodesKnown(store.views), 1 << 20).get(at, 0) == Slice((), 0, None)
    assert [r.getMessage().partition(",")[0] for r in caplog.records] == [f"record {at} cannot be read"] * 3


def feed_of(store: Store, tokens: SqliteTokens, keep_alive_s: float = KEEP_ALIVE_S) -> Feed:
    return Feed(
        log=store.log,
        views=store.views,
        areas=store.areas,
        now=Ticking(),
        tokens=tokens,
        shares=Shares(),
        watching=Watching(),
        metrics=Metrics(),
        origins=lambda: store.log.origins,
        keep_alive_s=keep_alive_s,
    )


def asked(tokens: SqliteTokens, query: bytes) -> Asked:
    tokens.create("reader", None, "", 1)
    return Asked(Request({"type": "http", "method": "GET", "headers": [], "query_string": query}), tokens.all()[0])


async def test_a_store_that_does_not_answer_ends_the_stream_without_a_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*_: object) -> Sequence[Record]:
        raise Unavailable("database is locked")

    tokens = SqliteTokens(tmp_path)
    async with opened(tmp_path, Ticking()) as store:
        await store.log.note([FOUND])
        monkeypatch.setattr(store.log, "pick", busy)
        response = await feed_of(store, tokens)._open(asked(tokens, b"after=0"))
        assert isinstance(response, StreamResponse)
        pieces = [piece async for piece in response.body_iterator]
        assert len(pieces) == 1, "where it is, and the end: it comes again"
    assert [r.getMessage() for r in caplog.records] == ["a feed was ended: database is locked"]
    tokens.close()


async def test_who_looks_something_up_first_has_its_place_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "MAX_READERS", 1)
    tokens = SqliteTokens(tmp_path)
    async with opened(tmp_path, Ticking()) as store:
        feed = feed_of(store, tokens)
        opening = [feed._open(asked(tokens, b"node=cab-1")) for _ in range(3)]
        answers = await asyncio.gather(*opening, return_exceptions=True)
        assert [a.status for a in answers if isinstance(a, Problem)] == [503, 503]
        assert feed.readers == 1
        for answer in answers:
            if isinstance(answer, StreamResponse):
                answer._open.close()
        assert feed.readers == 0
    tokens.close()


async def test_a_record_that_does_not_open_ends_its_readers_and_too_many_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0.01)
    released = threading.Event()
    async with opened(tmp_path, Ticking()) as store:
        await store.log.note([FOUND])
        at = store.log.reach().head
        found = Slices(store.log, NodesKnown(store.views), 1 << 20)

        async def encoded(*_key: int) -> Slice | None:
            await found._aside(released.wait)
            return None

        with monkeypatch.context() as patch:
            patch.setattr(found, "_encoded", encoded)
            for n in range(slices.AT_ONCE):
                assert found.late() is None
                with pytest.raises(Unavailable, match=f"record {at + n} could not be opened within"):
                    await found.get(at + n, 0)
        late = found.late()
        assert late is not None
        assert late.doing == f"the opening of {slices.AT_ONCE} records"
        released.set()
        monkeypatch.setattr(slices, "SLICE_S", 600.0)
        assert await found.get(at, 0) is not None, "nothing of it stays in the way"
        while found.late() is not None:
            await asyncio.to_thread(released.wait)


async def test_a_store_of_before_outlines_is_read_as_it_was(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        await send(store.log, Sender().batch(columns(n=2)))
        await store.log.note([Finding(node="cab-1", kind="silent", time_us=START_US, detail={})])
        await store.writer.do(lambda c: c.execute("DROP TABLE outlines") and c.execute("PRAGMA user_version = 7"))
    tokens = SqliteTokens(tmp_path)
    async with opened(tmp_path, now) as store:
        head = store.log.reach().head
        assert list(await store.log.outlines(0, head)) == [UNKNOWN] * head
        await send(store.log, Sender("cab-2").batch(columns("lamp-002", n=1)))
        assert (await store.log.outlines(head, head + 1))[0].node == "cab-2"
        for query, expected in ((b"after=0&node=cab-1", 3), (b"after=0&type=ledger", 1), (b"after=0&type=alarm", 0)):
            response = await feed_of(store, tokens, keep_alive_s=0.0)._open(asked(tokens, query))
            assert isinstance(response, StreamResponse)
            told = b""
            async for piece in response.body_iterator:
                assert isinstance(piece, bytes)
                told += piece
                if piece.startswith(b": cursor\nid: %d.%d\n" % (store.log.generation, head + 1)):
                    break
            assert told.count(b"\ndata: ") == expected, query
            await response.body_iterator.aclose()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
            response._open.close()
    tokens.close()


async def test_live_is_asked_for_with_1_and_what_is_else_is_told(tmp_path: Path) -> None:
    tokens = SqliteTokens(tmp_path)
    async with opened(tmp_path, Ticking()) as store:
        with pytest.raises(Problem, match="live is 'true'"):
            await feed_of(store, tokens)._open(asked(tokens, b"live=true"))
    tokens.close()
