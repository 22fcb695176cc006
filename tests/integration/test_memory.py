"""What is done again and again leaves nothing behind: batches opened, read, compacted, fed, sent, and looked up.

Counted by what Python itself has allocated (tracemalloc), after everything that has a bound has reached it. What the
collector could still free is freed first: what is left then is left for ever.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from cloud.crash import never
from cloud.feed.known import NodesKnown
from cloud.feed.slices import Slices
from cloud.store import Store, opened
from cloud.views.contract import AlarmsAsked, ReadingsAsked
from edge.outbox.contract import Cut, PositionQuery
from edge.outbox.joining import SealedRow
from edge.outbox.joining import opened as open_rows
from edge.outbox.sealing import seal
from edge.outbox.sqlite import SqliteOutbox
from support.cloud import SmallCloud
from support.cloud_batches import SECOND, START_US, Sender, Ticking, columns, roster, send
from wire import codec
from wire.batch import Lane, Snapshot
from wire.columns import Columns
from wire.entries import Alarm, Gap
from wire.sample import Clock, Sample

LAMPS = [f"lamp-{i:03}" for i in range(20)]
ROUNDS = 30
LEFT_BYTES = 1_000  # a round; one batch of LAMPS that is opened and not freed has more than 20,000


@pytest.fixture(autouse=True)
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


async def left_by(step: Callable[[], Awaitable[None]], rounds: int = ROUNDS) -> float:
    """Bytes that each of the later rounds leaves behind: the least of three stretches. A leak is in all of them; what a
    thread happens to hold when the others look is not.
    """

    async def some() -> int:
        for _ in range(rounds):
            await step()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    await some()
    held = [await some() for _ in range(4)]
    return min(after - before for before, after in itertools.pairwise(held)) / rounds


def body_of(sender: Sender, now: Ticking) -> bytes:
    return codec.encode_batch(sender.batch(*(columns(lamp, now(), n=6, dim=40.5) for lamp in LAMPS)))


# ---- what a batch holds, wherever it is opened --------------------------------------------------------------------


async def test_a_batch_that_is_opened_and_read_is_freed_at_once_without_the_collector() -> None:
    body = body_of(Sender(), Ticking())
    gc.collect()
    gc.disable()
    try:

        async def step() -> None:
            batch = codec.decode_batch(body)
            assert sum(len(list(item.places)) for item in batch.entries) == 6 * len(LAMPS)

        for _ in range(3):
            await step()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(ROUNDS):
            await step()
        assert (tracemalloc.get_traced_memory()[0] - before) / ROUNDS < LEFT_BYTES
    finally:
        gc.enable()


# ---- the aggregator ---------------------------------------------------------------------------------------------


class City:
    """An open store, a node that pushes every minute, and whoever reads."""

    def __init__(self, store: Store, now: Ticking) -> None:
        self.store, self.now, self.sender = store, now, Sender()
        self.slices = Slices(store.log, NodesKnown(store.views), 1)  # keeps one slice
        self.compaction = store.compaction(600 * SECOND, now, never, lambda _batches: None)

    async def push(self) -> None:
        self.now.tick(60)
        assert (await send(self.store.log, codec.decode_batch(body_of(self.sender, self.now)))).position is not None

    async def follow(self) -> None:
        await self.push()
        part = await self.slices.get(self.store.log.reach().head, 0)
        assert part is not None
        assert part.events

    async def ask(self) -> None:
        asked = ReadingsAsked(
            device=LAMPS[3], node=None, from_us=START_US, to_us=self.now() + 1, points=(), limit=50, cursor=None
        )
        page = await self.store.views.readings(asked)
        assert page is not None
        assert page.rows

    async def compact(self) -> None:
        await self.push()
        while await self.compaction.step():
            pass

    async def alarms(self) -> None:
        self.now.tick(60)
        gap = Gap(reason="full", lost=1, devices=(LAMPS[0],))
        alarm = Alarm(
            id="a", device=LAMPS[0], rule="r", severity="high", state="raised", raised_us=1, time_us=self.now()
        )
        await send(self.store.log, self.sender.batch(alarm, gap, lane=Lane.URGENT))
        await self.store.look(self.now(), START_US)
        found, _ = await self.store.views.alarms(AlarmsAsked(limit=10))
        assert found

    async def fresh(self) -> None:
        run = columns(LAMPS[0], self.now(), n=1)
        await self.store.views.fresh(Snapshot(node="cab-1", columns=[run]))


@pytest.mark.parametrize("step", ["push", "follow", "ask", "compact", "alarms", "fresh"])
async def test_the_aggregator_keeps_nothing_of_what_it_has_done(step: str, tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        city = City(store, now)
        await send(store.log, city.sender.batch(roster(*LAMPS), lane=Lane.URGENT))
        for _ in range(10):
            await city.push()
        assert await left_by(getattr(city, step)) < LEFT_BYTES


# ---- the node ---------------------------------------------------------------------------------------------------


def street(at_us: int) -> list[Sample]:
    return [Sample(lamp, at_us, Clock(1, synced=True), {"n": at_us % 7, "dim": 40.5}) for lamp in LAMPS]


async def test_the_opener_keeps_nothing_of_the_rows_that_it_has_opened() -> None:
    (sealed,) = seal(street(START_US))
    rows = [SealedRow(1 + i * len(LAMPS), (i + 1) * len(LAMPS), b"", sealed.body) for i in range(5)]

    async def step() -> None:
        contents, count, damage = await asyncio.to_thread(open_rows, 0, rows)
        assert (count, damage) == (5, "")
        assert sum(len(list(item.places)) for item in contents) == 5 * len(LAMPS)

    assert await left_by(step) < LEFT_BYTES


async def test_the_node_keeps_nothing_of_what_it_has_sent_and_looked_up(tmp_path: Path) -> None:
    at_us = START_US
    async with SqliteOutbox(tmp_path, node="cab-1", limit_bytes=64 << 20, now_us=lambda: at_us) as outbox:
        cloud = SmallCloud()

        async def step() -> None:
            nonlocal at_us
            at_us += 60 * SECOND
            for _ in range(3):
                await outbox.append({Lane.BULK: street(at_us)})
            while isinstance(cut := await outbox.cut(Lane.BULK, 1 << 20), PositionQuery):
                await outbox.confirm(cloud.ack(cut.epoch, cut.lane))
            assert isinstance(cut, Cut)
            assert sum(len(list(item.places)) for item in cut.batch.entries) == 3 * len(LAMPS)
            await outbox.confirm(cloud.take(cut.batch))
            for held in cloud.lanes.values():
                held.batches.clear()
            found = [c async for c in outbox.history(at_us, at_us + 1)]
            assert len(found) == 3 * len(LAMPS)
            assert all(isinstance(c, Columns) for c in await outbox.newest())

        assert await left_by(step) < LEFT_BYTES
