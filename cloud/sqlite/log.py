"""The log in SQLite: whole bodies as they were received, by position; views in the same transaction.

Promises as `cloud.log.contract` has them. Durable means synchronous=FULL in WAL: the commit has reached the disk before
anyone is told. Compaction (`cloud.sqlite.compaction`) raises the floor; it never takes the newest record away.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cloud.log.batch_facts import BatchFacts
from cloud.log.contract import Reach, Taken
from cloud.log.cursor import Origins
from cloud.log.notices import Announcement, Finding, notice_of
from cloud.log.outline import of_batch, of_notice
from cloud.log.streams import LogPosition, fits_nowhere_yet, origin
from cloud.sqlite import alarm_steps, card_losses, database
from cloud.sqlite.interned import Interned, load_newest, load_stream
from cloud.sqlite.read_log import SqliteReadLog
from cloud.sqlite.readers import Readers
from cloud.sqlite.writer import Writer
from cloud.times import Now
from cloud.views.ledger import findings_of
from cloud.views.runs import broken_off
from wire.batch import Batch, Lane
from wire.time import Utc

OUTLINED: Final = "INSERT OR REPLACE INTO outlines VALUES (?, ?, ?)"  # positions return where the log's end is lost

Applied = Callable[[int, Utc, Batch, BatchFacts], None]
Apply = Callable[[sqlite3.Connection, int, Utc, Batch, BatchFacts], Sequence[Finding]]


class SqliteLog(SqliteReadLog):
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
        super().__init__(origins, reach, readers)
        self._directory = directory
        self._writer = writer
        self._interned = interned
        self._apply = apply
        self._applied = applied
        self._now = now

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
            self.drawn(done[0])
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

    def note_in(self, connection: sqlite3.Connection, said: Sequence[Finding | Announcement]) -> int:
        """Keep notices within a transaction; the new head, or 0."""
        head = 0
        for each in said:
            head = self._interned.next_position(connection)
            notice = notice_of(each, self.generation, head)
            connection.execute(
                "INSERT INTO log VALUES (?, NULL, ?, ?)", (head, each.time_us, msgspec.json.encode(notice))
            )
            node_no = self._interned.node(connection, each.node) if each.node else None
            connection.execute(OUTLINED, (head, node_no, of_notice(notice)))
            alarm_steps.take_notice(connection, notice, head, each.time_us)
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
        named = interned.devices_named(connection, batch.node)
        findings = list(self._apply(connection, position, now_us, batch, facts))
        new_devices = interned.devices_named(connection, batch.node) != named
        holds = of_batch(batch, facts, now_us, new_devices=new_devices)
        connection.execute(OUTLINED, (position, interned.node(connection, batch.node), holds))
        findings.extend(findings_of(stream, neighbours, known, broken, now_us))
        if findings:
            head = self.note_in(connection, findings)
        return Taken(stream.place, position), head
