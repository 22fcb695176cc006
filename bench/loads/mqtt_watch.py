"""Watches: how many samples are in a store's file, ours or the peer's, and how old each was when it got there.

Looked at from outside, every millisecond or so, through a reading connection, so that nothing of what is measured is
changed. SQLite shows a commit when it is as durable as its writer makes it: our node has it synced to the disk by
then (synchronous=FULL), thingsboard-gateway has handed it to the system (NORMAL).
"""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Final, Protocol

from edge.outbox.records import SEQ_BITS, seq_of
from wire import codec
from wire.columns import Columns

BETWEEN_S: Final = 0.001


class Watch(Protocol):
    """What stands in a store's file. `ages_ms` takes the ages of the samples that are looked at while aging."""

    ages_ms: list[float]

    def look(self, *, aging: bool) -> int:
        """How many samples were ever committed. With `aging`, also how old the new ones are."""
        ...


class OutboxWatch:
    """Of our node's outbox: its bulk lane."""

    def __init__(self, path: Path) -> None:
        self.ages_ms: list[float] = []
        self._db = _opened(path)
        (run,) = self._db.execute("SELECT max(id) FROM runs WHERE lane = 'bulk'").fetchone()
        self._last, self._end = run << SEQ_BITS, (run + 1) << SEQ_BITS

    def look(self, *, aging: bool) -> int:
        """See `Watch`."""
        found = self._db.execute(
            f"SELECT id, {'body' if aging else 'NULL'} FROM rows WHERE id > ? AND id < ? ORDER BY id",  # noqa: S608
            (self._last, self._end),
        ).fetchall()
        now_ms = time.time() * 1000
        for id_, body in found:
            self._last = id_
            for placed in codec.decode_row(body) if aging else ():
                if isinstance(placed.entry, Columns):
                    self.ages_ms += [now_ms - time_us / 1000 for time_us in placed.entry.times]
        return seq_of(self._last)


class MessagesWatch:
    """Of thingsboard-gateway's storage, which drops a message once its server has it: a few go unseen."""

    def __init__(self, path: Path) -> None:
        self.ages_ms: list[float] = []
        self._db = _opened(path)
        self._last = 0

    def look(self, *, aging: bool) -> int:
        """See `Watch`."""
        if not aging:
            (last,) = self._db.execute("SELECT max(seq) FROM sqlite_sequence").fetchone()
            self._last = last or 0
            return self._last
        found = self._db.execute("SELECT id, message FROM messages WHERE id > ?", (self._last,)).fetchall()
        now_ms = time.time() * 1000
        for id_, message in found:
            self._last = max(self._last, id_)
            self.ages_ms += [now_ms - item["ts"] for item in json.loads(message)["telemetry"]]
        return self._last


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=5)
