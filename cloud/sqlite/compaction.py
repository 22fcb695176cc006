"""Compaction: batches older than the feed keeps them live on as chunks, one device's samples together.

What is asked of the store answers the same before, between and after its steps. A step is one of

    raise     the floor: older batches are no longer in the feed; nothing else changes
    fold      the oldest batches of one stream into a chunk a device, and what the views still need beside
    merge     a device's small chunks into one

each in one transaction, bounded by FOLD_BYTES of bodies or MERGE_CHUNKS chunks, prepared beside the event loop and
done only while nothing waits to be written. The newest record is never taken, so positions never return.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import msgspec

from cloud.crash import Crash
from cloud.log.batch_facts import Extent, base, facts_of
from cloud.sqlite import database, decided
from cloud.sqlite.log import SqliteLog
from cloud.sqlite.readers import Readers
from cloud.sqlite.view_builder import SPANS_US, span_of
from cloud.sqlite.writer import Writer
from cloud.times import SECOND_US, Now
from wire import codec
from wire.batch import Placed
from wire.columns import Columns, merge
from wire.device import Roster
from wire.entries import Alarm, ClockFix, Decisions, Gap, Health, Result, Visit
from wire.errors import BadInput
from wire.time import Micros, Utc

FOLD_RECORDS: Final = 512
FOLD_BYTES: Final = 1 << 20
WINDOW_US: Final = Micros(6 * 3_600 * SECOND_US)  # fold so much at a time: longer runs pack better
SMALL_SAMPLES: Final = 1_024
MERGE_CHUNKS: Final = 8
MAX_SAMPLES: Final = 8_192


class Chunk(msgspec.Struct, frozen=True):
    """A row of the table chunks, but for its number."""

    stream_no: int
    node_no: int
    device_no: int
    base: int
    from_us: Utc
    to_us: Utc
    n: int
    last_position: int
    first_seq: int
    body: bytes


class Strip(msgspec.Struct):
    """Samples of one device and one time base, in the order of the log, with their seqs."""

    runs: list[tuple[Sequence[int], Columns]]
    last_position: int

    def chunks(self, stream_no: int, node_no: int, device_no: int) -> list[Chunk]:
        """Packed as one; as several where one would be more than the codec opens again."""
        first_seq = min(min(seqs) for seqs, _ in self.runs)
        placed: list[Placed] = []
        for same in _by_clock(self.runs):
            seqs = [seq - first_seq for seqs, _ in same for seq in seqs]
            placed.append(Placed(seqs, merge([columns for _, columns in same])))
        body = codec.encode_row(placed)
        if (halves := self._halves()) is not None and not _opens(body):
            return [chunk for half in halves for chunk in half.chunks(stream_no, node_no, device_no)]
        columns = [columns for _, columns in self.runs]
        chunk = Chunk(
            stream_no,
            node_no,
            device_no,
            base(columns[0].clock),
            min(min(c.times) for c in columns),
            max(max(c.times) for c in columns),
            sum(c.n for c in columns),
            self.last_position,
            first_seq,
            body,
        )
        return [chunk]

    def _halves(self) -> tuple[Strip, Strip] | None:
        """The runs in two parts, or the one run; None for a single sample."""
        half = len(self.runs) // 2
        if half:
            parts = (self.runs[:half], self.runs[half:])
        else:
            seqs, columns = self.runs[0]
            half, n = columns.n // 2, columns.n
            if not half:
                return None
            parts = ([(seqs[:half], columns.cut(0, half))], [(seqs[half:], columns.cut(half, n))])
        return Strip(parts[0], self.last_position), Strip(parts[1], self.last_position)


def _opens(body: bytes) -> bool:
    try:
        codec.decode_row(body)
    except BadInput:
        return False
    return True


class Folded(msgspec.Struct, frozen=True):
    """What one fold does."""

    chunks: list[Chunk]
    residue: list[tuple[int, int, int, int, bytes]]
    spans: list[tuple[int, int, Extent]]
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
        self._now = now
        self._crash = crash
        self._count = count

    async def step(self) -> bool:
        """Do one step; False when there was nothing to do.

        Raises:
            Unavailable: the store did not do it, and is as it was.
        """
        await self._writer.idle()
        return await self._fold() or await self._merge() or await self._raise()

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

    async def _fold(self) -> bool:
        floor = self._log.reach().floor
        folded = await self._readers.ask(lambda connection: _prepare(connection, floor))
        if folded is None:
            return False
        await self._writer.do(lambda connection: self._folded(connection, folded))
        self._crash("compact.after_commit")
        self._count(len(folded.positions))
        return True

    async def _merge(self) -> bool:
        merged = await self._readers.ask(_prepare_merge)
        if merged is None:
            return False
        await self._writer.do(lambda connection: _put_merged(connection, merged))
        return True

    def _folded(self, connection: sqlite3.Connection, folded: Folded) -> None:
        _put(connection, folded)
        self._crash("compact.before_commit")


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


def _prepare(connection: sqlite3.Connection, floor: int) -> Folded | None:
    oldest = connection.execute("SELECT position, stream_no FROM log ORDER BY position LIMIT 1").fetchone()
    if oldest is None or oldest[0] > floor:
        return None
    stream_no = oldest[1]
    if stream_no is None:  # the views are not built from notices
        rows = connection.execute(
            "SELECT position FROM log WHERE stream_no IS NULL AND position <= ? LIMIT ?", (floor, FOLD_RECORDS)
        )
        return Folded([], [], [], [position for (position,) in rows])
    (node_no,) = connection.execute("SELECT node_no FROM streams WHERE stream_no = ?", (stream_no,)).fetchone()
    numbers = dict(connection.execute("SELECT id, device_no FROM devices WHERE node_no = ?", (node_no,)))
    strips: dict[tuple[int, int], Strip] = {}
    folded = Folded([], [], [], [])
    for position, received_us, body in _bounded(connection, stream_no, floor):
        batch = codec.decode_batch(body)
        facts = facts_of(batch)
        folded.positions.append(position)
        folded.spans.extend((position, key, extent) for key, extent in facts.extents.items())
        needed = [p for p in facts.others if _needed(connection, node_no, position, p.entry)]
        if needed:
            row = codec.encode_row(needed)
            folded.residue.append((position, stream_no, batch.first_seq, received_us, row))
        for item in batch.entries:
            entry = item.entry
            if isinstance(entry, Columns):
                key = (numbers[entry.device], base(entry.clock))
                strip = strips.setdefault(key, Strip([], position))
                strip.runs.append(([batch.first_seq + place for place in item.places], entry))
                strip.last_position = position
    for (device_no, _), strip in strips.items():
        folded.chunks.extend(strip.chunks(stream_no, node_no, device_no))
    return folded


def _bounded(connection: sqlite3.Connection, stream_no: int, floor: int) -> Iterable[tuple[int, int, bytes]]:
    size = 0
    for position, received_us, body in connection.execute(
        "SELECT position, received_us, body FROM log WHERE stream_no = ? AND position <= ? ORDER BY position LIMIT ?",
        (stream_no, floor, FOLD_RECORDS),
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


def _put(connection: sqlite3.Connection, folded: Folded) -> None:
    for chunk in folded.chunks:
        put_chunk(connection, chunk)
    connection.executemany("INSERT INTO residue VALUES (?, ?, ?, ?, ?)", folded.residue)
    node_no = connection.execute(
        "SELECT node_no FROM streams JOIN log USING (stream_no) WHERE position = ?", folded.positions[:1]
    ).fetchone()
    connection.executemany(
        "DELETE FROM spans WHERE node_no = ? AND base = ? AND span = ? AND from_us = ? AND position = ?",
        (
            (node_no[0], key, span_of(extent.from_us, extent.to_us), extent.from_us, position)
            for position, key, extent in folded.spans
        ),
    )
    for table in ("log", "outlines"):
        connection.executemany(f"DELETE FROM {table} WHERE position = ?", ((p,) for p in folded.positions))  # noqa: S608  ours


def put_chunk(connection: sqlite3.Connection, chunk: Chunk) -> None:
    """Add a chunk."""
    connection.execute(
        "INSERT INTO chunks (stream_no, node_no, device_no, base, from_us, to_us, n, last_position, first_seq, body,"
        " span, small) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*msgspec.structs.astuple(chunk), span_of(chunk.from_us, chunk.to_us), int(chunk.n < SMALL_SAMPLES)),
    )


class Merged(msgspec.Struct, frozen=True):
    """What one merge does: these chunks go, this one comes; where nothing can be merged they are small no more."""

    gone: list[int]
    chunk: Chunk | None


def _prepare_merge(connection: sqlite3.Connection) -> Merged | None:
    found = connection.execute(
        "SELECT stream_no, device_no, base FROM chunks WHERE small = 1 GROUP BY stream_no, device_no, base"
        " HAVING count(*) >= ? LIMIT 1",
        (MERGE_CHUNKS,),
    ).fetchone()
    if found is None:
        return None
    rows = connection.execute(
        "SELECT chunk_no, node_no, from_us, to_us, n, last_position, first_seq, body FROM chunks"
        " WHERE small = 1 AND stream_no = ? AND device_no = ? AND base = ? ORDER BY chunk_no LIMIT ?",
        (*found, MERGE_CHUNKS),
    ).fetchall()
    strip = Strip([], 0)
    gone: list[int] = []
    low, high, n = rows[0][2], rows[0][3], 0
    for chunk_no, _, from_us, to_us, count, last_position, first_seq, body in rows:
        low, high, n = min(low, from_us), max(high, to_us), n + count
        if gone and (n > MAX_SAMPLES or high - low > SPANS_US[-1]):
            break
        gone.append(chunk_no)
        strip.last_position = max(strip.last_position, last_position)
        for item in codec.decode_row(body):
            if isinstance(item.entry, Columns):
                strip.runs.append(([first_seq + place for place in item.places], item.entry))
    stream_no, device_no, _ = found
    chunks = strip.chunks(stream_no, rows[0][1], device_no) if len(gone) > 1 else []
    return Merged(gone, chunks[0] if len(chunks) == 1 else None)


def _put_merged(connection: sqlite3.Connection, merged: Merged) -> None:
    if merged.chunk is None:
        connection.executemany("UPDATE chunks SET small = 0 WHERE chunk_no = ?", ((c,) for c in merged.gone))
        return
    connection.executemany("DELETE FROM chunks WHERE chunk_no = ?", ((c,) for c in merged.gone))
    put_chunk(connection, merged.chunk)


def _by_clock(runs: Iterable[tuple[Sequence[int], Columns]]) -> Iterable[list[tuple[Sequence[int], Columns]]]:
    same: list[tuple[Sequence[int], Columns]] = []
    for run in runs:
        if same and same[-1][1].clock != run[1].clock:
            yield same
            same = []
        same.append(run)
    yield same
