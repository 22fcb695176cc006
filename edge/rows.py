"""Rows: how entries are laid one after the other, sealed, and joined again when several rows go up as one batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wire import codec
from wire.batch import Placed
from wire.columns import Columns, merge
from wire.entries import Alarm, Entry, Gap, Health
from wire.errors import BadInput

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


def seal(entries: Sequence[Entry]) -> tuple[bytes, int, int | None, int | None]:
    """One row: its bytes, its width in seqs, the first and the last time in it."""
    placed = place(entries)
    times: list[int] = []
    for entry in entries:
        match entry:
            case Columns():
                times += (min(entry.times), max(entry.times))
            case Alarm() | Health():
                times.append(entry.time_us)
            case _:
                pass
    return codec.encode_row(placed), placed[-1].places[-1] + 1, min(times, default=None), max(times, default=None)


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


def count_lost(bodies: Iterable[bytes]) -> tuple[int, tuple[str, ...]]:
    """How many samples bodies held or already counted as lost, and of which devices (the first 1,000)."""
    lost = 0
    devices: dict[str, None] = {}
    for body in bodies:
        try:
            placed = codec.decode_row(body)
        except BadInput:
            continue  # a damaged row is itself what is lost; its width stands in the gap
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
