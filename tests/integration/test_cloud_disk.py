"""What the aggregator's store takes on the disk: its write-ahead log while somebody always reads, and its file."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from cloud.sqlite import database
from cloud.sqlite.database import Misplaced
from cloud.sqlite.shrink import shrink
from cloud.store import opened
from support.cloud_batches import Sender, Ticking, columns, send

MIB = 1 << 20


async def test_the_write_ahead_log_is_bounded_though_somebody_always_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "WAL_LIMIT_BYTES", 4 * MIB)
    answered = 0
    async with opened(tmp_path, Ticking()) as store:

        def query(connection: sqlite3.Connection) -> None:
            connection.execute("SELECT count(*) FROM requests").fetchone()
            time.sleep(0.01)  # so that the next one has begun before this one ends

        async def read() -> None:
            nonlocal answered
            while True:
                await store.readers.ask(query)
                answered += 1

        readers = [asyncio.create_task(read()) for _ in range(3)]
        most = 0
        for i in range(100):
            row = (str(i % 8), b"", i, 200, bytes([i]) * MIB)
            await store.writer.do(
                lambda c, row=row: c.execute("INSERT OR REPLACE INTO requests VALUES (?,?,?,?,?)", row)
            )
            if i % 4 == 3:
                await store.fold()
            most = max(most, database.sizes(tmp_path).log)
        assert answered > 3
        await store.readers.ask(query)
        for reader in readers:
            reader.cancel()
        assert most < (4 + 4 + 3) * MIB, "the bound, what is written between two looks, and while queries end"


async def test_a_reader_outside_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "WAL_LIMIT_BYTES", 0)
    async with opened(tmp_path, Ticking()) as store:
        backup = sqlite3.connect(tmp_path / "store.db")
        backup.execute("BEGIN")
        backup.execute("SELECT count(*) FROM log").fetchone()
        await store.writer.do(lambda c: database.put_meta(c, "x", 1))
        await store.fold()
        assert await store.readers.ask(lambda c: database.meta(c, "x")) == 1
        assert database.sizes(tmp_path).log > 0
        backup.close()
        await store.fold()
        assert database.sizes(tmp_path).log == 0


async def test_a_long_query_is_not_waited_for_longer_than_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "WAL_LIMIT_BYTES", 0)
    monkeypatch.setattr("cloud.sqlite.store.FOLD_WAIT_S", 0.01)
    async with opened(tmp_path, Ticking()) as store:
        loop, begun, end = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

        def query(connection: sqlite3.Connection) -> int:
            connection.execute("SELECT count(*) FROM log").fetchone()
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(end.wait(), loop).result()
            return 7

        long = asyncio.create_task(store.readers.ask(query))
        await begun.wait()
        await store.writer.do(lambda c: database.put_meta(c, "x", 1))
        await store.fold()
        assert await store.readers.ask(lambda c: database.meta(c, "x")) == 1, "others are answered meanwhile"
        end.set()
        assert await long == 7
        await store.fold()
        assert database.sizes(tmp_path).log == 0


async def test_what_is_free_is_used_again_and_given_back_when_asked(tmp_path: Path) -> None:
    async def fill() -> None:
        async with opened(tmp_path, Ticking()) as store:
            for i in range(20):
                row = (str(i), b"", i, 200, bytes([i]) * MIB)
                await store.writer.do(lambda c, row=row: c.execute("INSERT INTO requests VALUES (?, ?, ?, ?, ?)", row))
            await store.writer.do(lambda c: c.execute("DELETE FROM requests"))

    await fill()
    once = database.sizes(tmp_path)
    assert once.store > 20 * MIB
    assert once.free > 19 * MIB
    for _ in range(2):
        await fill()
    assert database.sizes(tmp_path).store < once.store + MIB, "what is free is used again"
    async with opened(tmp_path, Ticking()) as store:
        generation = store.log.generation
        await send(store.log, Sender().batch(columns()))
        with pytest.raises(Misplaced, match="in use"):
            shrink(tmp_path, lambda _done, _of: None)
    before, after = shrink(tmp_path, lambda _done, _of: None)
    assert before > 20 * MIB
    assert after < MIB
    assert sorted(p.name for p in tmp_path.iterdir()) == ["generation", "lock", "store.db"]
    async with opened(tmp_path, Ticking()) as store:
        assert store.log.generation == generation, "it is the same store"
        assert await store.views.node("cab-1") is not None
