"""The card as it is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.cloud import SmallCloud
from support.outbox import box, columns, drain
from wire.batch import Lane


async def test_two_processes_cannot_share_it(tmp_path: Path) -> None:
    async with box(tmp_path):
        with pytest.raises(RuntimeError, match="another node"):
            await box(tmp_path).__aenter__()
    async with box(tmp_path):
        pass


async def test_a_file_that_cannot_be_read_is_kept_beside_and_the_node_goes_on(tmp_path: Path) -> None:
    async with box(tmp_path) as outbox:
        await outbox.append({Lane.BULK: [columns(range(3))]})
    (tmp_path / "outbox.db").write_bytes(b"no database at all" * 1000)
    cloud = SmallCloud()
    async with box(tmp_path) as outbox:
        assert outbox.card.damaged is not None
        await outbox.append({Lane.BULK: [columns(range(3, 5))]})
        await drain(outbox, cloud)
    assert [n for _, n in cloud.numbers()] == [3, 4]
    assert (tmp_path / "outbox.db.damaged").exists()
