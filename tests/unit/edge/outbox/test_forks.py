"""The cloud has another past."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from drivers.errors import NotStored
from edge.outbox.contract import PositionQuery
from edge.outbox.forks import MOVE_ROWS
from edge.outbox.runs import row_id
from support.cloud import SmallCloud
from support.outbox import box, columns, drain
from wire.batch import Ack, Lane
from wire.entries import Gap


@pytest.mark.slow
async def test_a_fork_stays_within_the_cap_and_survives_a_crash_half_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = SmallCloud()
    limit = 12 << 20
    async with box(tmp_path, limit_bytes=limit) as outbox:
        for n in range(1500):
            await outbox.append({Lane.BULK: [columns(range(n, n + 1), wide=3000)]})
        place = await outbox.cut(Lane.BULK, 1)
        assert isinstance(place, PositionQuery)
        elsewhere = Ack(
            generation=1, epoch=place.epoch, lane=Lane.BULK, through_seq=7, digest=b"x" * 16, accepts=(1,), server_us=0
        )
        moves = 0
        move = outbox.forks.move_some

        async def die_soon(run_id: int) -> None:
            nonlocal moves
            moves += 1
            if moves > 3:
                raise sqlite3.OperationalError("the power went")
            await move(run_id)

        monkeypatch.setattr(outbox.forks, "move_some", die_soon)
        with pytest.raises(NotStored):
            await outbox.confirm(elsewhere)
        files = sum(f.stat().st_size for f in tmp_path.iterdir() if f.name.startswith("outbox.db"))
        assert files <= limit
    async with box(tmp_path, limit_bytes=limit) as outbox:
        await outbox.append({Lane.BULK: [columns(range(1500, 1501))]})
        await drain(outbox, cloud)
    numbers = sorted(n for _, n in cloud.numbers())
    assert numbers == list(range(1501)), "nothing is lost, and nothing is twice"


@pytest.mark.slow
async def test_a_card_that_turns_out_damaged_while_a_fork_moves_its_rows_loses_one_row(tmp_path: Path) -> None:
    cloud, rows = SmallCloud(), MOVE_ROWS + 40
    async with box(tmp_path) as outbox:
        for n in range(rows):
            await outbox.append({Lane.BULK: [columns(range(n, n + 1))]})
        old = outbox.card.runs.open(Lane.BULK)
        elsewhere = Ack(
            generation=1, epoch=old.epoch, lane=Lane.BULK, through_seq=7, digest=b"x" * 16, accepts=(1,), server_us=0
        )
        with closing(sqlite3.connect(outbox.card.path)) as db, db:
            db.execute("UPDATE rows SET body = zeroblob(9) WHERE id = ?", (row_id(old, rows - 20),))
        await outbox.confirm(elsewhere)
        await drain(outbox, cloud)
        assert outbox.card.rescues == 1
    numbers = [n for _, n in cloud.numbers()]
    assert sorted(numbers) == [n for n in range(rows) if n != rows - 21], "nothing is twice"
    gaps = [p.entry for _, p in cloud.entries() if isinstance(p.entry, Gap)]
    assert sum(g.lost for g in gaps) == 1, "nothing is told as lost that is there"
