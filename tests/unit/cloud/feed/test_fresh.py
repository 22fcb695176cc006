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
        grant = tokens.look(tokens.create("reader", None, "", 1))
        scope = {"type": "http", "method": "GET", "headers": [], "query_string": query.encode()}
        self._asked, self._feed = Asked(Request(scope), grant), feed
        self._pieces: AsyncIterator[Any] | None = None

    async def until(self, count: int) -> list[tuple[bool, dict[str, Any]]]:
        """So many events, each with whether it has a cursor; fewer where twenty comments came without any."""
        if self._pieces is None:
            response = await self._feed._open(self._asked)
            assert isinstance(response, StreamResponse)
            self._pieces = aiter(response.body_iterator)
        if (making := self._feed._fresh._making) is not None:
            await making
        found: list[tuple[bool, dict[str, Any]]] = []
        idle = 0
        while len(found) < count and idle < 20:
            piece = (await anext(self._pieces)).decode()
            idle += 1
            for block in piece.split("\n\n"):
                if "data: " in block:
                    idle = 0
                    found.append((block.startswith("id: "), json.loads(block.partition("data: ")[2])))
        return found

    async def begun(self) -> None:
        """Until it reads."""
        assert await self.until(1) == []


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
        await reader.begun()
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
    assert await alarms.until(1) == await other.until(1) == []
    for old in (START_US, later):  # the log or a snapshot has said as much
        await store.views.fresh(Snapshot(node="cab-1", columns=[columns(at_us=old, n=1, t=1.5)]))
        assert await every.until(1) == []
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
    await reader.begun()
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
        await reader.begun()
        await store.views.fresh(Snapshot(node="cab-1", columns=[columns(at_us=START_US, n=1)]))
        await there.refresh(["cab-1"], "another")
        ((cursor, event),) = await reader.until(1)
        assert (cursor, event["type"]) == (False, "city.lamplighter.fresh")
        await there.refresh(["cab-1"], "and another")
        assert await reader.until(1) == []
        feed.close()
        await asyncio.sleep(0)
    tokens.close()
