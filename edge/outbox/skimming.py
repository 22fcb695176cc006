"""Skimming: a day of local history, looked at where a picture needs it, and not as a whole: opening all of it would
keep a small board busy for minutes. For threads of their own: nothing here is awaited.

`glance` gives one row for each step of time in which a device spoke; `survey` a row every EVERY_US of all devices, and
of those that speak seldom every row. Rows that are not as they were written are left out.

Bounds: PAGE keys or one body a read transaction; MAX_STEPS rows a glance; a row is at most
`edge.outbox.sealing.ROW_BYTES`.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Collection, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from edge.outbox.reading import READ_S, card_errors
from edge.outbox.records import LAST_SEQ, row_key, whole
from wire import codec
from wire.batch import Lane
from wire.columns import Columns
from wire.errors import BadInput
from wire.frame import stretch
from wire.table import Table
from wire.time import Micros, Utc

PAGE: Final = 1_000
MAX_STEPS: Final = 288
EVERY_US: Final = Micros(120_000_000)
_UNREADABLE: Final = (BadInput, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def glance(path: Path, device: str, from_us: Utc, to_us: Utc) -> list[Columns]:
    """The columns of one device, of at most one row in each of MAX_STEPS steps of time, oldest first.

    Raises:
        CardError: it cannot be read.
    """
    step_us = max(1, (to_us - from_us) // MAX_STEPS)
    found: list[Columns] = []
    named = device.encode()
    done = -1
    with card_errors(path), closing(_opened(path)) as card:
        for key, time_us in _keys(card, from_us, to_us):
            step = (time_us - from_us) // step_us
            if step <= done:
                continue
            body = _body(card, key)
            if body is None or len(found) >= MAX_STEPS:
                continue
            with contextlib.suppress(*_UNREADABLE):
                if named not in stretch(body):  # costs a tenth of opening it
                    continue
                for table in codec.reopen_row(body).tables:
                    if device in table.devices:
                        found.append(table.device(table.devices.index(device)))
                        done = step
    return found


def survey(path: Path, from_us: Utc, to_us: Utc, seldom: Collection[str]) -> Generator[Table]:
    """Tables of what there was of all devices, oldest first.

    Raises:
        CardError: it cannot be read.
    """
    rare = re.compile(b"|".join(re.escape(d.encode()) for d in seldom)) if seldom else None
    next_us = from_us
    with card_errors(path), closing(_opened(path)) as card:
        for key, time_us in _keys(card, from_us, to_us):
            due = time_us >= next_us
            if not due and rare is None:
                continue
            body = _body(card, key)
            if body is None:
                continue
            with contextlib.suppress(*_UNREADABLE):
                if due or (rare is not None and rare.search(stretch(body))):
                    next_us = time_us + EVERY_US if due else next_us
                    yield from codec.reopen_row(body).tables


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=READ_S, check_same_thread=False
    )  # one thread at a time


def _keys(card: sqlite3.Connection, from_us: Utc, to_us: Utc) -> Iterator[tuple[int, int]]:
    """Keys and last times of the bulk rows between two times, run by run."""
    runs = card.execute("SELECT id FROM runs WHERE lane = ? ORDER BY id", (str(Lane.BULK),)).fetchall()
    for (run,) in runs:
        at, last = _first(card, row_key(run, 0), row_key(run, LAST_SEQ), from_us) - 1, row_key(run, LAST_SEQ)
        while page := card.execute(
            "SELECT id, from_us, to_us FROM rows WHERE id > ? AND id <= ? ORDER BY id LIMIT ?", (at, last, PAGE)
        ).fetchall():
            for key, began_us, ended_us in page:
                at = key
                if ended_us is not None and ended_us >= from_us and began_us <= to_us:
                    yield key, ended_us


def _first(card: sqlite3.Connection, low: int, high: int, from_us: Utc) -> int:
    """Where a run comes to `from_us`: rows lie in the order of time, as good as always, and are not gone through."""
    while low < high:
        middle = (low + high) // 2
        row = card.execute(
            "SELECT to_us FROM rows WHERE id >= ? AND id <= ? AND to_us IS NOT NULL ORDER BY id LIMIT 1", (middle, high)
        ).fetchone()
        if row is None or row[0] >= from_us:
            high = middle
        else:
            low = middle + 1
    return low


def _body(card: sqlite3.Connection, key: int) -> bytes | None:
    row = card.execute(
        "SELECT id, first_seq, from_us, to_us, digest, body, sum FROM rows WHERE id = ?", (key,)
    ).fetchone()
    if row is None or not whole(row[6], *row[:6]):
        return None
    return row[5]
