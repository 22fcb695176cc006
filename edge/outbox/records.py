"""Records: what lies in the outbox's file, and how each record shows that it is whole.

A card that wears out gives back other bytes than were written, and SQLite notices only where they fall on its own
structure. So each record of `runs`, `rows`, `receipts` and `kept` carries a sum over all its other columns: one that
does not match is damaged and never sent, acted upon or believed. A record without a sum was written before there were
sums, and is believed.
"""

from __future__ import annotations

import sqlite3
from hashlib import blake2b
from typing import Any, Final

import msgspec

from wire.batch import DIGEST_BYTES, Lane

SUM_BYTES: Final = 8
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, lane TEXT NOT NULL, epoch INTEGER NOT NULL,
    held_from INTEGER NOT NULL, base BLOB NOT NULL,      -- first seq still held, digest before it
    acked INTEGER NOT NULL, told BLOB NOT NULL,          -- where the cloud stood last, by its own word
    closed INTEGER NOT NULL,                             -- OPEN, CLOSED …: see below, and `edge.outbox.runs`
    sum BLOB) STRICT;
CREATE TABLE IF NOT EXISTS rows (
    id INTEGER PRIMARY KEY,                              -- run and last seq in one: see row_id
    first_seq INTEGER NOT NULL, from_us INTEGER, to_us INTEGER, digest BLOB NOT NULL, body BLOB NOT NULL,
    sum BLOB) STRICT;
CREATE TABLE IF NOT EXISTS holes (id INTEGER PRIMARY KEY) STRICT;  -- rows in whose place a salvage has left a Gap
CREATE TABLE IF NOT EXISTS unchecked (                   -- open runs that were written on before the cloud was asked
    run INTEGER PRIMARY KEY, head INTEGER NOT NULL) STRICT;  -- where the run ended when the file was first opened
CREATE TABLE IF NOT EXISTS quarantine (
    id INTEGER PRIMARY KEY, row INTEGER NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL, aside_us INTEGER) STRICT;
CREATE TABLE IF NOT EXISTS receipts (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL,        -- one row a source and commit
    n INTEGER NOT NULL, keys BLOB NOT NULL,              -- how many, and a MessagePack array of them
    sum BLOB) STRICT;
CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value BLOB NOT NULL, sum BLOB) STRICT, WITHOUT ROWID;
"""
SUMMED: Final = ("runs", "rows", "receipts", "kept")

OPEN: Final = 0
CLOSED: Final = 1
MOVING: Final = 2  # closed by a fork whose rows are still being moved
UNSETTLED: Final = 4  # moving, and what stays may not be where the cloud stands
BROKEN: Final = 5  # closed, and what it held beyond its last row is not known: the card was damaged
LAST_STATE: Final = 6

SEQ_BITS: Final = 44  # 17 million million samples a run, and half a million runs
LAST_SEQ: Final = (1 << SEQ_BITS) - 1
_LANES: Final = frozenset(map(str, Lane))


def row_key(run_id: int, last_seq: int) -> int:
    """The key of a row: its run, then its last seq. So rows lie in order and need no index, which would cost the
    card another page with every commit."""
    return run_id << SEQ_BITS | last_seq


def seq_of(id_: int) -> int:
    """The last seq of a row, by its key."""
    return id_ & ((1 << SEQ_BITS) - 1)


class Damaged(sqlite3.DatabaseError):
    """A record is not as it was written, or a table is missing."""


# What SQLite says of a file that is not as it was written, or of a card that cannot read what lies on it.
_CODES: Final = frozenset(
    {
        sqlite3.SQLITE_IOERR_READ,
        sqlite3.SQLITE_IOERR_SHORT_READ,
        sqlite3.SQLITE_IOERR_DATA,
        sqlite3.SQLITE_IOERR_CORRUPTFS,
    }
)


def is_damage(error: BaseException) -> bool:
    """Whether an error says that the file itself is damaged. A card that is full, locked or read-only is not."""
    if isinstance(error, Damaged):
        return True
    if not isinstance(error, sqlite3.Error):
        return False
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by Python's module: text that is no UTF-8
        return "decode" in str(error) or isinstance(error, sqlite3.DataError)
    return code in _CODES or code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_TOOBIG)


def sum_of(*fields: int | str | bytes | None) -> bytes:
    """The sum of a record: its columns in the order of the table, without the sum."""
    return blake2b(msgspec.msgpack.encode(fields), digest_size=SUM_BYTES).digest()


def whole(sum_: object, *fields: object) -> bool:
    """Whether a record is as it was written."""
    try:
        return sum_ is None or sum_ == sum_of(*fields)  # type: ignore[arg-type]  # damage has any type
    except (TypeError, ValueError, OverflowError):
        return False


def check_runs(rows: list[Any]) -> None:
    """Pass if all runs (columns as in the table) are whole.

    Raises:
        Damaged.
    """
    for *fields, sum_ in rows:
        if not whole(sum_, *fields) or not sane_run(*fields):
            raise Damaged("a run is not as it was written")


def sane_run(id_: Any, lane: Any, epoch: Any, held_from: Any, base: Any, acked: Any, told: Any, closed: Any) -> bool:
    """Whether these can be a run at all: of a record without a sum only this can be said."""
    numbers = (id_, epoch, held_from, acked, closed)
    return (
        all(isinstance(n, int) and n >= 0 for n in numbers)
        and 0 < id_ < 1 << (63 - SEQ_BITS)
        and lane in _LANES
        and all(isinstance(d, bytes) and len(d) == DIGEST_BYTES for d in (base, told))
        and 1 <= held_from <= LAST_SEQ
        and acked <= LAST_SEQ
        and closed <= LAST_STATE
    )
