"""The outbox in memory while the card cannot be used, and the way back."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from drivers.contract import Receipt
from edge.outbox.card_lock import HolderDying, InUse
from edge.outbox.contract import PositionQuery
from edge.outbox.group_commit import GroupCommit
from edge.outbox.reading import PAGE_ROWS
from edge.outbox.records import Damaged
from edge.outbox.sqlite import SqliteOutbox
from edge.outbox.storage import OPEN_S, Storage
from groundwork.liveness import SLACK_S, Part
from support.cloud import SmallCloud
from wire.batch import Lane
from wire.entries import Gap
from wire.sample import Clock, Sample

CLOCK = Clock(1, synced=True)


def sample(n: int) -> Sample:
    return Sample("lamp", n, CLOCK, {"n": n})


def box(directory: Path, **more: Any) -> SqliteOutbox:
    return SqliteOutbox(directory, node="cab", limit_bytes=16 << 20, now_us=lambda: 0, **more)


def storage(directory: Path, **more: Any) -> Storage:
    return Storage(directory, node="cab", limit_bytes=16 << 20, history_us=0, now_us=lambda: 0, **more)


async def drain(outbox: SqliteOutbox, cloud: SmallCloud) -> None:
    while (found := await outbox.cut(Lane.BULK, 1 << 18)) is not None:
        await outbox.confirm(
            cloud.ack(found.epoch, Lane.BULK) if isinstance(found, PositionQuery) else cloud.take(found.batch)
        )


async def test_memory_begins_with_what_the_card_lets_itself_be_read_and_goes_back_to_it(tmp_path: Path) -> None:
    cloud = SmallCloud()
    async with box(tmp_path) as outbox:
        for n in range(10):
            await outbox.append({Lane.BULK: [sample(n)]}, [Receipt("mqtt", b"%d" % n)], {"a": b"1", "b": b"2"})
        await drain(outbox, cloud)
        for n in range(10, 20):
            await outbox.append({Lane.BULK: [sample(n)]}, [Receipt("mqtt", b"%d" % n)])
    async with box(tmp_path, memory=True, seed=True) as memory:
        assert await memory.kept("") == {"a": b"1", "b": b"2"}
        assert len(await memory.recent("mqtt")) == 20
        assert [t for c in await memory.newest() for t in c.times] == [], "what is new"
        await memory.append({Lane.BULK: [sample(20)]}, [Receipt("mqtt", b"20")], {"a": None, "c": b"3"})
        await drain(memory, cloud)
        assert [n for _, n in cloud.numbers()] == list(range(21)), "what the card had not sent goes up from memory"
        await memory.append({Lane.BULK: [sample(21)]}, (), {})
        assert [s.values["n"] async for c in memory.history(0, 2**62) for s in c.samples()] == list(range(22))
        async with box(tmp_path) as card:
            await card.adopt(memory)
    async with box(tmp_path) as outbox:
        assert outbox.card.damaged is None
        assert await outbox.kept("") == {"b": b"2", "c": b"3"}
        assert (await outbox.recent("mqtt"))[-1] == b"20"
        await outbox.append({Lane.BULK: [sample(22)]})
        await drain(outbox, cloud)
    assert [n for _, n in cloud.numbers()] == list(range(23)), "once, and in order"
    assert [p for _, p in cloud.entries() if isinstance(p.entry, Gap)] == []


async def test_a_card_that_turns_out_damaged_while_it_takes_memory_over_takes_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud, rows = SmallCloud(), 2 * PAGE_ROWS + 10
    async with box(tmp_path) as outbox:
        await outbox.append({Lane.BULK: [sample(0)]})
    async with box(tmp_path, memory=True, seed=True) as memory:
        for n in range(1, rows):
            await memory.append({Lane.BULK: [sample(n)]})
        async with box(tmp_path) as card:
            make, asked = card.room.make, iter(range(9))

            async def found_damaged(coming_bytes: int) -> None:
                if next(asked) == 1:
                    raise Damaged("a page of what is there")
                await make(coming_bytes)

            monkeypatch.setattr(card.room, "make", found_damaged)
            await card.adopt(memory)
            assert card.card.rescues == 1
    async with box(tmp_path) as outbox:
        await outbox.append({Lane.BULK: [sample(rows)]})
        await drain(outbox, cloud)
    assert [n for _, n in cloud.numbers()] == list(range(rows + 1)), "once, and in order"


async def test_a_publish_is_confirmed_when_the_city_has_it_while_only_memory_does(tmp_path: Path) -> None:
    cloud = SmallCloud()
    async with box(tmp_path, memory=True) as memory:
        commit = GroupCommit(memory, interval_s=5, committed=lambda _urgent, _live: None)
        publish = commit.add([sample(1)], Receipt("mqtt", b"k"), live=False)
        await commit.flush()
        poll = commit.add([sample(2)], None, live=False)
        await commit.flush()
        assert poll.done()
        assert not publish.done(), "its broker keeps it"
        await drain(memory, cloud)
        await asyncio.sleep(0)
        assert publish.done()
        late = commit.add([sample(3)], Receipt("mqtt", b"l"), live=False)
        await commit.flush()
    await asyncio.sleep(0)
    assert late.cancelled(), "never confirmed"


async def test_a_card_in_use_is_refused_and_one_held_by_a_dead_process_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with box(tmp_path):
        with pytest.raises(InUse):
            await storage(tmp_path).__aenter__()
        monkeypatch.setattr("edge.outbox.card_lock.dying", lambda _pid: True)
        with pytest.raises(HolderDying):
            await box(tmp_path).__aenter__()
        kept = storage(tmp_path)
        async with kept as outbox:
            assert outbox.card.memory
            assert kept.fault is not None
            assert "was killed and hangs in the card" in kept.fault


async def test_without_a_card_it_looks_again_and_says_when_it_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no directory")
    kept = storage(tmp_path / "data", retry_s=0.01)
    cloud = SmallCloud()
    async with kept as outbox:
        assert kept.fault is not None
        assert str(tmp_path / "data") in kept.fault
        await outbox.append({Lane.BULK: [sample(1)]})
        (tmp_path / "data").unlink()
        await kept.renew.wait()
        await outbox.append({Lane.BULK: [sample(2)]})
    async with storage(tmp_path / "data") as outbox:
        assert not outbox.card.memory
        await drain(outbox, cloud)
    assert [n for _, n in cloud.numbers()] == [1, 2]


async def test_a_card_that_refuses_for_long_is_begun_anew(tmp_path: Path) -> None:
    kept = storage(tmp_path)
    async with kept:
        kept.refused(10)
        assert not kept.renew.is_set()
        kept.refused(1000)
        assert kept.renew.is_set()


@pytest.mark.parametrize(("free", "says"), [(0, "the disk is full"), (1 << 30, "disk I/O error")])
async def test_a_disk_without_room_is_called_full_whatever_sqlite_calls_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, says: str
) -> None:
    async def refuse(_: SqliteOutbox) -> SqliteOutbox:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    kept = storage(tmp_path)
    opening = SqliteOutbox.__aenter__
    monkeypatch.setattr(SqliteOutbox, "__aenter__", lambda box: opening(box) if box.card.memory else refuse(box))
    async with kept:
        assert says in str(kept.without)
        assert ("full" in str(kept.without)) == (free == 0)


class Slow:
    """A card whose opening takes so many answers, each of them so many seconds; the last one never comes."""

    def __init__(self, answers: int, each_s: float, *, hangs: bool = False, stays: bool = False) -> None:
        self.answers, self.each_s, self.hangs, self.stays = answers, each_s, hangs, stays
        self.now = 1000.0
        self.card = SimpleNamespace(answered=0, stuck_s=0.0, memory=False, damaged=None)
        self.said: list[Any] = []
        self.alive = Part("card", lambda: self.now)

    async def __aenter__(self) -> Any:
        for _ in range(self.answers):
            self.now += self.each_s
            self.said.append(self.alive.late())
            self.card.answered += 1
            for _ in range(5):
                await asyncio.sleep(0)
        while self.hangs:
            self.now += 1
            await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.hangs = self.stays
        await self.__aenter__()


@pytest.fixture
def slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Slow], Storage]:
    monkeypatch.setattr("edge.outbox.storage.LOOK_S", 0.0)

    def opened(slow: Slow) -> Storage:
        found = storage(tmp_path, alive=slow.alive, monotonic=lambda: slow.now)
        monkeypatch.setattr(found, "_box", lambda **_more: slow)
        return found

    return opened


async def test_a_salvage_that_takes_an_hour_is_not_late(slowly: Callable[[Slow], Storage]) -> None:
    slow = Slow(answers=240, each_s=15)
    async with slowly(slow) as outbox:
        assert outbox is slow
    assert slow.said == [None] * 480, "nor is a closing"
    slow.now += 1e6
    assert slow.alive.late() is None, "it is open"


async def test_an_opening_that_hangs_is_given_up_before_it_is_late(slowly: Callable[[Slow], Storage]) -> None:
    slow = Slow(answers=1, each_s=1, hangs=True)
    began = slow.now
    with pytest.raises(OSError, match="has not answered"):
        await slowly(slow)._try()
    assert slow.now - began < OPEN_S + SLACK_S
    slow.hangs = False


async def test_a_close_that_waits_for_something_else_than_the_card_is_given_up(
    slowly: Callable[[Slow], Storage],
) -> None:
    slow = Slow(answers=0, each_s=0, stays=True)
    kept = slowly(slow)
    async with kept:
        assert not kept.abandoned
    assert kept.abandoned
    slow.hangs = False
