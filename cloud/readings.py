"""A page of readings: samples of one device put together from pieces, in the order of their corrected times.

A piece is anything that holds columns of the device: a batch in the log, a compacted chunk. Pieces come in the
order of their earliest time and may overlap. Only as many are opened as the page needs, and at most MAX_PIECES or
MAX_SAMPLES; then the page ends early and its cursor goes on from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final

import msgspec

from cloud.answers import ClockWord, Row
from cloud.facts import SYNCED, base
from cloud.times import text
from cloud.views import Fix
from wire.columns import ABSENT, Columns
from wire.sample import Value

MAX_PIECES: Final = 400
MAX_SAMPLES: Final = 200_000

Key = tuple[int, int, str, int]  # corrected time, epoch, lane, seq


class Run(msgspec.Struct, frozen=True):
    """Columns of the device with the seqs of their samples."""

    node: str
    epoch: int
    lane: str
    seqs: Sequence[int]
    columns: Columns


class Piece(msgspec.Struct, frozen=True):
    """Something that can be opened, and the corrected times between which it lies."""

    from_us: int
    to_us: int
    open: Callable[[], Iterable[Run]]


class Found(msgspec.Struct, frozen=True):
    """One sample, not yet expanded into values."""

    key: Key
    run: Run
    index: int


class Window(msgspec.Struct, frozen=True):
    """from_us ≤ time < to_us, and after a key."""

    from_us: int
    to_us: int
    after: Key | None


def parse_cursor(given: str) -> Key:
    """The key that `cursor_of` has written.

    Raises:
        ValueError: it has not.
    """
    match given.split("."):
        case [time_us, epoch, lane, seq] if len(given) <= 100:
            return int(time_us), int(epoch), lane, int(seq)
        case _:
            raise ValueError("the cursor is not one that this API gave")


def cursor_of(key: Key) -> str:
    """A cursor that goes on after a key."""
    return ".".join(map(str, key))


def page(
    pieces: Iterable[Piece], window: Window, points: Sequence[str], fixes: Mapping[int, Fix], limit: int
) -> tuple[list[Row], str | None]:
    """The rows of a page, and the cursor for the next one or None."""
    found: list[Found] = []
    next_from: int | None = None
    for opened, piece in enumerate(pieces):
        if len(found) > limit:
            found.sort(key=attrgetter("key"))
            if piece.from_us > found[limit].key[0]:
                break
        if opened >= MAX_PIECES or len(found) >= MAX_SAMPLES:
            next_from = piece.from_us
            break
        for run in piece.open():
            found.extend(_within(run, window, points, fixes))
    found.sort(key=attrgetter("key"))
    if next_from is not None:
        # What lies before the next piece is certain; if nothing does, go on anyway rather than stand still.
        certain = [f for f in found if f.key[0] < next_from]
        found = certain or found
        if len(found) <= limit:
            rows = _rows(found, points, fixes)
            return rows, cursor_of(found[-1].key if found else (next_from, -1, "", -1))
    if len(found) > limit:
        return _rows(found[:limit], points, fixes), cursor_of(found[limit - 1].key)
    return _rows(found, points, fixes), None


def corrected(time_us: int, base_: int, fixes: Mapping[int, Fix]) -> int:
    """A time in UTC as well as it is known now."""
    fix = None if base_ == SYNCED else fixes.get(base_)
    return time_us if fix is None else time_us + fix.offset_us


def clock_word(base_: int, fixes: Mapping[int, Fix]) -> ClockWord:
    """How a time came about."""
    if base_ == SYNCED:
        return "synced"
    return "corrected" if base_ in fixes else "estimated"


def plain(value: Value) -> Value:
    """A value as JSON can say it: what is no number there is written as a text."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _within(run: Run, window: Window, points: Sequence[str], fixes: Mapping[int, Fix]) -> list[Found]:
    columns = run.columns
    wanted = [c for p, c in columns.cells.items() if not points or p in points]
    if points and not wanted:
        return []
    fix = None if columns.clock.synced else fixes.get(columns.clock.boot)
    offset = 0 if fix is None else fix.offset_us
    dense = not points or any(c.present is None for c in wanted)
    found: list[Found] = []
    for index, (time_us, seq) in enumerate(zip(columns.times, run.seqs, strict=True)):
        moment = time_us + offset
        if not window.from_us <= moment < window.to_us:
            continue
        key = (moment, run.epoch, run.lane, seq)
        if window.after is not None and key <= window.after:
            continue
        if dense or any(c.present is not None and c.present[index] for c in wanted):
            found.append(Found(key, run, index))
    return found


def _rows(found: Sequence[Found], points: Sequence[str], fixes: Mapping[int, Fix]) -> list[Row]:
    expanded: dict[int, tuple[dict[str, list[Value]], dict[str, list[str | None]]]] = {}
    rows: list[Row] = []
    for item in found:
        run, index = item.run, item.index
        if id(run) not in expanded:
            cells = {p: c for p, c in run.columns.cells.items() if not points or p in points}
            n = run.columns.n
            expanded[id(run)] = (
                {p: c.values(n) for p, c in cells.items()},
                {p: c.qualities(n) for p, c in cells.items() if c.quality},
            )
        values, qualities = expanded[id(run)]
        moment, epoch, lane, seq = item.key
        rows.append(
            Row(
                id=f"{run.node}/{epoch}/{lane}/{seq}",
                time=text(moment),
                time_us=moment,
                clock=clock_word(base(run.columns.clock), fixes),
                values={p: plain(v[index]) for p, v in values.items() if v[index] is not ABSENT},
                quality={p: q for p, row in qualities.items() if (q := row[index]) is not None},
            )
        )
    return rows
