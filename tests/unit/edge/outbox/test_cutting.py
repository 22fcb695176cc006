"""What the next batch is made of."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from support.cloud import SmallCloud
from support.outbox import box, columns, drain
from wire import codec, frame
from wire.batch import Lane, Placed
from wire.entries import Gap


def table_of(ticks: object, order: object = (0, 0)) -> bytes:
    """A whole frame with a row of two samples in it, but for what is given."""
    table = [0, ["n"], ["lamp-001"], [0, 2], list(order), [1, ticks], [[[0, 7]]]]  # type: ignore[call-overload]
    body = {"v": 1, "clocks": [[1, True]], "seated": False, "tables": [table], "entries": []}
    return frame.squeeze(frame.dumps(body))


@pytest.mark.parametrize(
    "body",
    [
        bytes(50),
        table_of([1, "no array"]),
        table_of([2, [0, 5]]),
        table_of([0, 5], order=(0, 3)),
        table_of(None),
        codec.encode_row([Placed((1, 0), columns(range(2)))]),
    ],
    ids=["no frame", "no array", "a short vector", "another row's order", "no vector", "seated"],
)
async def test_a_damaged_row_is_set_aside_and_the_rest_goes_on(tmp_path: Path, body: bytes) -> None:
    cloud = SmallCloud()
    async with box(tmp_path) as outbox:
        for n in range(4):
            await outbox.append({Lane.BULK: [columns(range(2 * n, 2 * n + 2))]})
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as db, db:
        db.execute("UPDATE rows SET body = ? WHERE id = (SELECT min(id) + 2 FROM rows)", (body,))
    async with box(tmp_path) as outbox:
        await drain(outbox, cloud)
        assert (await outbox.depth()).quarantined == 1
    assert [n for _, n in cloud.numbers()] == [0, 1, 4, 5, 6, 7]
    (gap,) = [p.entry for _, p in cloud.entries() if isinstance(p.entry, Gap)]
    assert (gap.lost, gap.seqs, "damaged" in gap.reason) == (2, 2, True)
