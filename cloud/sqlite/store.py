"""The store in SQLite: the directory opened, log, views and records over it, and what keeps them in order.

Opening settles the generation, loads what is held in memory and goes over the log from where `latest` was last
saved. Closing finishes what waits and saves. One process at a time: the directory is locked.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final

import msgspec

from cloud.crash import Crash, never
from cloud.history.folded import FoldedHours
from cloud.log.contract import Reach, Unavailable
from cloud.log.cursor import Origins
from cloud.sqlite import database, own_alarms
from cloud.sqlite import rebuild as rebuilding
from cloud.sqlite.alarm_steps import SqliteAlarmSteps
from cloud.sqlite.areas import SqliteAreas
from cloud.sqlite.card_losses import SqliteEndedAlarms
from cloud.sqlite.claims import SqliteClaims
from cloud.sqlite.code_counters import CodeCounters
from cloud.sqlite.codes import SqliteCodes
from cloud.sqlite.compaction import Compaction
from cloud.sqlite.damage import whole
from cloud.sqlite.database import Sizes
from cloud.sqlite.errors import StoreTrouble, why
from cloud.sqlite.folding import HISTORY
from cloud.sqlite.hearings import hearings
from cloud.sqlite.history import SqliteHistory
from cloud.sqlite.interned import Interned
from cloud.sqlite.latest_table import LatestTable
from cloud.sqlite.log import SqliteLog
from cloud.sqlite.orders import SqliteOrders
from cloud.sqlite.own_alarms import SqliteOwnAlarms
from cloud.sqlite.read_log import reach_of
from cloud.sqlite.readers import Readers
from cloud.sqlite.rebuild import Rebuilt
from cloud.sqlite.token_store import SqliteTokenStore
from cloud.sqlite.view_builder import ViewBuilder
from cloud.sqlite.views import SqliteViews
from cloud.sqlite.write_offs import SqliteWriteOffs
from cloud.sqlite.writer import Writer
from cloud.times import Now, utc_us
from cloud.views.silence import Hearing, LastHeard
from groundwork.liveness import Part
from wire import codec
from wire.columns import Columns
from wire.entries import Alarm
from wire.errors import BadInput
from wire.time import Micros, Utc

LOG: Final = logging.getLogger("lamplighter.cloud")
REPLAY_RECORDS: Final = 200
FOLD_WAIT_S: Final = 2.0  # for the writer, and again for the readers; queries wait the latter, and the checkpoint

Progress = Callable[[int, int], None]  # done, of how many
Held = Callable[[float], AbstractAsyncContextManager[object]]  # for at most so many seconds to begin with


def nobody_else(_wait_s: float) -> AbstractAsyncContextManager[object]:
    """No other process reads."""
    return nullcontext()


def silent(_done: int, _of: int) -> None:
    """Show no progress."""


def untimed(_jobs: int, _seconds: float) -> None:
    """Measure nothing."""


class SqliteStore(msgspec.Struct, frozen=True):
    """An open store. What others are handed is as the contracts have it; `writer` and `readers` stay in this room."""

    directory: Path
    log: SqliteLog
    views: SqliteViews
    heard: LastHeard
    latest: LatestTable
    writer: Writer
    readers: Readers
    interned: Interned
    orders: SqliteOrders
    own_alarms: SqliteOwnAlarms
    ended_alarms: SqliteEndedAlarms
    claims: SqliteClaims
    write_offs: SqliteWriteOffs
    codes: SqliteCodes
    areas: SqliteAreas
    alarm_steps: SqliteAlarmSteps
    history: SqliteHistory
    token_store: SqliteTokenStore

    @property
    def origins(self) -> Origins:
        """Where its generation comes from."""
        return self.log.origins

    async def tend(self) -> None:
        """Save what is held in memory where that is due, and make older copies of the store distinguishable from it."""
        if await self.latest.due(self.readers):
            await self.latest.save(self.writer)
        await self._raise_serial()

    async def save(self) -> None:
        """The same, whether it is due or not."""
        await self.latest.save(self.writer)
        await self._raise_serial()

    async def save_through(self, position: int) -> None:
        """The same, unless what is latest was saved up to this position."""
        if self.latest.saved_through < position:
            await self.save()

    def compaction(self, keep_us: Micros, now: Now, crash: Crash, count: Callable[[int], None]) -> Compaction:
        """Compaction of this store: see there."""
        return Compaction(
            writer=self.writer,
            readers=self.readers,
            log=self.log,
            save_through=self.save_through,
            keep_us=keep_us,
            now=now,
            crash=crash,
            count=count,
        )

    async def _raise_serial(self) -> None:
        # Two steps ahead of the file beside it, the store would count as put back.
        beside = await self.readers.ask(lambda connection: database.behind(self.directory, connection))
        if beside is None:
            beside = await self.writer.do(database.raise_serial)
        await asyncio.to_thread(database.follow, self.directory, beside)

    async def fold(self, held: Held = nobody_else) -> None:
        """Empty the write-ahead log where it has outgrown its bound: there was always somebody who read. `held` holds
        the queries of other processes."""
        if database.sizes(self.directory).log > database.WAL_LIMIT_BYTES:
            with suppress(TimeoutError):  # what it has in hand is not waited for by those who read
                async with asyncio.timeout(FOLD_WAIT_S):
                    await self.writer.idle()
            async with held(FOLD_WAIT_S), self.readers.pause(FOLD_WAIT_S):
                await self.writer.between(database.fold)

    async def note_silence(self, now_us: Utc, since_us: Utc) -> None:
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

    @property
    def waiting(self) -> int:
        """How many transactions wait or are being done."""
        return self.writer.waiting

    def sizes(self) -> Sizes:
        """What it takes on the disk, and what the disk has left."""
        return database.sizes(self.directory)

    def trouble(self) -> StoreTrouble | None:
        """What is wrong with it, in words; None where nothing is known to be."""
        free = self.sizes().disk_free
        damage = self.writer.damage or self.readers.damage
        if damage is not None:
            return StoreTrouble(damaged=True, words=why(damage, free))
        return (
            None if self.writer.trouble is None else StoreTrouble(damaged=False, words=why(self.writer.trouble, free))
        )


@asynccontextmanager
async def opened(
    directory: Path,
    now: Now = utc_us,
    crash: Crash = never,
    timed: Callable[[int, float], None] = untimed,
    progress: Progress = silent,
    alive: Part | None = None,
    history: Path | None = None,
) -> AsyncGenerator[SqliteStore]:
    """Open a store for the length of a block. `alive` is told what its writer does; folded hours lie in `history`.

    Raises:
        Misplaced: it is in use, or of another schema.
    """
    with database.locked(directory):
        loaded = await _loaded(directory, now)
        connection, damage, heard, latest = loaded.connection, loaded.damage, LastHeard(loaded.heard), loaded.latest
        interned = Interned()
        building = ViewBuilder(interned)
        writer = Writer(connection, crash, interned.clear, timed, alive)
        readers = Readers(directory)
        views = SqliteViews(writer=writer, readers=readers, building=building, latest=latest, heard=heard, now=now)
        log = SqliteLog(
            directory=directory,
            origins=loaded.origins,
            reach=loaded.reach,
            writer=writer,
            readers=readers,
            interned=interned,
            apply=building.apply,
            applied=views.applied,
            now=now,
        )
        counters = CodeCounters(directory)
        at = (writer, readers, log.note_in, log.grow)
        store = SqliteStore(
            directory=directory,
            log=log,
            views=views,
            heard=heard,
            latest=latest,
            writer=writer,
            readers=readers,
            interned=interned,
            orders=SqliteOrders(*at),
            own_alarms=SqliteOwnAlarms(*at, loaded.stood),
            ended_alarms=SqliteEndedAlarms(*at),
            claims=SqliteClaims(*at),
            write_offs=SqliteWriteOffs(writer, log.note_in, log.grow),
            codes=SqliteCodes(*at, counters),
            areas=SqliteAreas(*at),
            alarm_steps=SqliteAlarmSteps(writer, readers),
            history=SqliteHistory(readers, now, FoldedHours(history or directory / HISTORY)),
            token_store=SqliteTokenStore(directory, now),
        )
        try:
            await _catch_up(store, progress, damage)
            writer.found(damage)
            yield store
            try:
                await store.save()
            except Unavailable as error:  # it goes over the log next time
                LOG.warning("what is latest could not be saved at the end: %s", error)
        finally:
            counters.close()
            await readers.close()
            await writer.close()


class _Loaded(msgspec.Struct):
    connection: sqlite3.Connection
    origins: Origins
    reach: Reach
    heard: dict[str, Hearing]
    latest: LatestTable
    stood: dict[str, Alarm]
    damage: list[str]


async def _loaded(directory: Path, now: Now) -> _Loaded:
    """Beside the event loop: another program may hold the store, and a disk may take long."""
    loading = asyncio.ensure_future(asyncio.to_thread(_load, directory, now))
    try:
        return await asyncio.shield(loading)
    except asyncio.CancelledError:
        # The thread cannot be stopped: the directory stays locked until it has ended.
        with suppress(Exception):
            database.close((await loading).connection)
        raise


def _load(directory: Path, now: Now) -> _Loaded:
    connection = database.connect(directory)
    try:
        origins = database.settle_generation(connection, directory, now)
        damage: list[str] = []
        heard = hearings(connection, damage)
        latest = LatestTable()
        latest.load(connection, damage, now())
        stood = own_alarms.load(connection, damage)
        return _Loaded(connection, origins, reach_of(connection), heard, latest, stood, damage)
    except BaseException:
        database.close(connection)
        raise


async def rebuild(directory: Path, progress: Progress) -> Rebuilt:
    """Build a new store beside the old one, and put it in its place; what could not be read.

    Raises:
        Misplaced: the directory is in use, has no room, or the store cannot be read at all.
    """
    told = await asyncio.to_thread(rebuilding.rebuild, directory, progress)
    async with opened(directory):
        pass  # opening brings `latest` up to date, closing saves it
    return told


async def _catch_up(store: SqliteStore, progress: Progress, damage: list[str]) -> None:
    latest = store.latest
    if latest.through == 0 and not damage:  # where it is damaged, the devices fill it sooner than all of the log would
        await _take_chunks(store, damage)
    head = store.log.reach().head
    begin = after = latest.through
    while after < head:
        try:
            records = await store.log.read(after, 1 if "log" in damage else REPLAY_RECORDS)
        except Unavailable:
            if store.readers.damage is None:
                raise
            # One by one from here on: what cannot be read is stepped over.
            after += "log" in damage
            damage.append("log")
            continue
        if not records:
            return
        for record in records:
            after = record.position
            if not record.notice:
                try:
                    batch = codec.decode_batch(record.body)
                except BadInput:  # the page reads well and is another one
                    damage.append("log")
                    continue
                latest.take(batch.node, record.position, record.received_us, batch)
        progress(after - begin, head - begin)
        await asyncio.sleep(0)


async def _take_chunks(store: SqliteStore, damage: list[str]) -> None:
    """What compaction has taken out of the log, when nothing of `latest` was saved."""

    def query(connection: sqlite3.Connection) -> list[tuple[int, str, int, bytes]]:
        return connection.execute(
            "SELECT chunk_no, name, last_position, body FROM chunks JOIN nodes USING (node_no) WHERE chunk_no > ?"
            " ORDER BY chunk_no LIMIT ?",
            (after, REPLAY_RECORDS),
        ).fetchall()

    after = 0
    try:
        while rows := await store.readers.ask(query):
            after = rows[-1][0]
            opened_ = whole(rows, lambda row: (row[1], row[2], codec.decode_row(row[3])), "chunks", damage)
            for node, position, items in opened_:
                for item in items:
                    if isinstance(item.entry, Columns):
                        store.latest.take_columns(node, position, item.entry, utc_us())
            await asyncio.sleep(0)
    except Unavailable:
        if store.readers.damage is None:
            raise
        damage.append("chunks")
