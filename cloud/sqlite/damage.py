"""Damage: the file holds something else than was written into it. No try again mends it; `rebuild` saves the rest.

SQLite finds pages that cannot be. A page that is found whole may still hold another body than was written: whoever
opens that one finds out. Both are one to whoever asks: told as damage of the store, and gone around where others wait.
"""

from __future__ import annotations

import logging
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec

from cloud.log.contract import Unavailable
from wire.errors import BadInput

LOG: Final = logging.getLogger("lamplighter.cloud")
GARBLED: Final = (msgspec.DecodeError, BadInput, zlib.error)  # what opening a body raises that is not what was written
NO_TEXT: Final = "Could not decode to UTF-8"  # of a column; Python's sqlite3 has no code for it

Row = TypeVar("Row")
T = TypeVar("T")


class TokensDamaged(Unavailable):
    """The file of the tokens is damaged: `rebuild` is about the store, and does nothing for it."""


def is_damage(error: BaseException) -> bool:
    """Whether SQLite has found something in the file that cannot be."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    return code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB} or (
        isinstance(error, sqlite3.OperationalError) and str(error).startswith(NO_TEXT)
    )


def found(what: Sequence[object]) -> sqlite3.DatabaseError:
    """As SQLite would have said it: `what` are the tables, or what went wrong."""
    error = sqlite3.DatabaseError(f"database disk image is malformed: {', '.join(dict.fromkeys(map(str, what)))}")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def told(error: sqlite3.Error | None) -> sqlite3.Error | None:
    """The same, told in the journal where it is damage; None where it is not."""
    if error is None or not is_damage(error):
        return None
    LOG.error("the store is damaged, in %s: what can be read is served; see `lamplighter-cloud rebuild`", error)
    return error


def readable(
    connection: sqlite3.Connection, query: str, values: Sequence[Any], what: str, damage: list[str]
) -> Iterator[Any]:
    """Rows up to the first that cannot be read; `damage` then says of what."""
    try:
        yield from connection.execute(query, values)  # which reads the first one already
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        damage.append(what)


def whole(rows: Iterable[Row], open_: Callable[[Row], T], what: str, damage: list[str]) -> Iterator[T]:
    """What each row holds, without those that are garbled; `damage` then says of what."""
    for row in rows:
        try:
            held = open_(row)
        except GARBLED:
            damage.append(what)
        else:
            yield held
