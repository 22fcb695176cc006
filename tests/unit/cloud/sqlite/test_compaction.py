"""Compaction: small chunks become large ones, and a crash at any step leaves the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloud.crash import never
from cloud.sqlite.compaction import MERGE_CHUNKS, Strip
from cloud.store import Store, opened
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
