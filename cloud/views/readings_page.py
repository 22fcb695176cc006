"""A page of readings: samples of one device put together from pieces, in the order of their corrected times.

A piece is anything that holds columns of the device: a batch in the log, a compacted chunk. Pieces come in the
order of their earliest time and may overlap. Only as many are opened as the page needs, and at most MAX_PIECES or
MAX_SAMPLES; then the page ends early and its cursor goes on from there. So it does at MAX_READINGS, or PAGE_BYTES
of texts and names. Of a piece only the samples that are shown are expanded, BLOCK of them at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Final

import msgspec

from cloud.log.batch_facts import SYNCED, base
from cloud.times import text
from cloud.views.answers import ClockWord, Row
from cloud.views.contract import Fix
from wire.columns import ABSENT, Columns
from wire.sample import Value
from wire.time import Micros, Utc

MAX_PIECES: Final = 400
MAX_SAMPLES: Final = 200_000
MAX_READINGS: Final = 200_000
PAGE_BYTES: Final = 16 << 20
BLOCK: Final = 256

Key = tuple[Utc, int, str, int]  # corrected time, epoch, lane, seq


class SampleRun(msgspec.Struct, frozen=True):
    """Columns of the device with the seqs of their samples."""

    node: str
    epoch: int
    lane: str
    seqs: Sequence[int]
    columns: Columns


class Piece(msgspec.Struct, frozen=True):
    """Something that can be opened, and the corrected times between which it lies."""

    from_us: Utc
    to_us: Utc
    open: Callable[[], Iterable[SampleRun]]


class FoundSample(msgspec.Struct, frozen=True):
    """One sample, not yet expanded into values."""

    key: Key
    run: SampleRun
    index: int


class PageWindow(msgspec.Struct, frozen=True):
    """from_us ≤ time < to_us, and after a key."""

    from_us: Utc
    to_us: Utc
    after: Key | None


def parse_cursor(given: str) -> Key:
    """The key that `cursor_of` has written.

    Raises:
        ValueError: it has not.
    """
    match given.split("."):
        case [time_us, epoch, lane, seq] if len(given) <= 100:
            return Utc(time_us), int(epoch), lane, int(seq)
        case _:
            raise ValueError("the cursor is not one that this API gave")


def cursor_of(key: Key) -> str:
    """A cursor that goes on after a key."""
    return ".".join(map(str, key))


def page(
    pieces: Iterable[Piece], window: PageWindow, points: Sequence[str], fixes: Mapping[int, Fix], limit: int
) -> tuple[list[Row], str | None]:
    """The rows of a page, and the cursor for the next one or None."""
    found: list[FoundSample] = []
    count = 0
    next_from: int | None = None
    for opened, piece in enumerate(pieces):
        if len(found) > limit:
            found.sort(key=attrgetter("key"))
            if piece.from_us > found[limit].key[0]:
                break
        if opened >= MAX_PIECES or count >= MAX_SAMPLES:
            next_from = piece.from_us
            break
        for run in piece.open():
            for item in _within(run, window, points, fixes):
                found.append(item)
                count += 1
                if len(found) > 2 * limit + BLOCK:  # no more are shown than the least
                    found.sort(key=attrgetter("key"))
                    del found[limit + 1 :]
    found.sort(key=attrgetter("key"))
    if next_from is not None:
        # What lies before the next piece is certain; if nothing does, go on anyway rather than stand still.
        found = [f for f in found if f.key[0] < next_from] or found
        if not found:
            return [], cursor_of((next_from, -1, "", -1))
    shown = _affordable(found[:limit], points)
    rows = _rows(shown, points, fixes)
    more = len(rows) < len(found) or next_from is not None
    return rows, cursor_of(shown[len(rows) - 1].key) if more else None


def _affordable(found: Sequence[FoundSample], points: Sequence[str]) -> Sequence[FoundSample]:
    """As many as have MAX_READINGS, at least one."""
    readings = 0
    for i, item in enumerate(found):
        readings += len(points) or len(item.run.columns.cells)
        if i and readings > MAX_READINGS:
            return found[:i]
    return found


def corrected(time_us: Utc, base_: int, fixes: Mapping[int, Fix]) -> Utc:
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


def _within(
    run: SampleRun, window: PageWindow, points: Sequence[str], fixes: Mapping[int, Fix]
) -> Iterator[FoundSample]:
    columns = run.columns
    wanted = [c for p, c in columns.cells.items() if not points or p in points]
    if points and not wanted:
        return
    fix = None if columns.clock.synced else fixes.get(columns.clock.boot)
    offset = Micros(0) if fix is None else fix.offset_us
    dense = not points or any(c.present is None for c in wanted)
    for index, (time_us, seq) in enumerate(zip(columns.times, run.seqs, strict=True)):
        moment = time_us + offset
        if not window.from_us <= moment < window.to_us:
            continue
        key = (moment, run.epoch, run.lane, seq)
        if window.after is not None and key <= window.after:
            continue
        if dense or any(c.present is not None and c.present[index] for c in wanted):
            yield FoundSample(key, run, index)


def _rows(found: Sequence[FoundSample], points: Sequence[str], fixes: Mapping[int, Fix]) -> list[Row]:
    """The rows of as many as have PAGE_BYTES, at least one."""
    blocks: dict[tuple[int, int], list[int]] = {}
    for place, item in enumerate(found):
        blocks.setdefault((id(item.run), item.index // BLOCK), []).append(place)
    rows: dict[int, Row] = {}
    for places in blocks.values():
        _expand(found, places, points, fixes, rows)
    size = 0
    for place in range(len(found)):
        row = rows[place]
        size += sum(len(p) + (len(v) if isinstance(v, str) else 8) for p, v in row.values.items())
        size += sum(len(p) + len(q) for p, q in row.quality.items())
        if place and size > PAGE_BYTES:
            return [rows[i] for i in range(place)]
    return [rows[i] for i in range(len(found))]


def _expand(
    found: Sequence[FoundSample],
    places: Sequence[int],
    points: Sequence[str],
    fixes: Mapping[int, Fix],
    rows: dict[int, Row],
) -> None:
    """Make the rows at some places, whose samples lie in one block of one run."""
    run = found[places[0]].run
    start = found[places[0]].index // BLOCK * BLOCK
    columns = run.columns
    wanted = {p: c for p, c in columns.cells.items() if not points or p in points}
    block = Columns(columns.device, columns.clock, columns.times, wanted).cut(start, start + BLOCK)
    values = {p: c.values(block.n) for p, c in block.cells.items()}
    qualities = {p: c.qualities(block.n) for p, c in block.cells.items() if c.quality}
    clock = clock_word(base(columns.clock), fixes)
    for place in places:
        moment, epoch, lane, seq = found[place].key
        index = found[place].index - start
        rows[place] = Row(
            id=f"{run.node}/{epoch}/{lane}/{seq}",
            time=text(moment),
            time_us=moment,
            clock=clock,
            values={p: plain(v[index]) for p, v in values.items() if v[index] is not ABSENT},
            quality={p: q for p, row in qualities.items() if (q := row[index]) is not None},
        )
