"""Where in SQLite the samples of one device lie: batches in the log, and compacted chunks, by their earliest time.

Both are found by time base (synchronised times, or a boot whose times are corrected while searching) and by class
of length, so that each search is one range of an index. Nothing is decoded until the piece is opened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from heapq import merge
from operator import attrgetter
from typing import Final

import msgspec

from cloud.history.gather import TableRun
from cloud.log.batch_facts import SYNCED, base
from cloud.sqlite.interned import stream_key
from cloud.sqlite.view_builder import SPANS_US, DeviceClaim, device_set, in_device_set
from cloud.views.contract import Fix
from cloud.views.readings_page import PageWindow, Piece, SampleRun
from wire import codec
from wire.columns import Columns
from wire.contents import Contents
from wire.time import Micros, Utc

_LEAST: Final = -(2**63)
_MOST: Final = 2**63 - 1
_SPANS: Final = range(len(SPANS_US) + 1)


_OF_NODE: Final = (
    "FROM spans WHERE node_no = ? AND base = ? AND span = ? AND from_us >= ? AND from_us < ? AND to_us >= ?"
    " ORDER BY from_us, position"
)
_OF_DEVICE: Final = (
    "FROM chunks WHERE node_no = ? AND device_no = ? AND base = ? AND span = ? AND from_us >= ? AND from_us < ?"
    " AND to_us >= ? ORDER BY from_us, chunk_no"
)


class _Class(msgspec.Struct, frozen=True):
    """Runs that one range of an index finds: their time base, how long they last, what corrects their times."""

    base: int
    span: int
    offset: int

    def range(self, window: PageWindow) -> tuple[int, int, int, int, int]:
        """As stored: base, span, the earliest beginning, the end of beginnings, the earliest end."""
        low, high = window.from_us - self.offset, window.to_us - self.offset
        earliest = low - SPANS_US[self.span] if self.span < len(SPANS_US) else _LEAST
        return self.base, self.span, _clamp(earliest), _clamp(high), _clamp(low)


def pieces_of(
    connection: sqlite3.Connection, device: str, claim: DeviceClaim, fixes: Mapping[int, Fix], window: PageWindow
) -> Iterator[Piece]:
    """The pieces that may hold samples within the window, in the order of their earliest corrected time."""
    found: list[Iterator[Piece]] = []
    own = (claim.node_no, claim.device_no)
    for base_ in _bases(connection, "spans", "node_no = ?", own[:1]):
        offset = offset_of(base_, fixes)
        found.extend(_batches(connection, device, claim, _Class(base_, span, offset), window) for span in _SPANS)
    for base_ in _bases(connection, "chunks", "node_no = ? AND device_no = ?", own):
        offset = offset_of(base_, fixes)
        found.extend(_chunks(connection, claim, _Class(base_, span, offset), window) for span in _SPANS)
    return merge(*found, key=attrgetter("from_us"))


class NodePiece(msgspec.Struct, frozen=True):
    """Something that holds samples of devices of one node, and can be opened."""

    open: Callable[[], Iterable[TableRun]]


def node_pieces(
    connection: sqlite3.Connection,
    node_no: int,
    devices: Collection[int],
    fixes: Mapping[int, Fix],
    window: PageWindow,
) -> Iterator[NodePiece]:
    """The pieces that may hold samples of some devices of a node within the window, in no order: each batch once."""
    mask = int.from_bytes(device_set(devices), "little")
    for base_ in _bases(connection, "spans", "node_no = ?", (node_no,)):
        offset = offset_of(base_, fixes)
        for span in _SPANS:
            rows = connection.execute(
                f"SELECT position, devices {_OF_NODE}", (node_no, *_Class(base_, span, offset).range(window))
            )
            for position, held in rows:
                if int.from_bytes(held, "little") & mask:
                    yield NodePiece(partial(_open_for, connection, position, base_, offset))
    for device_no in devices:
        for base_ in _bases(connection, "chunks", "node_no = ? AND device_no = ?", (node_no, device_no)):
            offset = offset_of(base_, fixes)
            for span in _SPANS:
                rows = connection.execute(
                    f"SELECT chunk_no {_OF_DEVICE}", (node_no, device_no, *_Class(base_, span, offset).range(window))
                )
                for (chunk_no,) in rows:
                    yield NodePiece(partial(_open_chunk_of, connection, chunk_no, base_, offset))


def earliest_of(
    connection: sqlite3.Connection, node_no: int, devices: Collection[int], fixes: Mapping[int, Fix]
) -> Utc | None:
    """Before when no piece of some devices of a node begins; None where there is none: as many steps of an index as a
    window of `node_pieces` takes."""
    keys = [("spans", "node_no = ?", (node_no,))]
    keys += [("chunks", "node_no = ? AND device_no = ?", (node_no, device_no)) for device_no in devices]
    found: list[int] = []
    for table, where, values in keys:
        for base_ in _bases(connection, table, where, values):
            for span in _SPANS:
                row = connection.execute(
                    f"SELECT min(from_us) FROM {table} WHERE {where} AND base = ? AND span = ?",  # noqa: S608  ours
                    (*values, base_, span),
                ).fetchone()
                if row[0] is not None:
                    found.append(row[0] + offset_of(base_, fixes))
    return Utc(min(found)) if found else None


def _bases(connection: sqlite3.Connection, table: str, where: str, values: tuple[int, ...]) -> list[int]:
    bases: list[int] = []
    after = _LEAST
    # One step of the index a base, however many rows each has.
    while (
        row := connection.execute(
            f"SELECT base FROM {table} WHERE {where} AND base > ? ORDER BY base LIMIT 1",  # noqa: S608  ours
            (*values, after),
        ).fetchone()
    ) is not None:
        after = row[0]
        bases.append(after)
    return bases


def offset_of(base_: int, fixes: Mapping[int, Fix]) -> Micros:
    """What corrects times that count from a base."""
    fix = fixes.get(base_) if base_ != SYNCED else None
    return Micros(0) if fix is None else fix.offset_us


def _clamp(value: int) -> int:
    return min(max(value, _LEAST), _MOST)


def _batches(
    connection: sqlite3.Connection, device: str, claim: DeviceClaim, of: _Class, window: PageWindow
) -> Iterator[Piece]:
    rows = connection.execute(
        f"SELECT from_us, to_us, position, devices {_OF_NODE}", (claim.node_no, *of.range(window))
    )
    for from_us, to_us, position, devices in rows:
        if in_device_set(devices, claim.device_no):
            opened = partial(_open_batch, connection, position, device, of.base)
            yield Piece(from_us + of.offset, to_us + of.offset, opened)


def _chunks(connection: sqlite3.Connection, claim: DeviceClaim, of: _Class, window: PageWindow) -> Iterator[Piece]:
    rows = connection.execute(
        f"SELECT from_us, to_us, chunk_no {_OF_DEVICE}", (claim.node_no, claim.device_no, *of.range(window))
    )
    for from_us, to_us, chunk_no in rows:
        yield Piece(from_us + of.offset, to_us + of.offset, partial(_open_chunk, connection, chunk_no))


def _open_batch(connection: sqlite3.Connection, position: int, device: str, base_: int) -> Iterable[SampleRun]:
    (body,) = connection.execute("SELECT body FROM log WHERE position = ?", (position,)).fetchone()
    batch = codec.reopen_batch(body)
    for item in batch.entries:
        entry = item.entry
        if isinstance(entry, Columns) and entry.device == device and base(entry.clock) == base_:
            seqs = [batch.first_seq + place for place in item.places]
            yield SampleRun(batch.node, batch.epoch, batch.lane.value, seqs, entry)


def _open_chunk(connection: sqlite3.Connection, chunk_no: int) -> Iterable[SampleRun]:
    stream_no, first_seq, body = connection.execute(
        "SELECT stream_no, first_seq, body FROM chunks WHERE chunk_no = ?", (chunk_no,)
    ).fetchone()
    node, epoch, lane = stream_key(connection, stream_no)
    for item in _row(body):
        if isinstance(item.entry, Columns):
            yield SampleRun(node, epoch, lane, [first_seq + place for place in item.places], item.entry)


def _open_for(connection: sqlite3.Connection, position: int, base_: int, offset_us: Micros) -> Iterable[TableRun]:
    (body,) = connection.execute("SELECT body FROM log WHERE position = ?", (position,)).fetchone()
    batch = codec.reopen_batch(body)
    contents = Contents.placed(batch.entries)
    return _tables(contents, batch.epoch, batch.lane.value, batch.first_seq, base_, offset_us)


def _open_chunk_of(connection: sqlite3.Connection, chunk_no: int, base_: int, offset_us: Micros) -> Iterable[TableRun]:
    stream_no, first_seq, body = connection.execute(
        "SELECT stream_no, first_seq, body FROM chunks WHERE chunk_no = ?", (chunk_no,)
    ).fetchone()
    _, epoch, lane = stream_key(connection, stream_no)
    return _tables(_row(body), epoch, lane, first_seq, base_, offset_us)


def _row(body: bytes) -> Contents:
    """What a chunk holds, which was packed here, in a frame with a checksum."""
    try:
        return codec.reopen_row(body)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return codec.decode_row(body)


def _tables(
    contents: Contents, epoch: int, lane: str, first_seq: int, base_: int, offset_us: Micros
) -> Iterable[TableRun]:
    before = 0
    for table in contents.tables:
        if base(table.clock) == base_:
            yield TableRun(epoch, lane, partial(_seqs, contents, before, first_seq), offset_us, table)
        before += len(table.devices)


def _seqs(contents: Contents, before: int, first_seq: int, i: int) -> Sequence[int]:
    """Those of a table's i-th device, which has so many before it in other tables."""
    return [first_seq + place for place in contents[before + i].places]
