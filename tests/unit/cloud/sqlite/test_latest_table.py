"""How `latest` is saved: seldom enough for the disk, often enough for the next start, and beside the event loop."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from cloud.log.contract import Unavailable
from cloud.sqlite import latest_table
from cloud.store import Store, opened
from cloud.views.latest import DeviceLatest
from support.cloud_batches import START_US, Sender, Ticking, columns
from support.cloud_batches import opened as as_ingested
from wire import codec

NODES, DEVICES = 20, 20
PAGE = 4_096


class City:
    """Nodes whose devices say something every minute, heard in an order that is not that of their names."""

    def __init__(self, store: Store, now: Ticking) -> None:
        self.store, self.now = store, now
        self.senders = [Sender(f"cab-{i * 17 % NODES:02}") for i in range(NODES)]
        self.payload = self.minutes = 0

    async def minute(self) -> None:
        self.now.tick(60)
        self.minutes += 1
        points = {f"p{i}": (self.minutes * 31 + i) % 99 for i in range(8)}
        for number, sender in enumerate(self.senders):
            runs = [columns(f"{number}-{i}", self.now() + i, n=1, **points) for i in range(DEVICES)]
            batch, facts, body = as_ingested(sender.batch(*runs))
            assert (await self.store.log.append(batch, facts, body)).position is not None
            self.payload += len(body)


def frames(directory: Path) -> list[int]:
    """The pages that the write-ahead log holds, one number a frame (the file format of SQLite, section 4.1)."""
    wal = (directory / "store.db-wal").read_bytes()
    return [int.from_bytes(wal[at : at + 4], "big") for at in range(32, len(wal), 24 + PAGE)]


@pytest.mark.slow
async def test_what_saving_writes_is_bounded_by_what_came_in(tmp_path: Path) -> None:
    now, saves = Ticking(), 0
    async with opened(tmp_path, now) as store:
        await store.writer.do(lambda c: None)
        store.writer._connection.execute("PRAGMA wal_autocheckpoint = 0")  # the log of all that is written
        city, written = City(store, now), 0
        for _ in range(60):
            await city.minute()
            for _ in range(2):  # every 30 s
                before = len(frames(tmp_path))
                if await store.latest.due(store.readers):
                    saves += 1
                    await store.latest.save(store.writer)
                written += len(frames(tmp_path)) - before
        assert saves >= 2, "and it is saved now and then"
        assert 2 * PAGE * written <= 5 * city.payload  # into the write-ahead log, and out of it


async def test_each_page_is_written_once(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        store.writer._connection.execute("PRAGMA wal_autocheckpoint = 0")
        city = City(store, now)
        await city.minute()
        await store.latest.save(store.writer)
        await city.minute()
        before = len(frames(tmp_path))
        await store.latest.save(store.writer)
        pages = frames(tmp_path)[before:]
        slices = -(-NODES * DEVICES // latest_table.SAVE_SLICE)
        assert len(pages) > 20
        assert len(pages) - len(set(pages)) <= 3 * (slices + 1)  # the edges of a slice, and the root


async def test_a_start_never_has_more_than_its_bound_to_go_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = Ticking()
    monkeypatch.setattr(latest_table, "WRITTEN_A_BYTE", 0)
    async with opened(tmp_path, now) as store:
        city = City(store, now)
        await city.minute()
        assert not await store.latest.due(store.readers)
        monkeypatch.setattr(latest_table, "AGAIN_RECORDS", 2 * NODES)
        await city.minute()
        assert await store.latest.due(store.readers)
        await store.latest.save(store.writer)
        assert not await store.latest.due(store.readers)
        monkeypatch.setattr(latest_table, "AGAIN_BYTES", 1)
        assert not await store.latest.due(store.readers)
        await city.minute()
        assert await store.latest.due(store.readers)


async def test_it_is_folded_and_packed_beside_the_event_loop_a_slice_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, where, most, at_once = Ticking(), set[int](), 0, 0
    saved, copy = DeviceLatest.saved, DeviceLatest.copy

    def seen(device: DeviceLatest) -> bytes:
        nonlocal at_once
        at_once = 0
        where.add(threading.get_ident())
        return saved(device)

    def copied(device: DeviceLatest) -> DeviceLatest:
        nonlocal most, at_once
        at_once += 1
        most = max(most, at_once)
        return copy(device)

    monkeypatch.setattr(DeviceLatest, "saved", seen)
    monkeypatch.setattr(DeviceLatest, "copy", copied)
    async with opened(tmp_path, now) as store:
        city = City(store, now)
        await city.minute()
        await store.latest.save(store.writer)
        assert where
        assert threading.get_ident() not in where
        assert most <= latest_table.SAVE_SLICE


@pytest.mark.slow
async def test_what_changes_while_it_is_saved_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latest_table, "SAVE_SLICE", 10)
    now = Ticking()
    async with opened(tmp_path, now) as store:
        city = City(store, now)
        await city.minute()
        saving = asyncio.create_task(store.latest.save(store.writer))
        for _ in range(5):
            await city.minute()
        await saving
        assert all(len(held._pending) <= 1 for held in store.latest._logged.values())
        await store.latest.save(store.writer)
    async with opened(tmp_path, now) as store:
        await all_are_of(store, city.minutes)


async def all_are_of(store: Store, minute: int) -> None:
    for number in range(NODES):
        for i in range(DEVICES):
            detail = await store.views.device(f"{number}-{i}", None)
            assert detail is not None
            assert detail.latest["p0"].value == minute * 31 % 99
            assert detail.latest["p0"].time_us == START_US + minute * 60_000_000 + i


def as_kill_leaves_it(directory: Path, to: Path) -> None:
    to.mkdir()
    for name in ("store.db", "store.db-wal", "generation"):
        shutil.copyfile(directory / name, to / name)


@pytest.mark.slow
async def test_after_kill_9_latest_is_right_again_also_amid_a_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latest_table, "SAVE_SLICE", 50)
    now, data = Ticking(), tmp_path / "data"
    left: list[Path] = []
    write = latest_table._save

    def kill(connection: sqlite3.Connection, rows: list[tuple[int, int, bytes]]) -> None:
        write(connection, rows)
        if city.minutes == 4:
            left.append(tmp_path / f"killed-{len(left)}")
            as_kill_leaves_it(data, left[-1])

    monkeypatch.setattr(latest_table, "_save", kill)
    async with opened(data, now) as store:
        city = City(store, now)
        await city.minute()
        await store.latest.save(store.writer)
        for _ in range(3):
            await city.minute()
        # Two at once: the second must not count for what the first has not written yet.
        await asyncio.gather(store.latest.save(store.writer), store.latest.save(store.writer))
        await city.minute()
        as_kill_leaves_it(data, tmp_path / "later")
    assert len(left) == NODES * DEVICES // 50
    for directory in (left[0], left[3], left[-1]):
        async with opened(directory, now) as store:
            await all_are_of(store, 4)
    async with opened(tmp_path / "later", now) as store:
        await all_are_of(store, 5)


async def test_a_save_that_fails_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = Ticking()
    write = latest_table._save

    def fails(_connection: sqlite3.Connection, _rows: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with opened(tmp_path, now) as store:
        city = City(store, now)
        await city.minute()
        monkeypatch.setattr(latest_table, "_save", fails)
        assert await store.latest.due(store.readers) in {True, False}
        with pytest.raises(Unavailable):
            await store.latest.save(store.writer)
        assert store.latest.saved_through == 0
        monkeypatch.setattr(latest_table, "_save", write)
        await store.latest.save(store.writer)
        assert store.latest.saved_through == store.log.reach().head
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        assert connection.execute("SELECT count(*) FROM latest").fetchone() == (NODES * DEVICES,)
    assert codec.ACCEPTS
