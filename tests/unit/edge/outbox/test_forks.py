"""The cloud has another past."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from drivers.errors import NotStored
from edge.outbox.contract import PositionQuery
from support.cloud import SmallCloud
from support.outbox import box, columns, drain
from wire.batch import Ack, Lane


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
