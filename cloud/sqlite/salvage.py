"""Salvage: what can be read of a table, copied into another store.

Where pages are damaged, a table with INTEGER PRIMARY KEY is read around them row by row, others from both ends. Rows
that read well and hold something else than was written are left out.

Bounds: COPIED rows in hand at a time. After MAX_MISSES numbers that follow each other and cannot be read, a table is
read from its other end, down to the first that cannot.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from cloud.records.area_versions import Content
from cloud.sqlite.damage import GARBLED, is_damage
from cloud.sqlite.orders import opened_order
from cloud.views.latest import DeviceLatest
from wire import codec
from wire.entries import Alarm

COPIED: Final = 200
MAX_MISSES: Final = 20_000

Row = tuple[Any, ...]


def copy(old: sqlite3.Connection, made: sqlite3.Connection, table: str) -> int | None:
    """Copy what can be read of a table. How many rows cannot, 0 where they cannot be counted; None where all can."""
    columns = [(name, key) for _, name, _, _, _, key in made.execute(f"PRAGMA table_info({table})")]
    try:
        held = {name for _, name, *_ in old.execute(f"PRAGMA table_info({table})")}
    except sqlite3.DatabaseError:
        return 0
    names = [name for name, _ in columns if name in held]
    if not names:  # of a later schema
        return None
    keys = [name for name, key in sorted(columns, key=lambda c: c[1]) if key]
    (rowless,) = made.execute(
        "SELECT sql LIKE '%WITHOUT ROWID%' FROM sqlite_schema WHERE name = ?", (table,)
    ).fetchone()
    reader = _ends if rowless or len(keys) != 1 else _stepping
    marks = ", ".join("?" * len(names))
    insert = f"INSERT OR REPLACE INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608  ours
    lost = [0]
    damage: list[sqlite3.DatabaseError] = []
    garbled = False
    for row in reader(old, table, names, keys, damage, lost):
        if _opens(table, dict(zip(names, row, strict=True))):
            made.execute(insert, row)
        else:
            garbled, lost[0] = True, lost[0] + 1
    if table == "devices" and damage:  # its index has all but the position, on other pages
        for row in _ends(
            old, "devices INDEXED BY devices_id", ["node_no", "device_no", "id"], ["id", "node_no"], [], [0]
        ):
            made.execute("INSERT OR IGNORE INTO devices VALUES (?, ?, ?, 0)", row)
    if table == "nodes" and damage:
        for row in _ends(old, "nodes", ["node_no", "name"], ["name"], [], [0]):
            made.execute("INSERT OR IGNORE INTO nodes VALUES (?, ?)", row)
    return lost[0] if damage or garbled else None


_OPENED: Final[Mapping[str, Callable[[Mapping[str, Any]], object]]] = {
    "chunks": lambda row: codec.decode_row(row["body"]),
    "residue": lambda row: codec.decode_row(row["body"]),
    "fresh": lambda row: DeviceLatest(row["body"]),
    "own_alarms": lambda row: msgspec.json.decode(row["body"], type=Alarm),
    "orders": lambda row: opened_order(row["body"], row["own_end"]),
    "areas": lambda row: row["body"] is None or msgspec.json.decode(row["body"], type=Content),
    "requests": lambda row: zlib.decompress(row["body"]),
}  # those of the log are opened when the views are built from it


def _opens(table: str, row: Mapping[str, Any]) -> bool:
    """Whether what a row holds is what was written."""
    try:
        if table in _OPENED:
            _OPENED[table](row)
    except GARBLED:
        return False
    return True


def _stepping(
    old: sqlite3.Connection, table: str, names: Sequence[str], keys: Sequence[str],
    damage: list[sqlite3.DatabaseError], lost: list[int],
) -> Iterator[Row]:  # fmt: skip
    """Rows by their number, around those that cannot be read."""
    key = keys[0]
    query = f"SELECT {', '.join(names)}, {key} FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT ?"  # noqa: S608  ours
    last = _last(old, table, key, damage)
    after, limit, misses = 0, COPIED, 0
    with suppress(sqlite3.DatabaseError):  # gaps of a rebuild before stand below 0
        (first,) = old.execute(f"SELECT min({key}) FROM {table}").fetchone()  # noqa: S608  ours
        after = min(0, (first or 0) - 1)
    while after < last and misses < MAX_MISSES:
        try:
            rows = old.execute(query, (after, limit)).fetchall()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            damage.append(error)
            if limit > 1:
                limit = 1
            else:
                after, misses = after + 1, misses + 1
                lost[0] += 1
            continue
        if not rows:
            return
        for *row, at in rows:
            after = at
            yield tuple(row)
        limit, misses = min(COPIED, 2 * limit), 0
    if misses >= MAX_MISSES:
        query = f"SELECT {', '.join(names)} FROM {table} WHERE {key} > ? ORDER BY {key} DESC"  # noqa: S608  ours
        with suppress(sqlite3.DatabaseError):
            yield from old.execute(query, (after,))


def _last(old: sqlite3.Connection, table: str, key: str, damage: list[sqlite3.DatabaseError]) -> int:
    """The greatest number; where its page is damaged, as far as other tables tell."""
    queries = [f"SELECT max({key}) FROM {table}"]  # noqa: S608  ours
    if table == "log":
        queries += ["SELECT max(position) FROM log INDEXED BY log_stream", "SELECT max(position) FROM spans"]
    for query in queries:
        try:
            (found,) = old.execute(query).fetchone()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            damage.append(error)
        else:
            return int(found or 0)
    return MAX_MISSES


def _ends(
    old: sqlite3.Connection, table: str, names: Sequence[str], keys: Sequence[str],
    damage: list[sqlite3.DatabaseError], lost: list[int],
) -> Iterator[Row]:  # fmt: skip
    """Rows from the first to where they cannot be read, and from the last back to there."""
    del lost
    for way in ("", " DESC"):
        order = ", ".join(f"{key}{way}" for key in keys)
        try:
            yield from old.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY {order}")  # noqa: S608  ours
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            damage.append(error)
        else:
            return
