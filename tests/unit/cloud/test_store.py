"""The store: what it tells by itself, and what it knows again after a restart."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import AsyncExitStack, closing
from pathlib import Path

import msgspec
import pytest

from cloud.log.notices import Notice
from cloud.records.area_versions import Content, Wanted
from cloud.sqlite import backup, database, schema
from cloud.store import Store, opened
from support.cloud_batches import SECOND, START_US, Sender, Ticking, columns, send
from wire.batch import Lane, Snapshot
from wire.entries import Health
from wire.errors import Malformed


async def findings(store: Store) -> list[str]:
    records = await store.log.read(0, 100)
    return [msgspec.json.decode(r.body, type=Notice).finding.kind for r in records if r.notice]


async def test_silence_goes_into_the_log_once_over_restarts(tmp_path: Path) -> None:
    now = Ticking()
    sender = Sender()
    async with opened(tmp_path, now) as store:
        await send(store.log, sender.batch(Health(time_us=now(), verdict="ok", interval_s=10), lane=Lane.URGENT))
        began = now()
        now.tick(31)
        await store.note_silence(now(), began)
        await store.note_silence(now(), began)
        assert await findings(store) == ["silent"]
    now.tick(1_000)
    async with opened(tmp_path, now) as store:
        began = now()
        now.tick(31)
        await store.note_silence(now(), began)
        assert await findings(store) == ["silent"]
        await send(store.log, sender.batch(columns()))
        await store.note_silence(now(), began)
        assert await findings(store) == ["silent", "heard_again"]
    async with opened(tmp_path, now) as store:
        now.tick(31)
        await store.note_silence(now(), 0)
        assert await findings(store) == ["silent", "heard_again", "silent"]


async def test_an_older_copy_draws_a_new_generation_and_the_store_itself_does_not(tmp_path: Path) -> None:
    now = Ticking()
    data = tmp_path / "data"
    async with opened(data, now) as store:
        first = store.log.generation
        await send(store.log, Sender().batch(columns()))
        await store.save()
        with closing(sqlite3.connect(data / "store.db")) as source, closing(sqlite3.connect(":memory:")) as taken:
            source.backup(taken)
            taken.execute("PRAGMA journal_mode = DELETE")
            copy = taken.serialize()  # by another hand than ours: it does not say that it is a copy
        backup.back_up(data, tmp_path / "kept")
        await store.save()
    for _ in range(2):
        async with opened(data, now) as store:
            assert store.log.generation == first
    kept = (tmp_path / "kept" / "store.db").read_bytes()
    for older in (copy, kept):
        (data / "store.db").write_bytes(older)
        now.tick(1)
        async with opened(data, now) as store:
            assert store.log.generation > first
            first = store.log.generation
            assert store.origins.previous > 0


async def test_a_crash_between_the_two_serial_numbers_is_no_restore(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        generation = store.log.generation
    beside = (tmp_path / "generation").read_bytes()
    async with opened(tmp_path, now) as store:
        await store.save()
        serial = await store.readers.ask(lambda c: database.meta(c, "serial"))
    (tmp_path / "generation").write_text(f"{generation} {serial}\n")  # closing has raised the store's once more
    async with opened(tmp_path, now) as store:
        assert store.log.generation == generation
    (tmp_path / "generation").write_bytes(beside)
    async with opened(tmp_path, now) as store:
        assert store.log.generation > generation  # two behind: the file is not this store's


async def test_a_node_cannot_fill_the_tables_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud.sqlite.interned.MAX_EPOCHS", 2)
    monkeypatch.setattr("cloud.sqlite.interned.MAX_NODE_DEVICES", 3)
    async with opened(tmp_path, Ticking()) as store:
        for epoch in (1, 2):
            assert (await send(store.log, Sender(epoch=epoch).batch(columns(f"d-{epoch}")))).position
        with pytest.raises(Malformed, match="epochs"):
            await send(store.log, Sender(epoch=3).batch(columns()))
        sender = Sender("cab-2")
        with pytest.raises(Malformed, match="devices"):
            await send(store.log, sender.batch(*(columns(f"d-{i}") for i in range(4))))
        assert (await store.log.place("cab-2", 7, Lane.BULK)).through_seq == 0
        assert (await send(store.log, Sender("cab-2").batch(columns()))).position


async def test_time_that_goes_backwards_does_not_stop_the_log(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        sender = Sender()
        await send(store.log, sender.batch(columns()))
        now.now_us -= 9_999 * SECOND
        assert (await send(store.log, sender.batch(columns()))).position == 2


async def test_a_refused_snapshot_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud.sqlite.interned.MAX_NODE_DEVICES", 3)
    async with opened(tmp_path, Ticking()) as store:
        many = [columns(f"d-{i}", n=1) for i in range(4)]
        with pytest.raises(Malformed, match="devices"):
            await store.views.fresh(Snapshot(node="cab-1", columns=many))
        assert all(not store.latest.cells("cab-1", f"d-{i}") for i in range(4))
        await store.views.fresh(Snapshot(node="cab-1", columns=many[:2]))
        assert [bool(store.latest.cells("cab-1", f"d-{i}")) for i in range(4)] == [True, True, False, False]


async def test_snapshots_at_once_all_count(tmp_path: Path) -> None:
    async with opened(tmp_path, Ticking()) as store:
        runs = [columns(n=1, at_us=1_790_000_000_000_000 + i, **{f"p{i}": i}) for i in range(9)]
        await asyncio.gather(*(store.views.fresh(Snapshot(node="cab-1", columns=[run])) for run in runs))
    async with opened(tmp_path, Ticking()) as store:
        detail = await store.views.device("lamp-001", None)
        assert detail is not None
        assert {p: v.value for p, v in detail.latest.items() if p != "n"} == {f"p{i}": i for i in range(9)}


async def test_a_store_of_schema_2_is_brought_up_and_goes_on(tmp_path: Path) -> None:
    now, sender = Ticking(), Sender()
    with closing(sqlite3.connect(tmp_path / "store.db")) as old, old:
        for script in (schema._LOG, schema._OURS, schema._VIEWS, schema._VIEWS_2):
            old.executescript(script)
        old.execute("INSERT INTO nodes VALUES (1, 'cab-1')")
        first = sender.batch(columns())
        old.execute(
            "INSERT INTO streams VALUES (1, 1, 6, 'bulk', 1, 2, 9, ?, 1, 9, 9, 9, NULL, NULL),"
            " (2, 1, 7, 'bulk', ?, ?, 3, ?, 1, 3, 3, 3, NULL, NULL)",
            (bytes(16), now(), now(), first.digest),
        )
        old.execute("INSERT INTO alarms VALUES (1, 'a', 1, 'cleared', x'')")
        old.execute("PRAGMA user_version = 2")
    async with opened(tmp_path, now) as store:
        assert (await send(store.log, sender.batch(columns()))).place.through_seq == 6
        detail = await store.views.node("cab-1")
        assert detail is not None
        assert [(p.epoch, p.state) for p in detail.ledger.lanes] == [(6, "unknown"), (7, "current")]
        assert detail.ledger.missing.certainty == "unknown"
        assert await findings(store) == [], "and raises no alarm"
    async with opened(tmp_path, now) as store:
        assert (await send(store.log, sender.batch(columns()))).place.through_seq == 9


async def test_a_store_of_schema_5_is_brought_up_with_all_that_is_in_it(tmp_path: Path) -> None:
    scripts = (
        schema._LOG, schema._VIEWS, schema._OURS, schema._VIEWS_2, schema._LOG_3, schema._OURS_3, schema._VIEWS_3,
        schema._OURS_5, schema._VIEWS_5, schema._CLAIMS,
    )  # fmt: skip
    with closing(sqlite3.connect(tmp_path / "store.db")) as old, old:
        for script in scripts:
            old.executescript(script)
        old.execute("INSERT INTO assignments VALUES ('lamp-001', 'cab-1', 'anna', 1)")
        old.execute("PRAGMA user_version = 5")
    async with opened(tmp_path, Ticking()) as store:
        assert [a.device for a in (await store.claims.page("", 9)).assignments] == ["lamp-001"]
        wanted = Wanted(now_us=START_US)
        await store.areas.put("group", "few", Content(devices=("lamp-001",)), wanted, "anna")
    async with opened(tmp_path, Ticking()) as store:
        assert await store.areas.names("group") == ["few"]


async def test_the_event_loop_goes_on_while_another_program_holds_the_store(tmp_path: Path) -> None:
    async with opened(tmp_path, Ticking()):
        pass
    (tmp_path / "generation").unlink()  # so that it is written as it is opened
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_soon(other.execute, "ROLLBACK")
        async with opened(tmp_path, Ticking()) as store:  # on the loop it would wait BUSY_MS in vain
            assert store.trouble() is None


async def test_one_that_is_no_longer_wanted_is_closed_before_another_may_open_it(tmp_path: Path) -> None:
    async with opened(tmp_path, Ticking()):
        pass
    (tmp_path / "generation").unlink()
    stack = AsyncExitStack()
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        opening = asyncio.create_task(stack.enter_async_context(opened(tmp_path, Ticking())))
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.sleep(0)
        with pytest.raises(database.Misplaced, match="in use"):
            async with opened(tmp_path, Ticking()):
                pass
        other.execute("ROLLBACK")
        with pytest.raises(asyncio.CancelledError):
            await opening
    async with opened(tmp_path, Ticking()) as store:
        assert store.trouble() is None


async def test_whoever_reads_does_not_wait_for_the_writer_before_the_log_is_folded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    async with opened(tmp_path, Ticking()) as store:
        monkeypatch.setattr(database, "WAL_LIMIT_BYTES", 0)
        await send(store.log, Sender().batch(columns()))
        writing = asyncio.create_task(store.writer.do(lambda _connection: go_on.wait()))
        await asyncio.sleep(0)
        folding = asyncio.create_task(store.fold())
        await asyncio.sleep(0)
        assert (await store.views.nodes("", 10)).nodes
        go_on.set()
        await asyncio.gather(writing, folding)
        assert store.sizes().log == 0
