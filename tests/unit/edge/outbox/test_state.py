"""Receipts, by which repeats are known again."""

from __future__ import annotations

from pathlib import Path

from drivers.contract import Receipt
from support.outbox import box


async def test_receipts_of_a_quiet_source_outlive_a_busy_one(tmp_path: Path) -> None:
    async with box(tmp_path) as outbox:
        await outbox.append({}, [Receipt("quiet", b"%d" % i) for i in range(10)])
        for batch in range(6):
            await outbox.append({}, [Receipt("busy", b"%d" % (batch * 1500 + i)) for i in range(1500)])
        assert len(await outbox.recent("quiet")) == 10
        assert (await outbox.recent("busy"))[-1] == b"8999"
        held = (await outbox.card.db.all("SELECT count(*) FROM receipts"))[0][0]
        assert held <= 10 + 4096 + 1500
