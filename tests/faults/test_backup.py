"""A backup that is taken while the aggregator is busy: it ends, is one consistent state, and leaves nothing when it
cannot be made."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from itertools import pairwise
from pathlib import Path

import pytest

from cloud.sqlite import backup, database
from cloud.sqlite.backup import CannotBackUp, CannotRestore, back_up, restore
from cloud.sqlite.tokens import tokens_of
from cloud.store import Store, opened
from support.cloud_batches import Sender, Ticking, columns, send
from support.disk import Ballast, mounted

pytestmark = pytest.mark.timeout(400)

BODY_BYTES = 256 << 10
BATCHES = 60  # 15 MB: several steps of a copy


@asynccontextmanager
async def city(directory: Path, now: Ticking) -> AsyncIterator[tuple[Store, Sender]]:
    """A store of some size."""
    with tokens_of(directory) as tokens:
        tokens.create("reader", None, "", 1)
    async with opened(directory, now) as store:
        sender = Sender()
        for i in range(BATCHES):
            await send(store.log, sender.batch(columns(f"lamp-{i % 7}"), columns("bin")))
        answers = [(str(i), b"", i, 200, os.urandom(BODY_BYTES)) for i in range(BATCHES)]  # what makes it large
        insert = "INSERT INTO requests VALUES (?, ?, ?, ?, ?)"
        await store.writer.do(lambda connection: connection.executemany(insert, answers).rowcount)
        yield store, sender


async def samples_of(store: Store) -> int:
    detail = await store.views.node("cab-1")
    assert detail is not None
    return detail.ledger.samples


async def test_a_backup_under_load_ends_and_holds_one_state_of_the_ledger(tmp_path: Path) -> None:
    now, data, kept = Ticking(), tmp_path / "data", tmp_path / "kept"
    steps: list[int] = []
    async with city(data, now) as (store, sender):
        held = [await samples_of(store)]

        def step(done: int, _of: int) -> None:
            """Before each step the store moves on, as a busy one does."""
            steps.append(done)
            assert len(steps) < 1_000, "it begins anew again and again"
            asyncio.run_coroutine_threadsafe(push(), loop).result()

        async def push() -> None:
            await send(store.log, sender.batch(columns("lamp-1")))
            held.append(await samples_of(store))

        loop = asyncio.get_running_loop()
        await asyncio.to_thread(back_up, data, kept, step)
        generation = store.log.generation
    assert len(steps) > 3
    assert all(a < b for a, b in pairwise(steps[:-1])), "no page is copied twice"
    assert sorted(p.name for p in kept.iterdir()) == ["store.db", "tokens.db"]
    with closing(sqlite3.connect(kept / "store.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    elsewhere = tmp_path / "elsewhere"
    assert restore(elsewhere, kept, now) > generation
    async with opened(elsewhere, now) as store:
        held_there = await samples_of(store)
        assert held_there in held[:2], "as it was when the copy of the store began"
        assert len(await store.views.names()) == 1
        assert held_there == 6 * BATCHES + 3 * (store.log.reach().head - BATCHES)
    restore(data, kept, now)
    async with opened(data, now) as store:
        assert await samples_of(store) == held_there
    assert (data / "replaced" / "store.db").exists()


async def test_a_restore_does_not_take_the_write_ahead_log_of_what_it_replaces(tmp_path: Path) -> None:
    now, data, kept = Ticking(), tmp_path / "data", tmp_path / "kept"
    async with city(data, now) as (store, _):
        await asyncio.to_thread(back_up, data, kept)
        wal = (data / "store.db-wal").read_bytes()
        assert wal
        copied = (data / "store.db").read_bytes()
    (data / "store.db").write_bytes(copied)
    (data / "store.db-wal").write_bytes(wal)  # as kill -9 leaves it
    restore(data, kept, now)
    async with opened(data, now) as store:
        assert await samples_of(store) == 6 * BATCHES
        await store.readers.ask(lambda c: c.execute("PRAGMA integrity_check").fetchone())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError()])
async def test_one_that_is_cancelled_leaves_nothing_and_can_be_made_again(tmp_path: Path, error: BaseException) -> None:
    now, data, kept = Ticking(), tmp_path / "data", tmp_path / "kept"
    async with city(data, now):
        pass

    def cancel(done: int, _of: int) -> None:
        if done:
            raise error

    with pytest.raises(type(error)):
        back_up(data, kept, cancel)
    assert list(kept.iterdir()) == []
    (kept / ".store.db.new").write_bytes(b"killed")
    back_up(data, kept)
    assert sorted(p.name for p in kept.iterdir()) == ["store.db", "tokens.db"]
    with pytest.raises(CannotBackUp, match="is not empty"):
        back_up(data, kept)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        with mounted("tmpfs", tmp_path / "disk", "-t", "tmpfs", "-o", "size=24m") as path:
            yield path
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no tmpfs can be mounted here: {error.stderr}")


async def test_a_full_destination_is_told_and_nothing_is_left_there(tmp_path: Path, disk: Path) -> None:
    data = tmp_path / "data"
    async with city(data, Ticking()):
        pass
    ballast = Ballast(disk)

    def fill(_done: int, _of: int) -> None:
        ballast.fill()

    with pytest.raises(CannotBackUp, match="full"):
        back_up(data, disk / "kept", fill)
    assert list((disk / "kept").iterdir()) == []
    with pytest.raises(CannotBackUp, match="MiB free"):
        back_up(data, disk / "kept")
    ballast.drop()
    back_up(data, disk / "kept")
    assert (disk / "kept" / "store.db").exists()


async def test_it_gives_up_before_the_store_itself_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, kept = tmp_path / "data", tmp_path / "kept"
    async with city(data, Ticking()):
        monkeypatch.setattr(backup, "MAX_WAL_BYTES", 0)
        with pytest.raises(CannotBackUp, match="faster disk"):
            back_up(data, kept)
        monkeypatch.setattr(backup, "MAX_WAL_BYTES", 1 << 60)
        monkeypatch.setattr(backup, "LEAST_FREE_BYTES", 1 << 60)
        with pytest.raises(CannotBackUp, match="make room"):
            back_up(data, kept)
    assert list(kept.iterdir()) == []


async def test_a_damaged_backup_is_refused_and_the_store_stays(tmp_path: Path) -> None:
    now, data, kept = Ticking(), tmp_path / "data", tmp_path / "kept"
    async with city(data, now):
        pass
    back_up(data, kept)
    whole = (kept / "store.db").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"no store" * 9_000, whole[:40_960] + bytes(8192) + whole[49_152:]):
        (kept / "store.db").write_bytes(damaged)
        with pytest.raises(CannotRestore, match=r"damaged|no store"):
            restore(data, kept, now)
        async with opened(data, now) as store:
            assert await samples_of(store) == 6 * BATCHES
            assert store.origins.previous == 0
        assert not [p for p in data.iterdir() if p.name.startswith(".store")]


def test_the_write_ahead_log_is_as_database_has_it() -> None:
    assert database.WAL_LIMIT_BYTES < backup.MAX_WAL_BYTES
