"""Chunks: samples of one device and time base packed together, out of batches of one stream, and out of small chunks.

How far each stream is in chunks stands in the table `chunked`, written in the same transaction: no sample is found
twice, also after the views were built again from the log.

Bounds: MERGE_CHUNKS chunks of MAX_SAMPLES become one, MERGE_BYTES of them at once; what the codec would not open again
is cut in halves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from cloud.log.batch_facts import BatchFacts, Extent, base
from cloud.sqlite.view_builder import SPANS_US, span_of
from wire import codec
from wire.batch import Batch, Placed
from wire.columns import Columns, merge
from wire.contents import Contents
from wire.errors import BadInput
from wire.sample import Clock
from wire.table import Table, join
from wire.time import Utc

SMALL_SAMPLES: Final = 1_024
MERGE_CHUNKS: Final = 8
MERGE_BYTES: Final = 1 << 20
MAX_SAMPLES: Final = 8_192

_Shape = tuple[Clock, tuple[str, ...]]  # and the points


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


class Chunked(msgspec.Struct, frozen=True):
    """What a chunk step does: the batches of a stream up to a position are in these chunks, and lose these spans."""

    stream_no: int
    node_no: int
    through: int
    chunks: list[Chunk]
    spans: list[tuple[int, int, Extent]]


class Strips:
    """The samples of a stream's batches, device by device. Tables with the same points are joined first, and each
    device is cut out once: not out of every batch."""

    def __init__(self, connection: sqlite3.Connection, stream_no: int, node_no: int) -> None:
        self._stream_no, self._node_no = stream_no, node_no
        self.through = 0  # up to which position
        rows = connection.execute("SELECT id, device_no FROM devices WHERE node_no = ?", (node_no,))
        self._numbers: dict[str, int] = dict(rows)
        self._tables: dict[_Shape, list[Table]] = {}
        self._seqs: dict[_Shape, dict[str, list[int]]] = {}
        self._last: dict[tuple[str, int], int] = {}  # of a device and time base the last position
        self._spans: list[tuple[int, int, Extent]] = []

    def take(self, position: int, batch: Batch, facts: BatchFacts) -> None:
        """The next batch."""
        self.through = position
        self._spans.extend((position, key, extent) for key, extent in facts.extents.items())
        contents = Contents.placed(batch.entries)
        items = iter(contents)  # those of the tables first, in their order
        for table in contents.tables:
            shape = (table.clock, table.points)
            self._tables.setdefault(shape, []).append(table)
            seqs = self._seqs.setdefault(shape, {})
            for device, item in zip(table.devices, items, strict=False):
                seqs.setdefault(device, []).extend([batch.first_seq + place for place in item.places])
                self._last[device, base(table.clock)] = position

    def chunked(self) -> Chunked | None:
        """All of them in chunks; None where nothing was taken."""
        if not self.through:
            return None
        strips: dict[tuple[str, int], Strip] = {}
        for shape, tables in self._tables.items():
            clock, points = shape
            seqs = self._seqs[shape]
            for columns in join(list(enumerate(tables)), seqs.keys(), points).columns():
                key = (columns.device, base(clock))
                strip = strips.setdefault(key, Strip([], self._last[key]))
                strip.runs.append((seqs[columns.device], columns))
        chunks = [
            chunk
            for (device, _), strip in strips.items()
            for chunk in strip.chunks(self._stream_no, self._node_no, self._numbers[device])
        ]
        return Chunked(self._stream_no, self._node_no, self.through, chunks, self._spans)


def chunked_through(connection: sqlite3.Connection, stream_no: int) -> int:
    """Up to which position the batches of a stream are in chunks."""
    row = connection.execute("SELECT position FROM chunked WHERE stream_no = ?", (stream_no,)).fetchone()
    return 0 if row is None else row[0]


def put_chunked(connection: sqlite3.Connection, chunked: Chunked) -> None:
    """Do it."""
    for chunk in chunked.chunks:
        put_chunk(connection, chunk)
    connection.executemany(
        "DELETE FROM spans WHERE node_no = ? AND base = ? AND span = ? AND from_us = ? AND position = ?",
        (
            (chunked.node_no, key, span_of(extent.from_us, extent.to_us), extent.from_us, position)
            for position, key, extent in chunked.spans
        ),
    )
    connection.execute("INSERT OR REPLACE INTO chunked VALUES (?, ?)", (chunked.stream_no, chunked.through))


def put_chunk(connection: sqlite3.Connection, chunk: Chunk) -> None:
    """Add a chunk."""
    connection.execute(
        "INSERT INTO chunks (stream_no, node_no, device_no, base, from_us, to_us, n, last_position, first_seq, body,"
        " span, small) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*msgspec.structs.astuple(chunk), span_of(chunk.from_us, chunk.to_us), int(chunk.n < SMALL_SAMPLES)),
    )


class Merged(msgspec.Struct, frozen=True):
    """What one merge does: of some devices these chunks go, this one comes; where nothing can be merged they are small
    no more. `last` is the last of the devices."""

    devices: list[tuple[list[int], Chunk | None]]
    last: tuple[int, int, int]


def prepare_merge(connection: sqlite3.Connection, after: tuple[int, int, int]) -> Merged | None:
    """Of the next stream with small chunks enough, as many devices as have MERGE_BYTES."""
    rows = connection.execute(
        "SELECT stream_no, device_no, base FROM chunks INDEXED BY chunks_small WHERE small = 1"
        " AND (stream_no, device_no, base) > (?, ?, ?) GROUP BY stream_no, device_no, base HAVING count(*) >= ?",
        (*after, MERGE_CHUNKS),
    )
    devices: list[tuple[list[int], Chunk | None]] = []
    last, size = after, 0
    for stream_no, device_no, key in rows:
        if devices and (stream_no != last[0] or size >= MERGE_BYTES):
            break
        last = (stream_no, device_no, key)
        gone, chunk = _merged(connection, last)
        devices.append((gone, chunk))
        size += 0 if chunk is None else len(chunk.body)
    return Merged(devices, last) if devices else None


def _merged(connection: sqlite3.Connection, of: tuple[int, int, int]) -> tuple[list[int], Chunk | None]:
    rows = connection.execute(
        "SELECT chunk_no, node_no, from_us, to_us, n, last_position, first_seq, body FROM chunks"
        " WHERE small = 1 AND stream_no = ? AND device_no = ? AND base = ? ORDER BY chunk_no LIMIT ?",
        (*of, MERGE_CHUNKS),
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
    stream_no, device_no, _ = of
    chunks = strip.chunks(stream_no, rows[0][1], device_no) if len(gone) > 1 else []
    return gone, chunks[0] if len(chunks) == 1 else None


def put_merged(connection: sqlite3.Connection, merged: Merged) -> None:
    """Do it."""
    for gone, chunk in merged.devices:
        if chunk is None:
            connection.executemany("UPDATE chunks SET small = 0 WHERE chunk_no = ?", ((c,) for c in gone))
        else:
            connection.executemany("DELETE FROM chunks WHERE chunk_no = ?", ((c,) for c in gone))
            put_chunk(connection, chunk)


def _by_clock(runs: Iterable[tuple[Sequence[int], Columns]]) -> Iterable[list[tuple[Sequence[int], Columns]]]:
    same: list[tuple[Sequence[int], Columns]] = []
    for run in runs:
        if same and same[-1][1].clock != run[1].clock:
            yield same
            same = []
        same.append(run)
    yield same
