"""Readers: a few threads, each with a read-only connection of its own, so that a query never waits for a commit.

A query sees one state of the store throughout, and as long as any does, the write-ahead log cannot begin anew: where
there always is one, it would grow for ever. `pause` lets those that run end and holds the others back meanwhile.

Bounds: THREADS queries at a time; the others wait their turn.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

from cloud.sqlite import damage, database

THREADS: Final = 4

T = TypeVar("T")


class Readers:
    """Owns its threads and connections from start to close."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._local = threading.local()
        self.damage: sqlite3.Error | None = None  # the first that was found
        self._open: list[sqlite3.Connection] = []
        self._asked = 0
        self._none = asyncio.Event()
        self._none.set()
        self._free = asyncio.Event()
        self._free.set()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="lamplighter-reader")

    def found(self, what: Sequence[str]) -> None:
        """Note damage that a query has gone around, by table."""
        if what and self.damage is None:
            self.damage = damage.told(damage.found(what))

    async def ask(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """The query's answer.

        Raises:
            Unavailable: SQLite gave none, or what it gave is not what was written.
        """
        await self._free.wait()
        self._asked += 1
        self._none.clear()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._ask, query)
        finally:
            self._asked -= 1
            if not self._asked:
                self._none.set()

    async def ask_around(self, query: Callable[[sqlite3.Connection, list[str]], T]) -> T:
        """The same, of a query that goes around what is damaged, and tells the tables."""
        around: list[str] = []
        answer = await self.ask(lambda connection: query(connection, around))
        self.found(around)
        return answer

    @asynccontextmanager
    async def pause(self, wait_s: float) -> AsyncGenerator[bool]:
        """Hold queries back for the length of a block. Whether all that ran have ended within `wait_s`."""
        self._free.clear()
        try:
            try:
                async with asyncio.timeout(wait_s):
                    await self._none.wait()
            except TimeoutError:
                yield False
            else:
                yield True
        finally:
            self._free.set()

    async def close(self) -> None:
        """Finish what runs."""
        await asyncio.to_thread(self._pool.shutdown)
        for connection in self._open:
            database.close(connection)

    def _ask(self, query: Callable[[sqlite3.Connection], T]) -> T:
        with database.sqlite_errors():
            connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = database.connect_reader(self._directory)
                self._open.append(connection)
            connection.execute("BEGIN")
            try:
                return query(connection)
            except sqlite3.Error as error:
                self.damage = self.damage or damage.told(error)
                raise
            except damage.GARBLED as error:
                self.found([str(error)])
                raise damage.found([error]) from error
            finally:
                connection.execute("COMMIT")
