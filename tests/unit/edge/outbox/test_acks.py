"""What the cloud's answers say of the card."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edge.outbox.contract import Cut, PositionQuery
from edge.outbox.runs import row_id
from support.cloud import SmallCloud
from support.outbox import box, columns, drain
from wire.batch import Lane
from wire.entries import Gap


async def test_a_card_that_went_back_is_found_out_also_after_a_second_start_without_an_answer(tmp_path: Path) -> None:
    cloud = SmallCloud()
    async with box(tmp_path / "card") as outbox:
        await outbox.append({Lane.BULK: [columns(range(11))]})
        shutil.copytree(tmp_path / "card", tmp_path / "older")
        await outbox.append({Lane.BULK: [columns(range(11, 15))]})
        for run in outbox.card.runs:
            await outbox.confirm(cloud.ack(run.epoch, run.lane))
        found = await outbox.cut(Lane.BULK, 1)
        assert isinstance(found, Cut)
        assert found.batch.head_seq == 15
        cloud.take(found.batch)
    for numbers in (range(20, 24), range(24, 27)):  # beyond all that the cloud was told of
        async with box(tmp_path / "older") as outbox:
            await outbox.append({Lane.BULK: [columns(numbers)]})
    async with box(tmp_path / "older") as outbox:
        await drain(outbox, cloud)
        await drain(outbox, cloud)
        old, new = (r for r in outbox.card.runs if r.lane is Lane.BULK)
        assert (old.closed, old.whole, new.closed) == (True, False, False)
        assert [n for epoch, n in cloud.numbers() if epoch == new.epoch] == list(range(20, 27))


@pytest.mark.parametrize("answered", [False, True], ids=["the city is far", "the city has answered"])
async def test_a_card_that_is_pulled_out_of_a_running_node_has_not_gone_back(tmp_path: Path, answered: bool) -> None:
    cloud = SmallCloud()
    async with box(tmp_path / "0") as outbox:
        await outbox.append({Lane.BULK: [columns(range(3))]})
        await drain(outbox, cloud)
    for at in range(3):
        async with box(tmp_path / f"{at}") as outbox:
            await outbox.append({Lane.BULK: [columns(range(3 + at, 4 + at))]})
            if answered:
                while isinstance(found := await outbox.cut(Lane.BULK, 1000), PositionQuery):
                    await outbox.confirm(cloud.ack(found.epoch, Lane.BULK))
                assert found is not None
                cloud.take(found.batch)  # its answer never comes
            shutil.copytree(tmp_path / f"{at}", tmp_path / f"{at + 1}")
    async with box(tmp_path / "3") as outbox:
        await drain(outbox, cloud)
        assert [n for _, n in cloud.numbers()] == list(range(6))
        assert len({epoch for epoch, _ in cloud.numbers()}) == 1


async def test_a_damaged_row_that_was_set_aside_here_and_that_the_city_has_is_no_fork(tmp_path: Path) -> None:
    cloud = SmallCloud()
    async with box(tmp_path) as outbox:
        await drain(outbox, cloud)
        await outbox.append({Lane.BULK: [columns(range(2))]})
        found = await outbox.cut(Lane.BULK, 1 << 20)
        assert isinstance(found, Cut)
        cloud.take(found.batch)  # its answer never comes
        await outbox.append({Lane.BULK: [columns(range(2, 4))]})
        with closing(sqlite3.connect(outbox.card.path)) as db, db:
            db.execute(
                "UPDATE rows SET digest = zeroblob(16) WHERE id = ?", (row_id(outbox.card.runs.open(Lane.BULK), 2),)
            )
        await drain(outbox, cloud)
        assert (await outbox.depth()).quarantined == 1
    assert [n for _, n in cloud.numbers()] == list(range(4))
    assert len({epoch for epoch, _ in cloud.numbers()}) == 1
    assert not [p for _, p in cloud.entries() if isinstance(p.entry, Gap)], "the city has it all"


@pytest.mark.parametrize(
    "damage",
    ["digest = zeroblob(16)", "body = zeroblob(9)", "id = id + 1", "first_seq = first_seq - 1"],
    ids=lambda damage: damage.split()[0],
)
async def test_a_damaged_row_at_which_the_city_stands_is_no_fork(tmp_path: Path, damage: str) -> None:
    """Nothing that the city has is sent again under another epoch."""
    cloud = SmallCloud()
    async with box(tmp_path) as outbox:
        await outbox.append({Lane.BULK: [columns(range(2))]})
        await drain(outbox, cloud)
        for n in range(2, 12, 2):
            await outbox.append({Lane.BULK: [columns(range(n, n + 2))]})
        found = await outbox.cut(Lane.BULK, 1 << 20)
        assert isinstance(found, Cut)
        cloud.take(found.batch)  # its answer never comes
        stands = outbox.card.runs.open(Lane.BULK)
        await outbox.append({Lane.BULK: [columns(range(12, 14))]})
        await outbox.append({Lane.BULK: [columns(range(14, 16))]})
        with closing(sqlite3.connect(outbox.card.path)) as db, db:
            db.execute(f"UPDATE rows SET {damage} WHERE id = ?", (row_id(stands, 12),))
        await outbox.confirm(cloud.ack(found.batch.epoch, Lane.BULK))
        await drain(outbox, cloud)
    numbers = [n for _, n in cloud.numbers()]
    lost = sum(p.entry.lost for _, p in cloud.entries() if isinstance(p.entry, Gap))
    assert numbers == list(range(16)), "nothing is doubled"
    assert not lost, "the city has it all"
