"""Rows: how entries are sealed, and what is counted when rows are given up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from wire import codec
from wire.columns import Columns
from wire.contents import Contents
from wire.entries import Alarm, Entry, Gap, Health
from wire.errors import BadInput
from wire.sample import Sample
from wire.time import Utc

ROW_BYTES = 256 << 10
ROW_PLAIN_BYTES = 1 << 20  # so that a few rows always fit into a body, and one by far
_Item = Entry | Sample
MAX_NAMED_DEVICES = 1000  # in a gap; it counts all, and names these


class Sealed(msgspec.Struct, frozen=True):
    """One row: its bytes, its width in seqs, the first and the last time in it."""

    body: bytes
    width: int
    from_us: Utc | None
    to_us: Utc | None


def seal(entries: Sequence[_Item]) -> list[Sealed]:
    """Entries as one row, or as several where one would be larger than ROW_BYTES or ROW_PLAIN_BYTES.

    Raises:
        BadInput: an entry cannot be written, or a single sample is larger than any body may be.
    """
    contents = Contents.of(entries)
    body = codec.encode_row(contents)
    if len(body) > ROW_BYTES or codec.plain_bytes(body) > ROW_PLAIN_BYTES:
        halves = _halves(entries)
        if halves is not None:
            return [row for half in halves for row in seal(half)]
        codec.decode_row(body)  # a single sample: it may be large, but not too large to be read
    return [Sealed(body, contents.width, *_span(contents))]


def sealed_again(body: bytes) -> Sealed:
    """A row that was sealed before, to be kept once more as it is.

    Raises:
        BadInput: it cannot be read.
    """
    contents = codec.decode_row(body)
    return Sealed(body, contents.width, *_span(contents))


def _span(contents: Contents) -> tuple[Utc | None, Utc | None]:
    """The first and the last time in it."""
    times = [o.entry.time_us for o in contents.others if isinstance(o.entry, Alarm | Health)]
    for table in contents.tables:
        times += table.span
    return min(times, default=None), max(times, default=None)


def _halves(entries: Sequence[_Item]) -> tuple[Sequence[_Item], Sequence[_Item]] | None:
    if len(entries) > 1:
        return entries[: len(entries) // 2], entries[len(entries) // 2 :]
    (entry,) = entries
    if not isinstance(entry, Columns) or entry.n < 2:
        return None
    return [entry.cut(0, entry.n // 2)], [entry.cut(entry.n // 2, entry.n)]


def count_lost(rows: Iterable[tuple[int, bytes]]) -> tuple[int, tuple[str, ...]]:
    """How many samples rows (width, body) held or already counted as lost, and of which devices (the first 1,000)."""
    lost = 0
    devices: dict[str, None] = {}
    for width, body in rows:
        try:
            placed = codec.decode_row(body)
        except BadInput:
            lost += width  # a damaged row is itself what is lost
            continue
        for item in placed:
            match item.entry:
                case Columns() as columns:
                    lost += columns.n
                    devices[columns.device] = None
                case Gap() as gap:
                    lost += gap.lost
                    devices.update(dict.fromkeys(gap.devices))
                case _:
                    lost += 1
    return lost, tuple(devices)[:MAX_NAMED_DEVICES]
