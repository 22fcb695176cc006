"""Compaction: batches become chunks within hours, small chunks large ones; a crash at any step leaves the same
answers, and so does a rebuild."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cloud.crash import Crash, never
from cloud.log.contract import Unavailable
from cloud.sqlite.chunks import MERGE_CHUNKS, Strip
from cloud.store import Store, opened, rebuild
from cloud.times import TIME_BOUND_US
from cloud.views.contract import ReadingsAsked
from support.cloud_batches import SECOND, START_US, Sender, Ticking, columns, roster, send
from wire import codec
from wire.batch import Lane
from wire.columns import Columns
from wire.entries import Health

DAY_S = 86_400


async def rows(store: Store) -> list[Any]:
    asked = ReadingsAsked(device="lamp-001", from_us=-TIME_BOUND_US, to_us=TIME_BOUND_US, limit=5_000)
    page = await store.views.readings(asked)
    assert page is not None
    assert page.next is None
    return list(page.rows)


async def count(store: Store, table: str) -> int:
    return await store.readers.ask(lambda c: c.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@pytest.mark.slow
async def test_days_of_batches_become_few_chunks(tmp_path: Path) -> None:
    now = Ticking()
    sender = Sender()
    async with opened(tmp_path, now) as store:
        compaction = store.compaction(7 * DAY_S * SECOND, now, never, lambda _batches: None)
        await send(store.log, sender.batch(roster("lamp-001"), lane=Lane.URGENT))
        for hour in range(24 * 12):
            now.tick(3_600)
            await send(store.log, sender.batch(columns(at_us=now(), n=6, step_us=600 * SECOND)))
            await send(store.log, sender.batch(Health(time_us=now(), verdict="ok"), lane=Lane.URGENT))
            if hour % 4 == 0:
                while await compaction.step():
                    pass
        whole = await rows(store)
        assert len(whole) == 24 * 12 * 6
        # Seven days of batches and up to a window more are whole; all but the last hours are in few chunks.
        assert 24 * 7 * 2 <= await count(store, "log") <= (24 * 7 + 12) * 2
        assert await count(store, "chunks") < 2 * MERGE_CHUNKS
        assert await count(store, "spans") <= 5
        assert await count(store, "residue") == 1  # the roster; of Health only the last counts, and it is whole
        assert store.log.reach().floor > 0
    async with opened(tmp_path, now) as store:
        assert await rows(store) == whole
        detail = await store.views.device("lamp-001", None)
        assert detail is not None
        assert detail.latest["n"].time_us == now() + 5 * 600 * SECOND
        assert detail.device.kind == "streetlight"


async def test_nothing_is_taken_before_its_time_and_never_the_newest(tmp_path: Path) -> None:
    now = Ticking()
    sender = Sender()
    async with opened(tmp_path, now) as store:
        compaction = store.compaction(1_000 * SECOND, now, never, lambda _batches: None)
        await send(store.log, sender.batch(columns(at_us=START_US)))
        now.tick(100_000)
        assert not await compaction.step()  # it is the newest
        await send(store.log, sender.batch(columns(at_us=START_US)))
        assert [r.position for r in await store.log.read(0, 9)] == [1, 2]
        while await compaction.step():
            pass
        assert [r.position for r in await store.log.read(0, 9)] == [2]
        assert store.log.reach().floor == 1
        await send(store.log, sender.batch(columns(at_us=START_US)))
        assert store.log.reach().head == 3


async def test_what_the_codec_would_not_open_again_is_not_made_into_one_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = Ticking()
    sender = Sender()
    async with opened(tmp_path, now) as store:
        compaction = store.compaction(1_000 * SECOND, now, never, lambda _batches: None)
        for i in range(20):
            await send(store.log, sender.batch(columns(at_us=START_US + i * 60 * SECOND, n=60)))
        whole = await rows(store)
        assert len(whole) == 1_200
        monkeypatch.setattr("wire.codec.MAX_READINGS", 150)  # two batches, and half of one more
        now.tick(100_000)
        while await compaction.step():
            pass
        assert store.log.reach().floor == 19
        assert await count(store, "chunks") > 5
        assert await rows(store) == whole


def test_a_run_that_alone_is_too_much_is_cut() -> None:
    run = columns(n=1_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wire.codec.MAX_READINGS", 300)
        chunks = Strip([(range(5, 1_005), run)], 9).chunks(1, 1, 1)
        assert [(c.first_seq, c.n) for c in chunks] == [(5, 250), (255, 250), (505, 250), (755, 250)]
        samples = [
            (c.first_seq + p, s)
            for c in chunks
            for placed in codec.decode_row(c.body)
            if isinstance(placed.entry, Columns)
            for p, s in zip(placed.places, placed.entry.samples(), strict=True)
        ]
    assert samples == list(zip(range(5, 1_005), run.samples(), strict=True))


async def filled(store: Store, now: Ticking, hours: int = 3) -> Sender:
    sender = Sender()
    await send(store.log, sender.batch(roster("lamp-001", "lamp-002"), lane=Lane.URGENT))
    for minute in range(hours * 60):
        now.tick(60)
        await send(store.log, sender.batch(*(columns(d, now(), n=1, p=minute / 3) for d in ("lamp-001", "lamp-002"))))
    return sender


async def step_by_step(store: Store, now: Ticking, crash: Crash = never) -> int:
    compaction = store.compaction(7 * DAY_S * SECOND, now, crash, lambda _batches: None)
    steps = 0
    while await compaction.step():
        steps += 1
    return steps


async def test_what_is_some_hours_old_is_found_in_chunks_while_the_log_is_whole(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        sender = await filled(store, now)
        whole, head = await rows(store), store.log.reach().head
        assert await step_by_step(store, now)
        assert await rows(store) == whole
        assert len(await store.log.read(0, 1_000)) == head, "the feed has all of it"
        left = await count(store, "spans")
        assert 0 < left <= 70, "no more than the last hour is opened batch by batch"
        assert await count(store, "chunks") == 2
        assert not await step_by_step(store, now), "nothing is chunked twice"
        for _ in range(120):
            now.tick(60)
            await send(store.log, sender.batch(columns(at_us=now(), n=1)))
        assert await step_by_step(store, now)
        whole = await rows(store)
        assert len(whole) == 300
        assert await count(store, "spans") <= 70
    assert not (await rebuild(tmp_path, lambda _done, _of: None)).told()
    async with opened(tmp_path, now) as store:
        assert await rows(store) == whole, "what is in chunks is not found in the log as well"
        now.tick(8 * DAY_S)
        await send(store.log, sender.batch(columns(at_us=now(), n=1)))
        assert await step_by_step(store, now)
        assert store.log.reach().floor > head
        assert (await rows(store))[:300] == whole
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection, connection:
        connection.execute("DELETE FROM chunked")
    assert not (await rebuild(tmp_path, lambda _done, _of: None)).told()


class Stopped(Exception):
    """Nothing goes on from here."""


@pytest.mark.parametrize(
    "point", ["compact.before_chunked", "compact.chunked", "compact.before_commit", "compact.after_commit"]
)
async def test_stopped_at_any_step_the_answers_stay(tmp_path: Path, point: str) -> None:
    now = Ticking()

    def crash(reached: str) -> None:
        if reached == point:
            raise Stopped

    async with opened(tmp_path, now) as store:
        sender = await filled(store, now)
        if point.endswith("commit"):
            now.tick(8 * DAY_S)
            await send(store.log, sender.batch(columns("lamp-002", at_us=now(), n=1)))
        whole = await rows(store)
        with pytest.raises(Stopped):
            await step_by_step(store, now, crash)
        assert await rows(store) == whole
    async with opened(tmp_path, now) as store:
        assert await rows(store) == whole
        await step_by_step(store, now)
        assert await rows(store) == whole


async def test_a_body_that_is_garbled_holds_up_no_other(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        await filled(store, now)
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection, connection:
        connection.execute("UPDATE log SET body = x'00' WHERE position = 30")
    async with opened(tmp_path, now) as store:
        await step_by_step(store, now)
        assert await count(store, "chunks") == 2
        trouble = store.trouble()
        assert trouble is not None
        assert trouble.damaged
        with pytest.raises(Unavailable):
            await rows(store)  # what is asked of it says so
    assert (await rebuild(tmp_path, lambda _done, _of: None)).positions == [(30, 30)]
    async with opened(tmp_path, now) as store:
        assert len(await rows(store)) == 179


async def test_devices_of_a_stream_are_merged_together(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        sender = await filled(store, now, hours=2)
        for _ in range(10):
            await step_by_step(store, now)
            for _ in range(70):
                now.tick(60)
                lamps = (columns(d, now(), n=1) for d in ("lamp-001", "lamp-002"))
                await send(store.log, sender.batch(*lamps))
        whole = await rows(store)
        await step_by_step(store, now)
        assert await count(store, "chunks") < 2 * MERGE_CHUNKS
        assert await rows(store) == whole
        assert len(whole) == 120 + 700


async def test_what_the_log_has_lost_and_chunks_still_hold_is_no_gap(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        await filled(store, now)
        await step_by_step(store, now)
        whole, head = await rows(store), store.log.reach().head
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection, connection:
        connection.execute("UPDATE log SET body = x'00' WHERE position IN (30, 31, ?)", (head - 5,))
    told = await rebuild(tmp_path, lambda _done, _of: None)
    assert told.seqs == {"cab-1": 2}, "a sample of each lamp, of the batch that was in no chunk yet"
    async with opened(tmp_path, now) as store:
        assert len(await rows(store)) == len(whole) - 1
        detail = await store.views.node("cab-1")
        assert detail is not None
        assert detail.ledger.missing.samples == 2
