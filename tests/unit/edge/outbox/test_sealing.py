"""Rows are of a size that a body can have."""

from __future__ import annotations

import random
import string
from pathlib import Path

from edge.outbox.sealing import ROW_BYTES
from support.cloud import SmallCloud
from support.outbox import CLOCK, box, drain
from wire.batch import Lane
from wire.columns import Columns
from wire.sample import Sample


async def test_rows_are_split_before_they_outgrow_a_body(tmp_path: Path) -> None:
    """400 publishes of 4 KiB in one commit."""
    cloud, rng = SmallCloud(), random.Random(1)
    samples = [
        Sample("bin", n, CLOCK, {"n": n, "t": "".join(rng.choices(string.printable, k=4096))}) for n in range(400)
    ]
    async with box(tmp_path) as outbox:
        await outbox.append({Lane.BULK: [Columns.of(samples)]})
        sizes = [len(body) for (body,) in await outbox.card.db.all("SELECT body FROM rows")]
        assert len(sizes) > 4
        assert max(sizes) <= ROW_BYTES
        await drain(outbox, cloud, 64 << 10)
    assert [n for _, n in cloud.numbers()] == list(range(400))
