"""The quarantine on a card: its bounds, and files of earlier versions. The contract is in tests/conformance."""

from __future__ import annotations

import random
import sqlite3
import string
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge.outbox.contract import Cut, PositionQuery
from edge.outbox.quarantine import DAMAGED_ROWS
from edge.outbox.sqlite import SqliteOutbox
from support.cloud import SmallCloud
from wire.batch import Lane
from wire.columns import Columns
from wire.sample import Clock, Sample

CLOCK = Clock(1, synced=True)


def columns(number: int, *, wide: int = 0) -> Columns:
    rng = random.Random(number)
    texts = ["".join(rng.choices(string.printable, k=4000)) for _ in range(wide)]  # what zstd cannot make small
    return Columns.of([Sample("lamp", number, CLOCK, {"n": number, **{f"t{i}": t for i, t in enumerate(texts)}})])


def box(path: Path, **more: Any) -> SqliteOutbox:
    return SqliteOutbox(path, **{"node": "cab", "limit_bytes": 16 << 20, "now_us": lambda: 77, **more})


async def next_cut(outbox: SqliteOutbox, cloud: SmallCloud, limit: int = 1) -> Cut:
    while isinstance(found := await outbox.cut(Lane.BULK, limit), PositionQuery):
        await outbox.confirm(cloud.ack(found.epoch, Lane.BULK))
    assert found is not None
    return found


@pytest.mark.slow
async def test_what_does_not_fit_is_not_set_aside_and_nothing_goes_for_it(tmp_path: Path) -> None:
    cloud = SmallCloud()
    async with box(tmp_path, limit_bytes=8 << 20) as outbox:  # an eighth: 1 MiB
        for n in range(20):
            await outbox.append({Lane.BULK: [columns(n, wide=40)]})
        aside = 0
        while True:
            cut = await next_cut(outbox, cloud)
            if not await outbox.quarantine(cut.batch, "no"):
                break
            aside += 1
            await outbox.confirm(cloud.take((await next_cut(outbox, cloud)).batch))
        assert 2 <= aside < 20
        listed = await outbox.set_aside()
        assert len(listed) == aside
        assert sum(a.bytes for a in listed) <= 1 << 20
        assert {a.aside_us for a in listed} == {77}
        assert (await next_cut(outbox, cloud)).batch.first_seq == cut.batch.first_seq
    async with box(tmp_path, limit_bytes=8 << 20) as outbox:
        assert (await outbox.depth()).quarantined == aside, "after a restart too"


async def test_a_file_of_an_earlier_version_keeps_its_rows_and_they_can_be_sent(tmp_path: Path) -> None:
    cloud = SmallCloud()
    async with box(tmp_path) as outbox:
        await outbox.append({Lane.BULK: [columns(5)]})
        await outbox.quarantine((await next_cut(outbox, cloud)).batch, "no")
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as db, db:
        db.execute("ALTER TABLE quarantine DROP COLUMN aside_us")
    async with box(tmp_path) as outbox:
        (aside,) = await outbox.set_aside()
        assert (aside.aside_us, aside.sendable) == (None, True)
        assert await outbox.send_again() == (1, 0)
        while (found := await outbox.cut(Lane.BULK, 1 << 20)) is not None:
            await outbox.confirm(
                cloud.ack(found.epoch, Lane.BULK) if isinstance(found, PositionQuery) else cloud.take(found.batch)
            )
    assert [n for _, n in cloud.numbers()] == [5]


async def test_damaged_rows_stay_to_be_looked_at_and_are_not_sent(tmp_path: Path) -> None:
    cloud = SmallCloud()
    async with box(tmp_path) as outbox:
        for n in range(DAMAGED_ROWS + 3):
            await outbox.append({Lane.BULK: [columns(n)]})
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as db, db:
        db.execute("UPDATE rows SET body = zeroblob(50), sum = NULL")
    async with box(tmp_path) as outbox:
        for _ in range(DAMAGED_ROWS + 3):
            await outbox.confirm(cloud.take((await next_cut(outbox, cloud)).batch))
        listed = await outbox.set_aside()
        assert [a.sendable for a in listed] == [False] * DAMAGED_ROWS
        assert await outbox.send_again() == (0, 0)
