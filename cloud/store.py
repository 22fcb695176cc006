"""Store: the directory opened, log and views over it, and what keeps them in order while they are used.

Opening settles the generation, loads what is held in memory and goes over the log from where `latest` was last
saved. Closing finishes what waits and saves. One process at a time: the directory is locked.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from cloud import alarm_keeper, database
from cloud.alarm_keeper import Keeper
from cloud.building import Building
from cloud.claims import Claims
from cloud.crash import Crash, never
from cloud.cursor import Origins
from cloud.facts import facts_of
from cloud.interned import Interned, stream_key
from cloud.latest_table import LatestTable
from cloud.log import Unavailable
from cloud.order_store import OrderStore
from cloud.own_alarms import Condition
from cloud.readers import Readers
from cloud.silence import Heard, Hearing
from cloud.sqlite_log import SqliteLog, reach_of
from cloud.sqlite_views import SqliteViews
from cloud.times import Now, utc_us
from cloud.views import DEFAULT_INTERVAL_S
from cloud.writer import Writer
from wire import codec
from wire.batch import ORIGIN, Batch, Lane
from wire.columns import Columns

REPLAY_RECORDS: Final = 200

Progress = Callable[[int, int], None]  # done, of how many


def silent(_done: int, _of: int) -> None:
    """Show no progress."""


def untimed(_jobs: int, _seconds: float) -> None:
    """Measure nothing."""


class Store(msgspec.Struct, frozen=True):
    """An open store. `log` and `views` are what others are handed."""

    directory: Path
    log: SqliteLog
    views: SqliteViews
    heard: Heard
    latest: LatestTable
    writer: Writer
    readers: Readers
    interned: Interned
    origins: Origins
    orders: OrderStore
    alarms: Keeper
    claims: Claims

    async def save(self) -> None:
        """Save what is held in memory, and make older copies of the store distinguishable from it."""
        await self.latest.save(self.writer)
        beside = await self.writer.do(database.raise_serial)
        await asyncio.to_thread(database.follow, self.directory, beside)

    async def note_silence(self, now_us: int, since_us: int) -> None:
        """Tell who has fallen silent and who is heard again."""
        findings = self.heard.changes(now_us, since_us)
        if not findings:
            return

        def work(connection: sqlite3.Connection) -> int:
            for finding in findings:
                node_no = self.interned.node(connection, finding.node)
                if finding.kind == "silent":
                    connection.execute("INSERT OR REPLACE INTO silence VALUES (?, ?)", (node_no, now_us))
                else:
                    connection.execute("DELETE FROM silence WHERE node_no = ?", (node_no,))
            return self.log.note_in(connection, findings)

        try:
            await self.writer.do(work, self.log.grow)
        except Unavailable:
            self.heard.untell(findings)
            raise

    async def look(
        self, now_us: int, since_us: int, leapt_us: int = 0, holding: Mapping[str, Condition] | None = None
    ) -> None:
        """Tell who has fallen silent and who is heard again, and let our own alarms follow.

        `leapt_us` is how far the clock was set since the last look, `holding` conditions that only others can see.
        """
        if leapt_us > 0:
            self.heard.clock_was_set(leapt_us, now_us)
        await self.note_silence(now_us, since_us)
        while await self.alarms.look(now_us, since_us, holding):
            pass


@asynccontextmanager
async def opened(
    directory: Path,
    now: Now = utc_us,
    crash: Crash = never,
    timed: Callable[[int, float], None] = untimed,
    progress: Progress = silent,
) -> AsyncGenerator[Store]:
    """Open a store for the length of a block.

    Raises:
        Misplaced: it is in use, or of another schema.
    """
    with database.locked(directory):
        connection = database.connect(directory)
        try:
            origins = database.settle_generation(connection, directory, now)
            reach = reach_of(connection)
            heard = Heard(_hearings(connection))
            latest = LatestTable()
            latest.load(connection)
            own = alarm_keeper.load(connection)
        except BaseException:
            database.close(connection)
            raise
        interned = Interned()
        building = Building(interned)
        writer = Writer(connection, crash, interned.clear, timed)
        readers = Readers(directory)
        views = SqliteViews(writer=writer, readers=readers, building=building, latest=latest, heard=heard, now=now)
        log = SqliteLog(
            generation=origins.generation,
            reach=reach,
            writer=writer,
            readers=readers,
            interned=interned,
            apply=building.apply,
            applied=views.applied,
            now=now,
        )
        orders = OrderStore(writer, readers, log.note_in, log.grow)
        alarms = Keeper(alarms=own, writer=writer, readers=readers, heard=heard, note_in=log.note_in, grow=log.grow)
        claims = Claims(writer, readers, log.note_in, log.grow)
        store = Store(directory, log, views, heard, latest, writer, readers, interned, origins, orders, alarms, claims)
        try:
            await _catch_up(store, progress)
            yield store
            await store.save()
        finally:
            await readers.close()
            await writer.close()


async def rebuild(directory: Path, progress: Progress) -> None:
    """Drop all views and build them again from the log.

    Raises:
        Misplaced: the directory is in use.
    """
    with database.locked(directory):
        connection = database.connect(directory)
        try:
            await asyncio.to_thread(_rebuild, connection, progress)
        finally:
            database.close(connection)
    async with opened(directory):
        pass  # opening brings `latest` up to date, closing saves it


def _rebuild(connection: sqlite3.Connection, progress: Progress) -> None:
    building = Building(Interned())
    (total,) = connection.execute("SELECT (SELECT count(*) FROM log) + (SELECT count(*) FROM residue)").fetchone()
    done = 0
    with database.transaction(connection):
        database.drop_views(connection)
        for table, opened_ in (("residue", _of_residue), ("log", _of_log)):
            after = 0
            while rows := connection.execute(
                f"SELECT * FROM {table} WHERE position > ? ORDER BY position LIMIT ?",  # noqa: S608  ours
                (after, REPLAY_RECORDS),
            ).fetchall():
                for row in rows:
                    after = row[0]
                    batch, received_us = opened_(connection, row)
                    if batch is not None:
                        building.apply(connection, after, received_us, batch, facts_of(batch))
                done += len(rows)
                progress(done, total)


def _of_log(_connection: sqlite3.Connection, row: tuple[int, int | None, int, bytes]) -> tuple[Batch | None, int]:
    return None if row[1] is None else codec.decode_batch(row[3]), row[2]


def _of_residue(connection: sqlite3.Connection, row: tuple[int, int, int, int, bytes]) -> tuple[Batch, int]:
    """What compaction has left of a batch: a batch with holes, which no node could have sent."""
    _, stream_no, first_seq, received_us, body = row
    node, epoch, lane = stream_key(connection, stream_no)
    batch = Batch(
        node=node,
        epoch=epoch,
        lane=Lane(lane),
        first_seq=first_seq,
        through_seq=first_seq,
        prev=ORIGIN,
        digest=ORIGIN,
        held_from=0,
        head_seq=0,
        entries=codec.decode_row(body),
    )
    return batch, received_us


async def _catch_up(store: Store, progress: Progress) -> None:
    latest = store.latest
    if latest.through == 0:
        await _take_chunks(store)
    head = store.log.reach().head
    begin = after = latest.through
    while records := await store.log.read(after, REPLAY_RECORDS):
        for record in records:
            after = record.position
            if not record.notice:
                batch = codec.decode_batch(record.body)
                latest.take(batch.node, record.position, batch)
        progress(after - begin, head - begin)
        await asyncio.sleep(0)


async def _take_chunks(store: Store) -> None:
    """What compaction has taken out of the log, when nothing of `latest` was saved."""

    def query(connection: sqlite3.Connection) -> list[tuple[int, str, int, bytes]]:
        return connection.execute(
            "SELECT chunk_no, name, last_position, body FROM chunks JOIN nodes USING (node_no) WHERE chunk_no > ?"
            " ORDER BY chunk_no LIMIT ?",
            (after, REPLAY_RECORDS),
        ).fetchall()

    after = 0
    while rows := await store.readers.ask(query):
        for chunk_no, node, position, body in rows:
            after = chunk_no
            for item in codec.decode_row(body):
                if isinstance(item.entry, Columns):
                    store.latest.take_columns(node, position, item.entry)
        await asyncio.sleep(0)


def _hearings(connection: sqlite3.Connection) -> dict[str, Hearing]:
    rows = connection.execute(
        "SELECT name, max(last_heard_us), ifnull(interval_s, ?), told_us IS NOT NULL FROM streams"
        " JOIN nodes USING (node_no) LEFT JOIN health USING (node_no) LEFT JOIN silence USING (node_no)"
        " GROUP BY node_no",
        (DEFAULT_INTERVAL_S,),
    )
    return {name: Hearing(heard_us, interval_s, bool(told)) for name, heard_us, interval_s, told in rows}
