"""The log in SQLite: whole bodies as they were received, by position; views in the same transaction.

Promises as `cloud.log.contract` has them. Durable means synchronous=FULL in WAL: the commit has reached the disk before
anyone is told. Compaction (`cloud.sqlite.compaction`) raises the floor; it never takes the newest record away.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from cloud.log.batch_facts import BatchFacts
from cloud.log.contract import READ_BYTES, Reach, Record, Taken
from cloud.log.cursor import Origins
from cloud.log.notices import Announcement, Finding, notice_of
from cloud.log.streams import LogPosition, fits_nowhere_yet, origin
from cloud.sqlite import card_losses, database
from cloud.sqlite.interned import Interned, load_newest, load_stream
from cloud.sqlite.readers import Readers
from cloud.sqlite.writer import Writer
from cloud.times import Now
from cloud.views.ledger import findings_of
from cloud.views.runs import broken_off
from wire.batch import Batch, Lane
from wire.time import Utc

Applied = Callable[[int, Utc, Batch, BatchFacts], None]
Apply = Callable[[sqlite3.Connection, int, Utc, Batch, BatchFacts], Sequence[Finding]]


class SqliteLog:
    """Owns neither writer nor readers; `cloud.sqlite.store` does."""

    def __init__(
        self,
        *,
        directory: Path,
        origins: Origins,
        reach: Reach,
        writer: Writer,
        readers: Readers,
        interned: Interned,
        apply: Apply,
        applied: Applied,
        now: Now,
    ) -> None:
        """`apply` builds the views within the transaction, `applied` on the event loop once it is durable."""
        self._directory = directory
        self._origins = origins
        self._reach = reach
        self._writer = writer
        self._readers = readers
        self._interned = interned
        self._apply = apply
        self._applied = applied
        self._now = now
        self._growth = asyncio.Event()

    @property
    def generation(self) -> int:
        """Drawn when the store was made or restored, or when a node knew a greater one."""
        return self._origins.generation

    @property
    def origins(self) -> Origins:
        """Where the generation comes from."""
        return self._origins

    async def draw(self, generation: int, node: str, heard: int) -> None:
        """Have a greater generation from now on, for a node has named `heard`. All that is here stays, at its place.

        Raises:
            Unavailable: it has not been drawn.
        """
        now_us = self._now()

        def work(connection: sqlite3.Connection) -> tuple[Origins, int]:
            origins = database.draw(connection, self._directory, generation)
            detail = {"generation": generation, "previous": origins.previous, "heard": heard}
            finding = Finding(node=node, kind="generation", time_us=now_us, detail=detail)
            return origins, self.note_in(connection, [finding])

        def committed(done: tuple[Origins, int]) -> None:
            self._origins = done[0]
            self.grow(done[1])

        await self._writer.do(work, committed)

    async def append(self, batch: Batch, facts: BatchFacts, body: bytes) -> Taken:
        """Take the batch if it fits.

        Raises:
            Unavailable: nothing was changed.
            Malformed: the node has too many epochs or devices.
        """
        now_us = self._now()

        def work(connection: sqlite3.Connection) -> tuple[Taken, int]:
            return self._take(connection, batch, facts, body, now_us)

        def committed(result: tuple[Taken, int]) -> None:
            taken, head = result
            if taken.position is not None:
                self._applied(taken.position, now_us, batch, facts)
                self.grow(head)

        taken, _ = await self._writer.do(work, committed, ingest=True)
        return taken

    async def note(self, said: Sequence[Finding | Announcement]) -> None:
        """Keep notices, each at a position of its own."""
        await self._writer.do(lambda connection: self.note_in(connection, said), self.grow)

    async def place(self, node: str, epoch: int, lane: Lane) -> LogPosition:
        """Where the log stands."""
        stream = await self._readers.ask(lambda connection: load_stream(connection, node, epoch, lane))
        return origin(epoch, lane) if stream is None else stream.place

    async def read(self, after: int, limit: int, limit_bytes: int = READ_BYTES) -> Sequence[Record]:
        """The records after a position, oldest first."""
        return await self._readers.ask(lambda connection: records_of(connection, after, limit, limit_bytes))

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

    def note_in(self, connection: sqlite3.Connection, said: Sequence[Finding | Announcement]) -> int:
        """Keep notices within a transaction; the new head, or 0."""
        head = 0
        for each in said:
            head = self._interned.next_position(connection)
            notice = notice_of(each, self.generation, head)
            connection.execute(
                "INSERT INTO log VALUES (?, NULL, ?, ?)", (head, each.time_us, msgspec.json.encode(notice))
            )
        return head

    def _take(
        self, connection: sqlite3.Connection, batch: Batch, facts: BatchFacts, body: bytes, now_us: Utc
    ) -> tuple[Taken, int]:
        interned = self._interned
        stream = interned.stream(connection, batch.node, batch.epoch, batch.lane)
        new = stream is None
        if stream is None:
            if not fits_nowhere_yet(batch):
                return Taken(origin(batch.epoch, batch.lane), None), 0
            stream = interned.begin_stream(connection, batch, now_us)
        elif not stream.fits(batch):
            return Taken(stream.place, None), 0
        neighbours = interned.around(connection, stream)
        known = neighbours.forks(stream)
        stream.advance(batch, facts, now_us, interned.head(connection))
        interned.save(connection, stream)
        newest = load_newest(connection, batch.node) if new else []
        broken = broken_off(newest, stream)
        if card_losses.loses_alarms(stream, newest, broken):
            # Ahead of the batch: it may say that some of them stand all the same.
            damage: list[str] = []
            self.note_in(connection, card_losses.lose(connection, stream, now_us, damage))
            self._writer.found(damage)
        position = head = interned.next_position(connection)
        connection.execute("INSERT INTO log VALUES (?, ?, ?, ?)", (position, stream.order, now_us, body))
        findings = list(self._apply(connection, position, now_us, batch, facts))
        findings.extend(findings_of(stream, neighbours, known, broken, now_us))
        if findings:
            head = self.note_in(connection, findings)
        return Taken(stream.place, position), head


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
