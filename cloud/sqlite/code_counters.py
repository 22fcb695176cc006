"""Counters of technician codes: `codes.db`, beside the store and in no backup, so that no code is given out twice.

Apart from `tokens.db` because whoever writes there lets the running server read all tokens anew, on its event loop.
Where the file is lost, counting goes on above what the store has kept and what nodes have told. In threads, one at a
time. Bound: a row a token.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Final

from cloud.sqlite import database

CODES: Final = "codes.db"
_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS counters (token TEXT PRIMARY KEY, counter INTEGER NOT NULL) WITHOUT ROWID"


class CodeCounters:
    """Opens the file when the first code is asked for."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / CODES
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def take(self, token: str, above: int) -> int:
        """The next counter of a token; durable on return.

        Raises:
            Unavailable: the disk does not take it.
        """
        with self._lock, database.sqlite_errors():
            ((counter,),) = self._open().execute(
                "INSERT INTO counters VALUES (?1, ?2 + 1) ON CONFLICT DO UPDATE"
                " SET counter = max(counter, ?2) + 1 RETURNING counter",
                (token, above),
            )
            return counter

    def highest(self, token: str) -> int:
        """The last counter of a token that was taken; 0 for none.

        Raises:
            Unavailable: the disk does not answer.
        """
        with self._lock, database.sqlite_errors():
            row = self._open().execute("SELECT counter FROM counters WHERE token = ?", (token,)).fetchone()
            return 0 if row is None else row[0]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                database.close(self._connection)
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            try:
                self._path.chmod(0o600)
                connection.execute(f"PRAGMA busy_timeout = {database.BUSY_MS}")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_SCHEMA)
            except BaseException:
                database.close(connection)
                raise
            self._connection = connection
        return self._connection
