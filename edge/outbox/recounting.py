"""Recounting: what people have done at the cabinet, and how the node was last, from an outbox file, for the node and
for others alike. The node may be running; nothing is written. For a thread of its own: nothing here is awaited.

Visits, results and reports of health are urgent rows without a time column of their own, and so are looked at from the
newest row back, until one that has a time is older than what is asked for. Rows that are not as they were written are
left out.

Bounds: MAX_ROWS urgent rows are looked at, PAGE a read transaction; MAX_FOUND entries are told, the newest.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from edge.outbox.reading import READ_S, card_errors
from edge.outbox.records import LAST_SEQ, row_key, whole
from wire import codec
from wire.batch import Lane
from wire.entries import Health, Result, Visit
from wire.errors import BadInput
from wire.frame import stretch
from wire.time import Utc

PAGE: Final = 256
MAX_ROWS: Final = 100_000  # a month with a report of health every minute, and as much again
MAX_FOUND: Final = 4_000
_WORDS: Final = (b"visit", b"result")  # what kind of entry it is, as `wire.codec` writes it
_UNREADABLE: Final = (BadInput, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Recounted(msgspec.Struct, frozen=True, kw_only=True):
    """Entries, oldest first, and since when the file has them: UTC microseconds, None where it has nothing at all.
    `more`: there were older ones than the bounds let through."""

    since_us: Utc | None
    entries: tuple[Visit | Result, ...]
    more: bool = False


def recount(path: Path, from_us: Utc) -> Recounted:
    """What was done since a moment, as far as the file goes back.

    Raises:
        CardError: it cannot be read.
    """
    found: deque[Visit | Result] = deque()
    since_us: Utc | None = None
    with _opened(path) as card:
        for looked, (began_us, ended_us, body) in enumerate(_newest_first(card)):
            if ended_us is not None and ended_us < from_us:
                return Recounted(since_us=from_us, entries=tuple(found))
            if looked >= MAX_ROWS or len(found) >= MAX_FOUND:
                return Recounted(since_us=since_us, entries=tuple(found), more=True)
            if began_us is not None:
                since_us = Utc(began_us) if since_us is None else Utc(min(since_us, began_us))
            if body is not None:
                found.extendleft(e for e in reversed(_entries(body)) if e.time_us >= from_us)
    since_us = min((e.time_us for e in found), default=since_us) if since_us is None else since_us
    return Recounted(since_us=since_us, entries=tuple(found))


def last_health(path: Path) -> Health | None:
    """What the node said of itself last; None where nothing of it is found.

    Raises:
        CardError: it cannot be read.
    """
    with _opened(path) as card:
        for _, _, body in islice(_newest_first(card), MAX_ROWS):
            if body is not None:
                with contextlib.suppress(*_UNREADABLE):
                    if b"health" in stretch(body):
                        said = [o.entry for o in codec.reopen_row(body).others if isinstance(o.entry, Health)]
                        if said:
                            return said[-1]
    return None


@contextlib.contextmanager
def _opened(path: Path) -> Generator[sqlite3.Connection]:
    with (
        card_errors(path),
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=READ_S)) as card,
    ):
        yield card


def _newest_first(card: sqlite3.Connection) -> Iterator[tuple[int | None, int | None, bytes | None]]:
    """The urgent rows: from when, to when, and the body; None for one that is not as it was written."""
    runs = card.execute("SELECT id FROM runs WHERE lane = ? ORDER BY id DESC", (str(Lane.URGENT),)).fetchall()
    for (run,) in runs:
        at = row_key(run, LAST_SEQ) + 1
        while page := card.execute(
            "SELECT id, first_seq, from_us, to_us, digest, body, sum FROM rows WHERE id < ? AND id > ?"
            " ORDER BY id DESC LIMIT ?",
            (at, row_key(run, 0), PAGE),
        ).fetchall():
            for *fields, sum_ in page:
                at = fields[0]
                yield fields[2], fields[3], fields[5] if whole(sum_, *fields) else None


def _entries(body: bytes) -> list[Visit | Result]:
    with contextlib.suppress(*_UNREADABLE):
        plain = stretch(body)  # costs a tenth of opening it, and most rows are reports of health
        if any(word in plain for word in _WORDS):
            return [o.entry for o in codec.reopen_row(body).others if isinstance(o.entry, Visit | Result)]
    return []
