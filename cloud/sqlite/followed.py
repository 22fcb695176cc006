"""The store in SQLite for a process that only reads it: opened read-only, and kept up with by following the log.

What the writer holds in memory is built here again: the latest from what was saved of it and the log beyond, from then
on from each record as it comes. So a question costs the process that writes nothing, and an answer is never ahead of
what the log of this process says: it grows only after the latest has taken a record in.

A process that was stopped for so long that batches were compacted away meanwhile loads the latest anew.

Bounds: RECORDS records, or `cloud.log.contract.READ_BYTES` of them, are opened at a time, beside the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from cloud.history.folded import FoldedHours
from cloud.log.batch_facts import BatchFacts, facts_of
from cloud.log.contract import Reach, Record
from cloud.log.cursor import Origins
from cloud.sqlite import database, orders
from cloud.sqlite.alarm_steps import SqliteReadAlarmSteps
from cloud.sqlite.areas import SqliteReadAreas
from cloud.sqlite.folding import HISTORY
from cloud.sqlite.hearings import hearings
from cloud.sqlite.history import SqliteHistory
from cloud.sqlite.latest_table import LatestTable
from cloud.sqlite.read_log import SqliteReadLog, reach_of
from cloud.sqlite.read_views import SqliteReadViews
from cloud.sqlite.readers import Readers
from cloud.times import Now
from cloud.views.silence import Hearing, LastHeard
from wire import codec
from wire.batch import Batch
from wire.errors import BadInput
from wire.orders import Order

LOG: Final = logging.getLogger("lamplighter.cloud")
RECORDS: Final = 200


class FollowedStore(msgspec.Struct, frozen=True):
    """An open store that this process only reads."""

    log: SqliteReadLog
    views: SqliteReadViews
    areas: SqliteReadAreas
    alarm_steps: SqliteReadAlarmSteps
    history: SqliteHistory
    heard: LastHeard
    latest: LatestTable
    readers: Readers
    now: Now

    async def follow(self, reach: Reach) -> None:
        """Take in what the log holds up to its head.

        Raises:
            Unavailable: the store does not answer.
        """
        if self.latest.through < reach.floor:  # the log does not hold all of it any more
            LOG.warning("the log begins at %d; what is latest is loaded anew", reach.floor)
            await self._load()
            self.log.grow(self.latest.through)
        after = self.latest.through
        while after < reach.head:
            records = await self.log.read(after, RECORDS)
            if not records:
                break
            for record, batch, facts in await asyncio.to_thread(_opened, records):
                self.heard.hear(batch.node, record.received_us, facts)
                self.latest.take(batch.node, record.position, record.received_us, batch)
            after = records[-1].position
            self.latest.passed(after)
            self.log.grow(after)
        self.log.rise(reach.floor)

    async def refresh(self, nodes: Sequence[str], mark: str) -> None:
        """Take in the snapshots of these nodes that the store holds; `mark` is another text after each of them.

        Raises:
            Unavailable: the store does not answer.
        """
        for node in nodes:
            self.latest.refreshed(await self.readers.ask(partial(LatestTable.fresh_of, node=node)))
        self.latest.mark = mark

    async def ordered(self, node: str, names: Sequence[str]) -> Mapping[str, Order]:
        """The orders of a node that are known, by id."""
        return await self.readers.ask_around(lambda connection, damage: orders.of_node(connection, node, names, damage))

    async def _load(self) -> None:
        def query(connection: sqlite3.Connection, damage: list[str]) -> tuple[LatestTable, dict[str, Hearing]]:
            table = LatestTable()
            table.load(connection, damage, self.now())
            return table, hearings(connection, damage)

        table, heard = await self.readers.ask_around(query)
        self.latest.become(table)
        self.heard.learn(heard)


@asynccontextmanager
async def followed(directory: Path, now: Now, history: Path | None = None) -> AsyncGenerator[FollowedStore]:
    """Open a store that another process writes, for the length of a block. Folded hours lie in `history`.

    Raises:
        Unavailable: the store does not answer.
    """
    readers = Readers(directory)

    def query(connection: sqlite3.Connection, damage: list[str]) -> tuple[Origins, Reach, LastHeard, LatestTable]:
        table = LatestTable()
        table.load(connection, damage, now())
        heard = LastHeard(hearings(connection, damage))
        return database.origins_of(connection), reach_of(connection), heard, table

    try:
        origins, reach, heard, latest = await readers.ask_around(query)
        log = SqliteReadLog(origins, Reach(reach.floor, latest.through), readers)
        views = SqliteReadViews(readers=readers, latest=latest, heard=heard, now=now)
        folded = SqliteHistory(readers, now, FoldedHours(history or directory / HISTORY))
        areas, steps = SqliteReadAreas(readers), SqliteReadAlarmSteps(readers)
        store = FollowedStore(log, views, areas, steps, folded, heard, latest, readers, now)
        await store.follow(reach)
        yield store
    finally:
        await readers.close()


def _opened(records: Sequence[Record]) -> list[tuple[Record, Batch, BatchFacts]]:
    """The batches among records; one that is damaged on the disk is left out, as at a start of the writer."""
    found: list[tuple[Record, Batch, BatchFacts]] = []
    for record in records:
        if not record.notice:
            try:
                batch = codec.decode_batch(record.body)
                found.append((record, batch, facts_of(batch)))
            except BadInput as error:
                LOG.warning("record %d cannot be read, and what is latest goes without it: %s", record.position, error)
    return found
