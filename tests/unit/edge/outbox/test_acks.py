"""What the cloud's answers say of the card."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge.outbox.contract import Cut, PositionQuery
from support.cloud import SmallCloud
from support.outbox import box, columns, drain
from wire.batch import Lane


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
