"""Gather: the readings of many series put together from runs of samples, in order of time, no two of one moment. Pure.

Of several readings of one moment, as a doubled epoch holds them, the last by epoch, lane and seq counts.

Bounds: what is gathered is bounded by the runs that are added; callers ask for a slice of time after another.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain, pairwise
from math import isfinite
from operator import lt
from typing import Any, Final

import msgspec

from cloud.history.partial import BAD, GOOD, UNCERTAIN, Partial, Readings, Terms, fold, number
from cloud.views.answers import grade_of
from wire.columns import ABSENT, Cell, Columns
from wire.time import Micros, Utc

_GRADES: Final = {"good": GOOD, "uncertain": UNCERTAIN, "bad": BAD}
_NUMBERS: Final[frozenset[type]] = frozenset({int, float, bool})
_FLOATS: Final[frozenset[type]] = frozenset({float})

Key = tuple[str, str]  # device, point


class DeviceRun(msgspec.Struct, frozen=True):
    """Samples of one device out of one body; `offset_us` corrects their times. `seqs` are found when they are asked
    for, which is seldom."""

    epoch: int
    lane: str
    seqs: Callable[[], Sequence[int]]
    offset_us: Micros
    columns: Columns


class _Part(msgspec.Struct, frozen=True):
    """The readings of one point out of one run; `places` are those of its samples in it, None for all."""

    times: Sequence[Utc]
    values: Sequence[float]
    grades: bytes | None
    texts: Sequence[str | None] | None
    places: Sequence[int] | None
    run: DeviceRun


class Gathered:
    """Takes runs, and then gives readings."""

    def __init__(self, points: Collection[str] | None) -> None:
        """Only these points; None for all that there are."""
        self._points = points
        self._parts: dict[Key, list[_Part]] = {}
        self.readings = 0

    def add(self, run: DeviceRun) -> None:
        """Take the points of a run that are wanted."""
        columns = run.columns
        times: Sequence[Utc] = columns.times
        if run.offset_us:
            times = [t + run.offset_us for t in times]
        for point in columns.cells if self._points is None else self._points:
            cell = columns.cells.get(point)
            if cell is not None:
                part = _part(run, times, cell)
                self._parts.setdefault((columns.device, point), []).append(part)
                self.readings += len(part.times)

    def take(self) -> Mapping[Key, Readings]:
        """All that was gathered, by device and point."""
        parts, self._parts = self._parts, {}
        return {key: _joined(found) for key, found in parts.items() if any(len(p.times) for p in found)}


def fold_cells(readings: Readings, edges: Sequence[int], terms: Terms, from_us: Utc) -> tuple[list[int], list[Partial]]:
    """The cells in which something was read, and their partials. What lies outside all of them, or before `from_us`, is
    left out."""
    cells: list[int] = []
    partials: list[Partial] = []
    times = readings.times
    at, end = bisect_left(times, max(edges[0], from_us)), bisect_left(times, edges[-1])
    while at < end:
        cell = bisect_right(edges, times[at]) - 1
        until = bisect_left(times, edges[cell + 1], at, end)
        cells.append(cell)
        partials.append(fold(readings, at, until, Utc(edges[cell + 1]), terms.hold_us, terms.wraps_at))
        at = until
    return cells, partials


def _part(run: DeviceRun, times: Sequence[Utc], cell: Cell) -> _Part:
    n = len(times)
    values: Sequence[Any] = cell.values(n)
    places = None
    if cell.present is not None:
        places = [i for i, there in enumerate(cell.present) if there]
        times = [times[i] for i in places]
        values = [v for v in values if v is not ABSENT]
    grades = None
    if cell.quality:
        whole = bytearray(n)
        for first, count, quality in cell.quality:
            whole[first : first + count] = bytes([_GRADES[grade_of(quality)]]) * count
        grades = bytes(whole) if places is None else bytes(whole[i] for i in places)
    numbers, grades, texts = _numbers(values, grades)
    return _Part(times, numbers, grades, texts, places, run)


def _numbers(
    values: Sequence[Any], grades: bytes | None
) -> tuple[Sequence[float], bytes | None, Sequence[str | None] | None]:
    kinds: set[type] = set(map(type, values))
    if kinds <= _NUMBERS:
        floats = values if kinds <= _FLOATS else list(map(float, values))
        if all(map(isfinite, floats)):
            return floats, grades, None
    marked = bytearray(len(values)) if grades is None else bytearray(grades)
    numbers: list[float] = []
    for i, value in enumerate(values):
        found = number(value)
        if found is None:
            marked[i] = BAD
        numbers.append(0.0 if found is None else found)
    texts = [v if isinstance(v, str) else None for v in values] if str in kinds else None
    return numbers, bytes(marked), texts


def _joined(parts: Sequence[_Part]) -> Readings:
    parts = sorted((p for p in parts if len(p.times)), key=lambda p: p.times[0])
    rising = all(a.times[-1] < b.times[0] for a, b in pairwise(parts))
    if not rising or not all(map(_rises, parts)):
        return _sorted(parts)
    if len(parts) == 1:
        part = parts[0]
        return Readings(part.times, part.values, part.grades, part.texts)
    grades = texts = None
    if any(p.grades is not None for p in parts):
        grades = b"".join(bytes(len(p.times)) if p.grades is None else p.grades for p in parts)
    if any(p.texts is not None for p in parts):
        texts = list(chain.from_iterable([None] * len(p.times) if p.texts is None else p.texts for p in parts))
    return Readings(
        [*chain.from_iterable(p.times for p in parts)],
        list(chain.from_iterable(p.values for p in parts)),
        grades,
        texts,
    )


def _rises(part: _Part) -> bool:
    times = part.times
    return all(map(lt, times, times[1:]))


def _sorted(parts: Iterable[_Part]) -> Readings:
    found: dict[Utc, tuple[int, str, int, float, int, str | None]] = {}  # by moment
    for part in parts:
        run, seqs = part.run, part.run.seqs()
        for i, time_us in enumerate(part.times):
            seq = seqs[i if part.places is None else part.places[i]]
            known = found.get(time_us)
            if known is None or known[:3] < (run.epoch, run.lane, seq):
                grade = GOOD if part.grades is None else part.grades[i]
                word = None if part.texts is None else part.texts[i]
                found[time_us] = (run.epoch, run.lane, seq, part.values[i], grade, word)
    times = sorted(found)
    rows = [found[t] for t in times]
    texts = [row[5] for row in rows]
    return Readings(
        times,
        [row[3] for row in rows],
        bytes(row[4] for row in rows),
        texts if any(t is not None for t in texts) else None,
    )
