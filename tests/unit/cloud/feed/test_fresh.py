"""What a snapshot says is told at once to who reads now, without a place in the log, and only where it is news."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from cloud.api.routes import Asked
from cloud.api.sse import StreamResponse
from cloud.entrance.shares import Shares
from cloud.feed.feed import Feed
from cloud.log.cursor import Origins
from cloud.metrics import Metrics
from cloud.sqlite.followed import followed
from cloud.sqlite.tokens import SqliteTokens
from cloud.store import Store, opened
from cloud.views.watching import Watching
from support.cloud_batches import SECOND, START_US, Sender, Ticking, columns, roster, send
from wire.batch import Lane, Snapshot
from wire.sample import Clock


def feed_of(store: Any, tokens: SqliteTokens, now: Ticking) -> Feed:
    feed = Feed(
        log=store.log,
        views=store.views,
        areas=store.areas,
        now=now,
        tokens=tokens,
        shares=Shares(),
        watching=Watching(),
        metrics=Metrics(),
        origins=lambda: Origins(store.log.generation, 0, 0),
        keep_alive_s=0.0,
    )
    store.latest.on_news = feed.refreshed
    return feed


class Reader:
    """Reads on when it is asked to."""

    def __init__(self, feed: Feed, tokens: SqliteTokens, query: str) -> None:
        self._log = feed._log
        grant = tokens.look(tokens.create("reader", None, "", 1))
        scope = {"type": "http", "method": "GET", "headers": [], "query_string": query.encode()}
        self._asked, self._feed = Asked(Request(scope), grant), feed
        self._pieces: AsyncIterator[Any] | None = None

    async def piece(self) -> tuple[str, list[tuple[bool, dict[str, Any]]]]:
        """The next one as it is, and its events, each with whether it has a cursor."""
        if self._pieces is None:
            response = await self._feed._open(self._asked)
            assert isinstance(response, StreamResponse)
            self._pieces = aiter(response.body_iterator)
        piece = (await anext(self._pieces)).decode()
        blocks = [block for block in piece.split("\n\n") if "data: " in block]
        return piece, [(block.startswith("id: "), json.loads(block.partition("data: ")[2])) for block in blocks]

    async def until(self, count: int) -> list[tuple[bool, dict[str, Any]]]:
        """So many events; the longest of a test ends what never comes."""
        found: list[tuple[bool, dict[str, Any]]] = []
        while len(found) < count:
            found += (await self.piece())[1]
        return found

    async def nothing(self) -> None:
        """All that there is was told, and nothing of it is for this one."""
        if (making := self._feed._fresh._making) is not None:
            await making
        end = f": cursor\nid: {self._log.generation}.{self._log.reach().head}\n"
        ends = 0
        while ends < 3:
            piece, events = await self.piece()
            assert events == []
            ends += piece.startswith(end)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path, Ticking(START_US + 60 * SECOND)) as held:
        await send(held.log, Sender().batch(roster("lamp-001"), lane=Lane.URGENT))
        yield held


async def test_news_is_told_at_once_and_has_no_place(store: Store, tmp_path: Path) -> None:
    tokens = SqliteTokens(tmp_path)
    now = Ticking(START_US + 60 * SECOND)
    feed = feed_of(store, tokens, now)
    every, alarms, other = (Reader(feed, tokens, q) for q in ("", "type=alarm", "type=fresh&kind=bin"))
    for reader in (every, alarms, other):
        await reader.nothing()
    sender = Sender()
    sender.batch(roster("lamp-001"), lane=Lane.URGENT)
    await send(store.log, sender.batch(columns(at_us=START_US, n=2)))
    assert [cursor for cursor, _ in await every.until(2)] == [True, True]
    later = START_US + 30 * SECOND
    await store.views.fresh(Snapshot(node="cab-1", columns=[columns(at_us=later, n=1, t=1.5)]))
    ((cursor, event),) = await every.until(1)
    assert not cursor
    assert (event["type"], event["subject"], event["id"]) == (
        "city.lamplighter.fresh", "lamp-001", f"cab-1/fresh/lamp-001/{later}",
    )  # fmt: skip
    assert event["data"] == {
        "node": "cab-1", "device": "lamp-001", "kind": "streetlight", "time_us": later, "clock": "synced", "boot": None,
        "values": {"n": 0, "t": 1.5}, "quality": {},
    }  # fmt: skip
    await alarms.nothing()
    await other.nothing()
    for old in (START_US, later):  # the log or a snapshot has said as much
        await store.views.fresh(Snapshot(node="cab-1", columns=[columns(at_us=old, n=1, t=1.5)]))
        await every.nothing()
    await send(store.log, sender.batch(columns(at_us=later, n=1, t=1.5)))
    ((cursor, event),) = await every.until(1)
    assert (cursor, event["type"]) == (True, "city.lamplighter.reading"), "it comes again, in its turn"
    feed.close()
    tokens.close()


async def test_what_snapshots_said_is_not_told_anew_to_who_comes_later(store: Store, tmp_path: Path) -> None:
    tokens = SqliteTokens(tmp_path)
    feed = feed_of(store, tokens, Ticking(START_US + 60 * SECOND))
    estimated = Clock(5, synced=False)
    await store.views.fresh(Snapshot(node="cab-1", columns=[columns(at_us=START_US, n=1, clock=estimated)]))
    reader = Reader(feed, tokens, "type=fresh")
    await reader.nothing()
    await store.views.fresh(Snapshot(node="cab-1", columns=[columns("x", at_us=START_US, n=1, clock=estimated)]))
    ((_, event),) = await reader.until(1)
    assert (event["subject"], event["data"]["clock"], event["data"]["boot"]) == ("x", "estimated", 5)
    feed.close()
    tokens.close()


async def test_also_where_the_log_is_only_followed(store: Store, tmp_path: Path) -> None:
    tokens = SqliteTokens(tmp_path)
    now = Ticking(START_US + 60 * SECOND)
    async with followed(tmp_path, now) as there:
        feed = feed_of(there, tokens, now)
        reader = Reader(feed, tokens, "node=cab-1")
        await reader.nothing()
        await store.views.fresh(Snapshot(node="cab-1", columns=[columns(at_us=START_US, n=1)]))
        await there.refresh(["cab-1"], "another")
        ((cursor, event),) = await reader.until(1)
        assert (cursor, event["type"]) == (False, "city.lamplighter.fresh")
        await there.refresh(["cab-1"], "and another")
        await reader.nothing()
        feed.close()
        await asyncio.sleep(0)
    tokens.close()
