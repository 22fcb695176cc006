"""Reading: what an outbox file holds, for others than the node that writes it. It may be running; nothing is written.

Bounds: PAGE_ROWS rows a read transaction; MAX_KEPT of what is kept by key; READ_S of waiting for a card that is being
written.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import aiosqlite

from edge.outbox.records import Damaged, is_damage, whole
from wire import codec
from wire.columns import Columns
from wire.errors import BadInput
from wire.time import Utc

PAGE_ROWS: Final = 64
MAX_KEPT: Final = 4_000
READ_S: Final = 5.0


class CardError(Exception):
    """The file cannot be read. Its text says why, and what to do, for whoever asks on the command line."""


HISTORY: Final = (
    "SELECT id, first_seq, from_us, to_us, digest, body, sum FROM rows"
    " WHERE id > ? AND to_us >= ? AND from_us <= ? ORDER BY id LIMIT ?"
)


async def read_history(path: Path, from_us: Utc, to_us: Utc, device: str | None = None) -> AsyncIterator[Columns]:
    """Columns from an outbox file, oldest row first, a bounded number of rows a transaction. Rows that are not as they
    were written are left out.

    Raises:
        CardError: it cannot be read, or not beyond some row.
    """
    with card_errors(path):
        async for _, body in read_rows(path, from_us, to_us):
            for columns in columns_of(body, device):
                yield columns


def read_kept(path: Path, key: str) -> bytes | None:
    """What is kept by a key; None where nothing is, or no file.

    Raises:
        CardError: the file cannot be read, or what is kept is not as it was.
    """
    with card_errors(path):
        if not path.exists():
            return None
        with closing(sqlite3.connect(_read_only(path), uri=True, timeout=READ_S)) as card:
            if card.execute("SELECT 1 FROM sqlite_schema WHERE name = 'kept'").fetchone() is None:
                return None  # of a node that has not taken orders yet
            summed = any(c[1] == "sum" for c in card.execute("PRAGMA table_info(kept)"))
            query = f"SELECT value, {'sum' if summed else 'NULL'} FROM kept WHERE key = ?"  # noqa: S608 - our own
            found = card.execute(query, (key,)).fetchone()
        if found is None:
            return None
        if not isinstance(found[0], bytes) or not whole(found[1], key, found[0]):
            raise Damaged("it is not as it was kept")
        return found[0]


def read_all_kept(path: Path, prefix: str) -> dict[str, bytes]:
    """All that is kept under keys that begin so, at most MAX_KEPT; what is not as it was kept is left out.

    Raises:
        CardError: the file cannot be read.
    """
    with card_errors(path), closing(sqlite3.connect(_read_only(path), uri=True, timeout=READ_S)) as card:
        if card.execute("SELECT 1 FROM sqlite_schema WHERE name = 'kept'").fetchone() is None:
            return {}
        query = "SELECT key, value, sum FROM kept WHERE substr(key, 1, ?) = ? ORDER BY key LIMIT ?"
        found = card.execute(query, (len(prefix), prefix, MAX_KEPT)).fetchall()
    return {key: value for key, value, sum_ in found if isinstance(value, bytes) and whole(sum_, key, value)}


async def read_rows(path: Path, from_us: Utc, to_us: Utc, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
    """Keys and bodies of rows, as `read_history` reads them, from behind a key.

    Raises:
        sqlite3.Error: it cannot be read, or not beyond some row.
    """
    async with aiosqlite.connect(_read_only(path), uri=True) as db:
        summed = any(c[1] == "sum" for c in await db.execute_fetchall("PRAGMA table_info(rows)"))
        query = HISTORY if summed else HISTORY.replace("sum", "NULL")  # a file of before that no node has opened yet
        while True:
            rows = list(await db.execute_fetchall(query, (after, from_us, to_us, PAGE_ROWS)))
            if not rows:
                return
            for *fields, sum_ in rows:
                if fields[0] <= after:
                    raise Damaged("the rows are not in order")
                after = fields[0]
                if whole(sum_, *fields):
                    yield after, fields[5]


def columns_of(body: bytes, device: str | None) -> Iterator[Columns]:
    """The columns in a row's body, of one device or of all."""
    # Of a file of before there are no sums, and anything may stand there; it is told of when it is sent.
    with contextlib.suppress(BadInput, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        for placed in codec.decode_row(body):
            entry = placed.entry
            if isinstance(entry, Columns) and device in (None, entry.device):
                yield entry


@contextmanager
def card_errors(path: Path) -> Generator[None]:
    """What goes wrong with a file, as a CardError."""
    try:
        yield
    except sqlite3.Error as error:
        if is_damage(error):
            text = f"{path} is damaged ({error}): start the node anew, which saves what can be read of it"
            raise CardError(text) from error
        raise CardError(f"{path} cannot be read: {error}") from error
    except OSError as error:
        raise CardError(f"{path}: {error.strerror or error}") from error


def _read_only(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=ro"
