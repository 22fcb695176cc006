"""Compaction: small chunks become large ones, and a crash at any step leaves the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloud.compact import MERGE_CHUNKS, Compaction
from cloud.crash import never
from cloud.store import Store, opened
from cloud.times import TIME_BOUND_US
from cloud.views import ReadingsAsked
from support.cloud_batches import SECOND, START_US, Sender, Ticking, columns, roster, send
from wire.batch import Lane
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


async def test_days_of_batches_become_few_chunks(tmp_path: Path) -> None:
    now = Ticking()
    sender = Sender()
    async with opened(tmp_path, now) as store:
        compaction = Compaction(store, 7 * DAY_S * SECOND, now, never, lambda _batches: None)
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
        # Seven days of batches and up to a window more are whole; before them less than one chunk a window is left.
        assert 24 * 7 * 2 <= await count(store, "log") <= (24 * 7 + 12) * 2
        assert await count(store, "chunks") < MERGE_CHUNKS
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
        compaction = Compaction(store, 1_000 * SECOND, now, never, lambda _batches: None)
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
