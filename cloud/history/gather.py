"""Gather: the readings of many series put together from bodies, in order of time, no two of one moment. Pure.

A body holds tables of many devices with the same points: each point of a table is unpacked once for all of them, and
handed out reading by reading without a step of Python for each. Of several readings of one moment, as a doubled epoch
holds them, the last by epoch, lane and seq counts.

Bounds: what is gathered is bounded by the bodies that are added; callers ask for a stretch of time after another. How
tables are handed out is kept for SHAPES of them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import isfinite
from operator import lt
from typing import Any, Final

import msgspec

from cloud.history.partial import BAD, GOOD, UNCERTAIN, Partial, Readings, Terms, fold, number
from cloud.views.answers import grade_of
from wire import vector
from wire.columns import ABSENT, Cell
from wire.table import Table
from wire.time import Micros, Utc

_GRADES: Final = {"good": GOOD, "uncertain": UNCERTAIN, "bad": BAD}
_NUMBERS: Final[frozenset[type]] = frozenset({int, float, bool})
_FLOATS: Final[frozenset[type]] = frozenset({float})

SHAPES: Final = 200
_SAMPLE_BITS: Final = 32  # of a place in a table
_SAMPLES: Final = (1 << _SAMPLE_BITS) - 1

Key = tuple[str, str]  # device, point
_Shape = tuple[tuple[str, ...], tuple[int, ...]]  # the devices of a table, and how many samples each has


class TableRun(msgspec.Struct, frozen=True):
    """A table out of a body; `offset_us` corrects its times. `seqs` gives those of the i-th device's samples, which is
    seldom asked for."""

    epoch: int
    lane: str
    seqs: Callable[[int], Sequence[int]]
    offset_us: Micros
    table: Table


class _Gathering:
    """The readings of one series as they come: of each its moment, value, and where it is from."""

    __slots__ = ("grades", "sources", "texts", "times", "values")

    def __init__(self) -> None:
        self.times: list[Utc] = []
        self.values: list[float] = []
        self.sources: list[int] = []  # the place of its run, and that of its sample in it
        self.grades: dict[int, int] = {}  # by place here, where not good
        self.texts: dict[int, str] = {}


class _Hands(msgspec.Struct, frozen=True):
    """Whom the readings of one point go to, one after the other."""

    gatherings: list[_Gathering]
    times: list[list[Utc]]
    sources: list[list[int]]
    values: list[list[float]]


class Gathered:
    """Takes tables, and then gives readings."""

    def __init__(self, devices: Collection[str] | None = None, points: Collection[str] | None = None) -> None:
        """Only these devices and points; None for all that there are."""
        self._devices, self._points = devices, points
        self._series: dict[Key, _Gathering] = {}
        self._runs: list[TableRun] = []
        self._samples: dict[_Shape, tuple[list[int], list[str]]] = {}
        self._hands: dict[tuple[_Shape, str], _Hands] = {}
        self.readings = 0

    def add(self, run: TableRun) -> None:
        """Take of a table what is wanted."""
        table = run.table
        shape = (tuple(table.devices), tuple(table.runs.counts))
        samples, devices = self._wanted(table, shape)
        if not samples:
            return
        times = table.times
        if run.offset_us:
            times = [t + run.offset_us for t in times]
        source = len(self._runs) << _SAMPLE_BITS
        self._runs.append(run)
        for point in table.cells if self._points is None else self._points:
            cell = table.cells.get(point)
            if cell is None:
                continue
            places, values, grades, texts = _unpacked(table, cell)
            if places is None:
                hands = self._hands.get((shape, point))
                if hands is None:
                    hands = self._hands[shape, point] = self._hands_of(point, devices)
                picked = at = samples
            else:  # a point that some of the samples left out
                there = dict(zip(places, range(len(places)), strict=True))
                kept = [(there[s], d) for s, d in zip(samples, devices, strict=True) if s in there]
                hands = self._hands_of(point, [d for _, d in kept])
                picked = [k for k, _ in kept]
                at = [places[k] for k in picked]
            self.readings += len(at)
            _each(list[Utc].append, hands.times, map(times.__getitem__, at))
            _each(list[int].append, hands.sources, map(source.__or__, at))
            _each(list[float].append, hands.values, map(values.__getitem__, picked))
            if grades is not None or texts is not None:
                self._mark(hands.gatherings, picked, grades, texts)

    def _hands_of(self, point: str, devices: Sequence[str]) -> _Hands:
        found = [self._of(device, point) for device in devices]
        return _Hands(found, [g.times for g in found], [g.sources for g in found], [g.values for g in found])

    def _mark(
        self,
        found: Sequence[_Gathering],
        picked: Sequence[int],
        grades: Sequence[int] | None,
        texts: Sequence[str | None] | None,
    ) -> None:
        left: dict[int, int] = {}  # of a device with several samples the later ones lie behind
        for gathering, i in zip(reversed(found), reversed(picked), strict=True):
            behind = left.get(id(gathering), 0)
            left[id(gathering)] = behind + 1
            at = len(gathering.times) - 1 - behind
            if grades is not None and grades[i] != GOOD:
                gathering.grades[at] = grades[i]
            if texts is not None and (text := texts[i]) is not None:
                gathering.texts[at] = text

    def _of(self, device: str, point: str) -> _Gathering:
        found = self._series.get((device, point))
        if found is None:
            found = self._series[device, point] = _Gathering()
        return found

    def _wanted(self, table: Table, shape: _Shape) -> tuple[list[int], list[str]]:
        """The places of the samples that are wanted, and the device of each."""
        known = self._samples.get(shape)
        if known is None:
            samples: list[int] = []
            devices: list[str] = []
            for device, start, count in zip(table.devices, table.runs.starts, table.runs.counts, strict=True):
                if self._devices is None or device in self._devices:
                    samples += range(start, start + count)
                    devices += [device] * count
            if len(self._samples) > SHAPES:
                self._samples.clear()
                self._hands.clear()
            known = self._samples[shape] = (samples, devices)
        return known

    def take(self) -> Mapping[Key, Readings]:
        """All that was gathered, by device and point."""
        series, self._series = self._series, {}
        self._hands.clear()
        return {key: self._readings(gathering) for key, gathering in series.items()}

    def _readings(self, of: _Gathering) -> Readings:
        times, n = of.times, len(of.times)
        grades = texts = None
        if of.grades:
            marked = bytearray(n)
            for at, grade in of.grades.items():
                marked[at] = grade
            grades = bytes(marked)
        if of.texts:
            texts = [of.texts.get(at) for at in range(n)]
        if all(map(lt, times, times[1:])):
            return Readings(times, of.values, grades, texts)
        newest: dict[Utc, tuple[tuple[int, str, int], int]] = {}
        for at, time_us in enumerate(times):
            run = self._runs[of.sources[at] >> _SAMPLE_BITS]
            key = (run.epoch, run.lane, _seq(run, of.sources[at] & _SAMPLES))
            known = newest.get(time_us)
            if known is None or known[0] < key:
                newest[time_us] = (key, at)
        order = [newest[t][1] for t in sorted(newest)]
        return Readings(
            sorted(newest),
            [of.values[at] for at in order],
            None if grades is None else bytes(grades[at] for at in order),
            None if texts is None else [texts[at] for at in order],
        )


def fold_cells(readings: Readings, edges: Sequence[Utc], terms: Terms, from_us: Utc) -> tuple[list[int], list[Partial]]:
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


def _each(act: Callable[[Any, Any], None], first: Iterable[Any], second: Iterable[Any]) -> None:
    """Do it for each pair, without a step of Python."""
    deque(map(act, first, second), maxlen=0)


def _seq(run: TableRun, sample: int) -> int:
    runs = run.table.runs
    i = bisect_right(runs.starts, sample) - 1
    return run.seqs(i)[sample - runs.starts[i]]


def _unpacked(
    table: Table, cell: Cell
) -> tuple[Sequence[int] | None, Sequence[float], Sequence[int] | None, Sequence[str | None] | None]:
    """The places of the samples that have the point, None for all; their values, and grades and texts if any."""
    n = table.n
    places = None
    if cell.present is None:
        values: list[Any] = list(vector.unpack(cell.vector, table.runs))
    else:
        values = [v for v in cell.values(n) if v is not ABSENT]
        places = [i for i, there in enumerate(cell.present) if there]
    grades = None
    if cell.quality:
        marked = [GOOD] * n
        for first, count, quality in cell.quality:
            marked[first : first + count] = [_GRADES[grade_of(quality)]] * count
        grades = marked if places is None else [marked[i] for i in places]
    kinds: set[type] = set(map(type, values))
    if kinds <= _NUMBERS:
        floats: Sequence[float] = values if kinds <= _FLOATS else list(map(float, values))
        if all(map(isfinite, floats)):
            return places, floats, grades, None
    whole = [GOOD] * len(values) if grades is None else list(grades)
    numbers: list[float] = []
    for i, value in enumerate(values):
        found = number(value)
        if found is None:
            whole[i] = BAD
        numbers.append(0.0 if found is None else found)
    texts = [v if isinstance(v, str) else None for v in values] if str in kinds else None
    return places, numbers, whole, texts
