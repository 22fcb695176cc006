"""The outbox on a card, and what is put into it and taken out of it: for its tests."""

from __future__ import annotations

import random
import string
from pathlib import Path
from typing import Any

from edge.outbox.contract import PositionQuery
from edge.outbox.sqlite import SqliteOutbox
from support.cloud import SmallCloud
from wire.batch import Lane
from wire.columns import Columns
from wire.sample import Clock, Sample

CLOCK = Clock(1, synced=True)


def columns(numbers: range, *, wide: int = 0, at_us: int = 0) -> Columns:
    rng = random.Random(numbers[0])
    text = "".join(rng.choices(string.printable, k=wide))  # what zstd cannot make small
    return Columns.of([Sample("lamp", at_us + n, CLOCK, {"n": n, "t": f"{n}{text}"}) for n in numbers])


async def drain(outbox: SqliteOutbox, cloud: SmallCloud, limit: int = 1 << 20, lane: Lane = Lane.BULK) -> None:
    while (found := await outbox.cut(lane, limit)) is not None:
        answer = cloud.ack(found.epoch, lane) if isinstance(found, PositionQuery) else cloud.take(found.batch)
        await outbox.confirm(answer)


def box(path: Path, **more: Any) -> SqliteOutbox:
    return SqliteOutbox(path, **{"node": "cab", "limit_bytes": 64 << 20, "now_us": lambda: 0, **more})
