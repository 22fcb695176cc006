"""Database: the SQLite file on the card, or one in memory: opened, asked, closed.

WAL, synchronous=FULL. Nothing here waits on the event loop for the card: SQLite and file operations have threads, and
`stuck_s` says for how long the card has not answered.

Bound: `page_limit`, so that file, write-ahead log and reserve stay within `limit_bytes`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final, TypeVar

import aiosqlite

from edge.outbox.records import SCHEMA, SUMMED, Damaged, whole
from groundwork.liveness import running_s

log = logging.getLogger(__name__)

# A commit writes whole pages: those of 4096 bytes would wear the card twice as fast (docs/performance.md).
PAGE_BYTES: Final = 512
WAL_PAGES: Final = 2048  # folded back at 1 MiB: what a small disk can spare
RESERVE_BYTES: Final = (WAL_PAGES + 64) * PAGE_BYTES  # a whole log may have to be folded into new pages of the file
MIN_LIMIT_BYTES: Final = 4 * 1024 * 1024
_T = TypeVar("_T")


class Database:
    """One for a card; it may be closed and opened again."""

    def __init__(self, path: Path, *, limit_bytes: int, memory: bool) -> None:
        """Raises ValueError where `limit_bytes` is too small."""
        if limit_bytes < MIN_LIMIT_BYTES:
            raise ValueError(f"an outbox needs at least {MIN_LIMIT_BYTES} bytes")
        self.path, self.limit_bytes, self.memory = path, limit_bytes, memory
        self.page_bytes = PAGE_BYTES
        self.usable = False
        self._waiting = 0
        self.answered = 0  # how often the card has
        self._since = 0.0  # when the card has last answered, while something waits for it

    @property
    def stuck_s(self) -> float:
        """For how many seconds something has waited for the card without any answer; 0 when nothing waits."""
        return running_s() - self._since if self._waiting else 0.0

    @property
    def in_transaction(self) -> bool:
        """Whether one is under way."""
        return self._connection.in_transaction

    def answers(self) -> None:
        """The card has answered, to somebody who reads it without asking here."""
        self.answered += 1
        self._since = running_s()

    # ---- open and close --------------------------------------------------------------------------------------------

    async def open(self, connection: sqlite3.Connection | None = None) -> None:
        """Open or create the file, or take a connection to a database in memory.

        Raises:
            sqlite3.Error: it cannot be used.
        """
        if connection is None:
            with self._asking():
                self._connection = await aiosqlite.connect(self.path, isolation_level=None)
        else:
            self._connection = aiosqlite.Connection(lambda: connection, 64)
            await self._connection
        self.usable = True
        try:
            await self._prepare()
        except BaseException:
            await self.close()  # its thread would keep the process alive
            raise

    async def close(self) -> bool:
        """Whether it was closed in good order; a damaged file may not let itself be."""
        if not self.usable:
            return False
        self.usable = False
        with self._asking():
            try:
                await self._connection.close()
            except (sqlite3.Error, MemoryError) as error:
                log.warning("the outbox was not closed in good order: %s", error)
                return False
        return True

    async def _prepare(self) -> None:
        for pragma in (
            f"page_size={PAGE_BYTES}",
            "auto_vacuum=NONE",
            "journal_mode=WAL",
            "synchronous=FULL",
            f"wal_autocheckpoint={WAL_PAGES}",
            f"journal_size_limit={WAL_PAGES * PAGE_BYTES}",
            "temp_store=MEMORY",
            "cell_size_check=ON",
        ):
            await self.execute(f"PRAGMA {pragma}")
        self.page_bytes = (await self.all("PRAGMA page_size"))[0][0]  # of an older file it is another
        await self.execute(f"PRAGMA max_page_count={self.page_limit()}")
        await self._check_schema()

    async def _check_schema(self) -> None:
        tables = {name for (name,) in await self.all("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if tables and not {"runs", "rows"} <= tables:
            raise Damaged("its tables are missing")
        if not {"runs", "rows", "holes", "unchecked", "quarantine", "receipts", "kept"} <= tables:
            with self._asking():
                await self._connection.executescript(SCHEMA)
        for table in SUMMED:
            if not any(c[1] == "sum" for c in await self.all(f"PRAGMA table_info({table})")):
                await self.execute(f"ALTER TABLE {table} ADD COLUMN sum BLOB")  # a file of before

    async def check(self) -> None:
        """Read what is small and must be whole; of rows each is looked at when it is sent.

        Raises:
            Damaged, sqlite3.DatabaseError.
        """
        for key, value, sum_ in await self.all("SELECT key, value, sum FROM kept"):
            if not isinstance(key, str) or not isinstance(value, bytes) or not whole(sum_, key, value):
                raise Damaged(f"{key} is not as it was kept")
        for source, n, keys, sum_ in await self.all("SELECT source, n, keys, sum FROM receipts"):
            if not isinstance(source, str) or not isinstance(keys, bytes) or not whole(sum_, source, n, keys):
                raise Damaged("a receipt is not as it was kept")
        await self.all("SELECT max(id), count(*) FROM quarantine")

    # ---- asking ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _asking(self) -> Generator[None]:
        """Around whatever waits for the card."""
        if not self._waiting:
            self._since = running_s()
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            self.answered += 1
            self._since = running_s()

    async def aside(self, what: Callable[[], _T]) -> _T:
        """Do something with the card's files in a thread: a card that never answers must not hold up the loop."""
        with self._asking():
            return await asyncio.to_thread(what)

    async def execute(self, query: str, *args: object) -> None:
        """Do one statement."""
        with self._asking():
            await self._connection.execute(query, args)

    async def all(self, query: str, *args: object) -> list[Any]:
        """All rows that a query finds."""
        with self._asking():
            return list(await self._connection.execute_fetchall(query, args))

    async def used_pages(self) -> int:
        """Pages of the file that hold something."""
        pages = (await self.all("PRAGMA page_count"))[0][0]
        free = (await self.all("PRAGMA freelist_count"))[0][0]
        return pages - free

    async def used_bytes(self) -> int:
        """What file and write-ahead log take on the disk, less what is free inside."""
        used = await self.used_pages() * self.page_bytes
        return used if self.memory else used + await self.aside(self._wal_bytes)

    def _wal_bytes(self) -> int:
        try:
            return self.path.with_name("outbox.db-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def page_limit(self) -> int:
        """The most pages that the file may have.

        The log may grow to twice its checkpoint mark while one commit is under way; the rest is for the file.
        """
        return (self.limit_bytes - 2 * WAL_PAGES * PAGE_BYTES - RESERVE_BYTES) // self.page_bytes
