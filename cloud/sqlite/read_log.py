"""The log in SQLite as it is read: records by position, and how far there are any. Also in processes that only read.

Promises as `cloud.log.contract` has them. It learns where the log stands from who writes: `grow`, `rise`, `draw`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence

from cloud.log.contract import READ_BYTES, Reach, Record
from cloud.log.cursor import Origins
from cloud.log.outline import UNKNOWN, Outline
from cloud.sqlite import database
from cloud.sqlite.readers import Readers


class SqliteReadLog:
    """Does not own its readers; who opens the store does."""

    def __init__(self, origins: Origins, reach: Reach, readers: Readers) -> None:
        self._origins = origins
        self._reach = reach
        self._readers = readers
        self._growth = asyncio.Event()

    @property
    def generation(self) -> int:
        """Drawn when the store was made or restored, or when a node knew a greater one."""
        return self._origins.generation

    @property
    def origins(self) -> Origins:
        """Where the generation comes from."""
        return self._origins

    async def read(self, after: int, limit: int, limit_bytes: int = READ_BYTES) -> Sequence[Record]:
        """The records after a position, oldest first."""
        return await self._readers.ask(lambda connection: records_of(connection, after, limit, limit_bytes))

    async def pick(self, positions: Sequence[int], limit_bytes: int = READ_BYTES) -> Sequence[Record]:
        """Single records."""

        def query(connection: sqlite3.Connection) -> list[Record]:
            records: list[Record] = []
            size = 0
            for position in sorted(set(positions)):
                for record in records_of(connection, position - 1, 1, limit_bytes):
                    size += len(record.body)
                    if records and size > limit_bytes:
                        return records
                    if record.position == position:
                        records.append(record)
            return records

        return await self._readers.ask(query)

    async def outlines(self, after: int, through: int) -> Sequence[Outline]:
        """What records hold; UNKNOWN of those that were taken before schema 8."""

        def query(connection: sqlite3.Connection) -> list[Outline]:
            found = [UNKNOWN] * max(0, through - after)
            for position, node, holds in connection.execute(
                "SELECT position, ifnull(name, ''), holds FROM outlines LEFT JOIN nodes USING (node_no)"
                " WHERE position > ? AND position <= ?",
                (after, through),
            ):
                found[position - after - 1] = Outline(node, holds)
            return found

        return await self._readers.ask(query)

    def reach(self) -> Reach:
        """Which positions can be read now."""
        return self._reach

    async def grown(self, beyond: int) -> None:
        """Return once the head lies beyond a position."""
        while self._reach.head <= beyond:
            await self._growth.wait()

    def grow(self, head: int) -> None:
        """Tell those who wait that the head has moved. On the event loop."""
        self._reach = Reach(self._reach.floor, max(head, self._reach.head))
        growth, self._growth = self._growth, asyncio.Event()
        growth.set()

    def rise(self, floor: int) -> None:
        """Tell that what is at and below a position can no longer be read whole. On the event loop."""
        self._reach = Reach(max(floor, self._reach.floor), self._reach.head)

    def drawn(self, origins: Origins) -> None:
        """Another generation was drawn. On the event loop."""
        self._origins = origins


def records_of(connection: sqlite3.Connection, after: int, limit: int, limit_bytes: int) -> list[Record]:
    """The records after a position, oldest first."""
    records: list[Record] = []
    size = 0
    for position, received_us, notice, body in connection.execute(
        "SELECT position, received_us, stream_no IS NULL, body FROM log WHERE position > ? ORDER BY position LIMIT ?",
        (after, limit),
    ):
        size += len(body)
        if records and size > limit_bytes:
            break
        records.append(Record(position, received_us, bool(notice), body))
    return records


def reach_of(connection: sqlite3.Connection) -> Reach:
    """Which positions the store can give."""
    (head,) = connection.execute("SELECT ifnull(max(position), 0) FROM log").fetchone()
    return Reach(database.meta(connection, "floor"), head)
