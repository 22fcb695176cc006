"""One wrong bit in a record's header gives a column another type: no error of SQLite's, and none of ours."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edge.outbox.contract import Cut, PositionQuery
from support.cloud import SmallCloud
from support.outbox import box, columns, drain
from wire.batch import Lane

FIRST = "(SELECT id FROM rows ORDER BY id LIMIT 1)"
WAITS = "(SELECT id FROM rows ORDER BY id LIMIT 1 OFFSET 4)"
LAST = "(SELECT max(id) FROM rows)"


def set_untyped(path: Path, table: str, column: str, value: str, where: str) -> None:
    """What a STRICT table takes from nobody but a card."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        (schema,) = db.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        define = "UPDATE sqlite_schema SET sql = ? WHERE name = ?"
        db.execute("PRAGMA writable_schema=ON")
        db.execute(define, (schema.replace("STRICT", ""), table))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert db.execute(f"UPDATE {table} SET {column} = {value} WHERE {where}").rowcount == 1
        db.execute("PRAGMA writable_schema=ON")
        db.execute(define, (schema, table))


@pytest.mark.parametrize("value", ["x'00ff'", "0.5"], ids=["bytes", "float"])
@pytest.mark.parametrize(
    ("table", "column", "where"),
    [
        *(("rows", "to_us", f"id = {row}") for row in (FIRST, LAST)),
        *(("rows", column, f"id = {WAITS}") for column in ("first_seq", "from_us", "to_us", "digest", "body")),
        ("rows", "digest", f"id = {FIRST}"),
        ("unchecked", "head", "true"),
        *(("quarantine", column, "true") for column in ("row", "reason", "body", "aside_us")),
    ],
)
async def test_a_column_of_another_type_ends_nothing(
    tmp_path: Path, table: str, column: str, where: str, value: str
) -> None:
    cloud, now = SmallCloud(), [10**15]
    async with box(tmp_path, now_us=lambda: now[0]) as outbox:
        for n in range(4):
            await outbox.append({Lane.BULK: [columns(range(n, n + 1), at_us=now[0])]})
        await drain(outbox, cloud)
        for n in range(4, 8):
            await outbox.append({Lane.BULK: [columns(range(n, n + 1), at_us=now[0])]})
        await outbox.append({Lane.URGENT: [columns(range(100, 101), at_us=now[0])]})
        while isinstance(found := await outbox.cut(Lane.URGENT, 1), PositionQuery):
            await outbox.confirm(cloud.ack(found.epoch, Lane.URGENT))
        assert isinstance(found, Cut)
        assert await outbox.quarantine(found.batch, "no")
    async with box(tmp_path, now_us=lambda: now[0]) as outbox:
        await outbox.append({Lane.BULK: [columns(range(8, 9), at_us=now[0])]})  # not asked where the city stands
    set_untyped(tmp_path / "outbox.db", table, column, value, where)
    now[0] += 8 * 86_400_000_000
    async with box(tmp_path, now_us=lambda: now[0]) as outbox:
        assert (await outbox.depth()).oldest_us in {None, 10**15, *(10**15 + n for n in range(10))}
        assert outbox.card.last_known_us < 10**15 + 1000
        for each in await outbox.set_aside():
            assert (type(each.reason), type(each.aside_us)) in {(str, int), (str, type(None))}
        await outbox.append({Lane.BULK: [columns(range(9, 10), at_us=now[0])]})
        await drain(outbox, cloud)
        await drain(outbox, cloud, lane=Lane.URGENT)
        await outbox.send_again()
        await outbox.newest()
        _ = [c async for c in outbox.history(0, 2**62)]
        await drain(outbox, cloud, lane=Lane.URGENT)
        assert (await outbox.depth()).pending == {Lane.BULK: 0, Lane.URGENT: 0}
    numbers = [n for _, n in cloud.numbers()]
    assert numbers == sorted(set(numbers)), "nothing is doubled"
    assert len(numbers) >= 9
