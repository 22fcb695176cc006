"""Rows: how entries are laid one after the other, sealed, and joined again when several rows go up as one batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from wire import codec
from wire.batch import Placed
from wire.columns import Columns, merge
from wire.entries import Alarm, Entry, Gap, Health
from wire.errors import BadInput

ROW_BYTES = 256 << 10
ROW_PLAIN_BYTES = 1 << 20  # so that a few rows always fit into a body, and one by far
MAX_NAMED_DEVICES = 1000  # in a gap; it counts all, and names these


def place(entries: Sequence[Entry]) -> list[Placed]:
    """Entries one after the other: n samples take n places, a gap as many as it stands for, all else one."""
    found: list[Placed] = []
    at = 0
    for entry in entries:
        width = entry.n if isinstance(entry, Columns) else entry.seqs if isinstance(entry, Gap) else 1
        found.append(Placed(range(at, at + width), entry))
        at += width
    return found


class Sealed(msgspec.Struct, frozen=True):
    """One row: its bytes, its width in seqs, the first and the last time in it."""

    body: bytes
    width: int
    from_us: int | None
    to_us: int | None


def seal(entries: Sequence[Entry]) -> list[Sealed]:
    """Entries as one row, or as several where one would be larger than ROW_BYTES or ROW_PLAIN_BYTES.

    Raises:
        BadInput: an entry cannot be written, or a single sample is larger than any body may be.
    """
    placed = place(entries)
    body = codec.encode_row(placed)
    if len(body) > ROW_BYTES or codec.plain_bytes(body) > ROW_PLAIN_BYTES:
        halves = _halves(entries)
        if halves is not None:
            return [row for half in halves for row in seal(half)]
        codec.decode_row(body)  # a single sample: it may be large, but not too large to be read
    times: list[int] = []
    for entry in entries:
        match entry:
            case Columns():
                times += (min(entry.times), max(entry.times))
            case Alarm() | Health():
                times.append(entry.time_us)
            case _:
                pass
    width = placed[-1].places[-1] + 1
    return [Sealed(body, width, min(times, default=None), max(times, default=None))]


def _halves(entries: Sequence[Entry]) -> tuple[Sequence[Entry], Sequence[Entry]] | None:
    if len(entries) > 1:
        return entries[: len(entries) // 2], entries[len(entries) // 2 :]
    (entry,) = entries
    if not isinstance(entry, Columns) or entry.n < 2:
        return None
    samples = entry.samples()
    return [Columns.of(samples[: entry.n // 2])], [Columns.of(samples[entry.n // 2 :])]


def join(rows: Sequence[tuple[int, Sequence[Placed]]]) -> list[Placed]:
    """The entries of several rows as one batch has them: columns of one device and clock become one run.

    Each row comes with the offset of its first seq from that of the batch.
    """
    if len(rows) == 1 and rows[0][0] == 0:
        return list(rows[0][1])
    runs: dict[tuple[object, ...], list[tuple[Sequence[int], Columns]]] = {}
    others: list[Placed] = []
    for offset, placed in rows:
        for item in placed:
            places = range(item.places[0] + offset, item.places[0] + offset + len(item.places))
            if isinstance(item.entry, Columns):
                columns = item.entry
                key = (columns.device, columns.clock, tuple(columns.cells))
                runs.setdefault(key, []).append((places, columns))
            else:
                others.append(Placed(places, item.entry))
    merged = [
        Placed([place for places, _ in parts for place in places], merge([c for _, c in parts]))
        for parts in runs.values()
    ]
    return merged + others


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
