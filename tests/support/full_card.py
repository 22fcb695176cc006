"""A card as a node leaves it behind that had no city for a day, and one that is damaged."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from edge.outbox.sqlite import SqliteOutbox
from wire.batch import Lane
from wire.columns import Columns
from wire.sample import Clock, Sample

DAY_S = 86_400
STEP_S = 900
LIMIT_BYTES = 32 << 20  # `outbox.limit_bytes`; 3 MiB of it are for the write-ahead log and the reserve


def of_a_day(data: Path, device: str, *, wide: int, node: str = "cab-1") -> None:
    """A sample every STEP_S for a day until now, of which nobody has taken any, each with so many bytes that do not
    become smaller."""
    now_us = time.time_ns() // 1000
    rng = random.Random(7)

    def sample(back_s: int) -> Columns:
        wider = {f"text-{i}": rng.randbytes(1_500).hex() for i in range(wide // 1_500)}
        at_us = now_us - back_s * 1_000_000
        return Columns.of([Sample(device, at_us, Clock(1, synced=True), {"n": back_s // STEP_S, **wider})])

    async def fill() -> None:
        data.mkdir(parents=True, exist_ok=True)
        outbox = SqliteOutbox(data, node=node, limit_bytes=LIMIT_BYTES, now_us=lambda: now_us)
        async with outbox:
            for back_s in range(DAY_S, 0, -STEP_S):
                await outbox.append({Lane.BULK: [sample(back_s)]})

    with ThreadPoolExecutor(1) as aside:  # a browser's tests have a loop of their own in this thread
        aside.submit(asyncio.run, fill()).result()


def damage(data: Path, table: str = "rows") -> None:
    """One page is not what was written."""
    path = data / "outbox.db"
    with closing(sqlite3.connect(path)) as db:
        size = db.execute("PRAGMA page_size").fetchone()[0]
        (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    with path.open("r+b") as file:
        file.seek(size * (page - 1))
        file.write(b"\xff" * size)
