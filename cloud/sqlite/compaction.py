"""Compaction: batches become chunks, one device's samples together, within some hours; the log keeps them whole for
longer, for the feed.

What is asked of the store answers the same before, between and after its steps. A step is one of

    chunk     batches of one stream, older than CHUNK_US, into a chunk a device. Readings are found there from now on,
              and in the batches no more: their spans go
    merge     small chunks of one stream's devices into one each
    raise     the floor: older batches are no longer in the feed; nothing else changes
    drop      the oldest batches of one stream out of the log; what the views still need of them stays beside it

each in one transaction, bounded by FOLD_BYTES of bodies or MERGE_BYTES of chunks, prepared beside the event loop and
done only while nothing waits to be written. The newest record is never taken, so positions never return.

A body that is garbled on the disk is left in the log, and told; what is asked of it says so.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import msgspec

from cloud.crash import Crash
from cloud.log.batch_facts import facts_of
from cloud.sqlite import database, decided
from cloud.sqlite.chunks import Chunked, Strips, chunked_through, prepare_merge, put_chunked, put_merged
from cloud.sqlite.log import SqliteLog
from cloud.sqlite.readers import Readers
from cloud.sqlite.writer import Writer
from cloud.times import SECOND_US, Now
from wire import codec
from wire.device import Roster
from wire.entries import Alarm, ClockFix, Decisions, Gap, Health, Result, Visit
from wire.errors import BadInput
from wire.time import Micros, Utc

FOLD_RECORDS: Final = 512
FOLD_BYTES: Final = 1 << 20
WINDOW_US: Final = Micros(6 * 3_600 * SECOND_US)  # drop so much at a time
CHUNK_US: Final = Micros(3_600 * SECOND_US)  # chunk so much at a time: longer packs better, shorter is found sooner
SETTLE_US: Final = Micros(600 * SECOND_US)
CHUNKED: Final = "chunked"  # among the numbers of the store: up to which position all batches are in chunks


class Dropped(msgspec.Struct, frozen=True):
    """What a drop does; `chunked` is what is chunked before it where that was not done yet."""

    chunked: Chunked | None
    residue: list[tuple[int, int, int, int, bytes]]
    positions: list[int]


class Compaction:
    """Called again and again; does one step each time."""

    def __init__(
        self,
        *,
        writer: Writer,
        readers: Readers,
        log: SqliteLog,
        save_through: Callable[[int], Awaitable[None]],
        keep_us: Micros,
        now: Now,
        crash: Crash,
        count: Callable[[int], None],
    ) -> None:
        """`keep_us` is how long batches stay whole; `count` is called with how many were folded. `save_through` saves
        what is latest, unless it was up to a position: a restart goes over the log from there."""
        self._writer = writer
        self._readers = readers
        self._log = log
        self._save_through = save_through
        self._keep_us = keep_us
        self._window_us = min(WINDOW_US, keep_us // 4)
        self._chunk_us, self._settle_us = min(CHUNK_US, keep_us // 4), min(SETTLE_US, keep_us // 8)
        self._goal = 0  # up to which position batches are being chunked; 0 while none are
        self._stream_no = 0  # of which this was done last
        self._merged: tuple[int, int, int] | None = (0, 0, 0)  # whose chunks were merged last; None while all are
        self._now = now
        self._crash = crash
        self._count = count

    async def step(self) -> bool:
        """Do one step; False when there was nothing to do.

        Raises:
            Unavailable: the store did not do it, and is as it was.
        """
        await self._writer.idle()
        return await self._chunk() or await self._merge() or await self._drop() or await self._raise()

    async def _chunk(self) -> bool:
        reach = self._log.reach()
        if not self._goal:
            horizon_us = self._now() - self._settle_us

            def through(connection: sqlite3.Connection) -> int | None:
                begin = max(database.meta(connection, CHUNKED), reach.floor)
                return _last_before(connection, begin, reach.head, horizon_us, self._chunk_us)

            self._goal = await self._readers.ask(through) or 0
            if not self._goal:
                return False
        stream_no, goal = self._stream_no, self._goal
        chunked = await self._readers.ask_around(
            lambda connection, damage: _prepare_chunks(connection, damage, stream_no, goal)
        )
        if chunked is None:
            await self._writer.do(lambda connection: database.put_meta(connection, CHUNKED, goal))
            self._goal = self._stream_no = 0
            self._merged = (0, 0, 0)
            return True
        await self._writer.do(lambda connection: self._chunked(connection, chunked))
        self._stream_no = chunked.stream_no - 1  # it may have more
        self._crash("compact.chunked")
        return True

    def _chunked(self, connection: sqlite3.Connection, chunked: Chunked) -> None:
        put_chunked(connection, chunked)
        self._crash("compact.before_chunked")

    async def _raise(self) -> bool:
        log = self._log
        horizon_us = self._now() - self._keep_us
        floor = await self._readers.ask(
            lambda connection: _last_before(
                connection, log.reach().floor, log.reach().head, horizon_us, self._window_us
            )
        )
        if floor is None:
            return False
        await self._save_through(floor)  # it must not lie in what is taken away
        await self._writer.do(lambda connection: database.put_meta(connection, "floor", floor))
        log.rise(floor)
        return True

    async def _drop(self) -> bool:
        floor = self._log.reach().floor
        dropped = await self._readers.ask(lambda connection: _prepare_drop(connection, floor))
        if dropped is None:
            return False
        await self._writer.do(lambda connection: self._dropped(connection, dropped))
        self._crash("compact.after_commit")
        self._count(len(dropped.positions))
        return True

    def _dropped(self, connection: sqlite3.Connection, dropped: Dropped) -> None:
        _put_dropped(connection, dropped)
        self._crash("compact.before_commit")

    async def _merge(self) -> bool:
        if (after := self._merged) is None:
            return False
        merged = await self._readers.ask(lambda connection: prepare_merge(connection, after))
        if merged is None:
            self._merged = None
            return False
        await self._writer.do(lambda connection: put_merged(connection, merged))
        self._merged = merged.last
        return True


def _last_before(
    connection: sqlite3.Connection, floor: int, head: int, horizon_us: Utc, window_us: Micros
) -> int | None:
    """The last position that is old enough, when the first is so by a whole window; never the head."""

    def received_us(position: int) -> Utc:
        row = connection.execute("SELECT received_us FROM log WHERE position = ?", (position,)).fetchone()
        return Utc(row[0])

    low, high = floor + 1, head - 1
    if low > high or received_us(low) >= horizon_us - window_us:
        return None
    while low < high:  # positions above the floor have no holes, and grow with time
        middle = (low + high + 1) // 2
        if received_us(middle) < horizon_us:
            low = middle
        else:
            high = middle - 1
    return low


def _prepare_chunks(connection: sqlite3.Connection, damage: list[str], after: int, goal: int) -> Chunked | None:
    """Of the next stream that has batches which are in no chunk; None where there is none."""
    found = connection.execute(
        "SELECT stream_no, node_no, ifnull(c.position, 0) FROM streams LEFT JOIN chunked c USING (stream_no)"
        " WHERE stream_no > ? AND EXISTS (SELECT 1 FROM log INDEXED BY log_stream WHERE log.stream_no ="
        " streams.stream_no AND log.position > ifnull(c.position, 0) AND log.position <= ?) ORDER BY stream_no LIMIT 1",
        (after, goal),
    ).fetchone()
    if found is None:
        return None
    stream_no, node_no, through = found
    strips = Strips(connection, stream_no, node_no)
    for position, _, body in _bounded(connection, stream_no, through, goal):
        try:
            batch = codec.reopen_batch(body)
        except BadInput:
            damage.append("log")
            strips.through = position
            continue
        strips.take(position, batch, facts_of(batch))
    return strips.chunked()


def _prepare_drop(connection: sqlite3.Connection, floor: int) -> Dropped | None:
    oldest = connection.execute("SELECT position, stream_no FROM log ORDER BY position LIMIT 1").fetchone()
    if oldest is None or oldest[0] > floor:
        return None
    stream_no = oldest[1]
    if stream_no is None:  # the views are not built from notices
        rows = connection.execute(
            "SELECT position FROM log WHERE stream_no IS NULL AND position <= ? LIMIT ?", (floor, FOLD_RECORDS)
        )
        return Dropped(None, [], [position for (position,) in rows])
    (node_no,) = connection.execute("SELECT node_no FROM streams WHERE stream_no = ?", (stream_no,)).fetchone()
    through = chunked_through(connection, stream_no)
    strips = Strips(connection, stream_no, node_no)
    residue: list[tuple[int, int, int, int, bytes]] = []
    positions: list[int] = []
    for position, received_us, body in _bounded(connection, stream_no, 0, floor):
        batch = codec.reopen_batch(body)
        facts = facts_of(batch)
        positions.append(position)
        if position > through:
            strips.take(position, batch, facts)
        needed = [p for p in facts.others if _needed(connection, node_no, position, p.entry)]
        if needed:
            residue.append((position, stream_no, batch.first_seq, received_us, codec.encode_row(needed)))
    return Dropped(strips.chunked(), residue, positions)


def _bounded(
    connection: sqlite3.Connection, stream_no: int, after: int, through: int
) -> Iterable[tuple[int, int, bytes]]:
    size = 0
    for position, received_us, body in connection.execute(
        "SELECT position, received_us, body FROM log INDEXED BY log_stream WHERE stream_no = ? AND position > ?"
        " AND position <= ? ORDER BY position LIMIT ?",
        (stream_no, after, through, FOLD_RECORDS),
    ):
        yield position, received_us, body
        size += len(body)
        if size >= FOLD_BYTES:
            return


def _needed(connection: sqlite3.Connection, node_no: int, position: int, entry: object) -> bool:
    """Say whether a view still shows what this entry said at this position."""
    match entry:
        case Gap():
            return True
        case Health():
            query, values = "SELECT position FROM health WHERE node_no = ?", (node_no,)
        case Roster():
            query, values = "SELECT position FROM rosters WHERE node_no = ?", (node_no,)
        case ClockFix():
            query, values = "SELECT position FROM fixes WHERE node_no = ? AND boot = ?", (node_no, entry.boot)
        case Alarm():
            query, values = "SELECT position FROM alarms WHERE node_no = ? AND id = ?", (node_no, entry.id)
        case Result():
            query = "SELECT position FROM results WHERE id = ? AND node_no = ? AND stage = ?"
            values = (entry.order, node_no, entry.stage)
        case Visit():  # one of its node's newest: the same position is that of its batch
            query, values = "SELECT position FROM visits WHERE node_no = ? AND position = ?", (node_no, position)
        case Decisions():
            return decided.stands(connection, node_no, position)
        case _:
            return False
    row = connection.execute(query, values).fetchone()
    return row is not None and row[0] == position


def _put_dropped(connection: sqlite3.Connection, dropped: Dropped) -> None:
    if dropped.chunked is not None:
        put_chunked(connection, dropped.chunked)
    connection.executemany("INSERT INTO residue VALUES (?, ?, ?, ?, ?)", dropped.residue)
    for table in ("log", "outlines"):
        connection.executemany(f"DELETE FROM {table} WHERE position = ?", ((p,) for p in dropped.positions))  # noqa: S608  ours
