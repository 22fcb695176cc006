"""Columns: a run of samples of one device, held point by point. It is what drivers' samples become and views read.

A cell (one point's column) is a vector of the values that were read, plus, only where needed, one byte a sample
saying which samples left the point out, and runs of quality. Nothing here is packed or expanded until someone asks:
what was made of samples holds them as they came, what came in a body is cut out of its table (`wire.table`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Final

import msgspec

from wire import vector
from wire.sample import Clock, Sample, Value
from wire.time import Utc
from wire.vector import Vector, one_run

PRESENT: Final = 1
Quality = tuple[tuple[int, int, str], ...]
_first = itemgetter(0)


class Absent:
    """The type of ABSENT: what `Cell.values` puts where a sample left the point out."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


class Cell(msgspec.Struct, frozen=True, gc=False):
    """One point over a run of samples. `present` is None where every sample has it, else one byte (0 or 1) a sample.

    `quality` holds runs (first sample, how many, quality) of what was not good, in order.
    """

    vector: Vector
    present: bytes | None = None
    quality: Quality = ()

    def values(self, n: int) -> list[Any]:
        """The n values, with ABSENT where the point was left out."""
        if self.present is None:
            return vector.unpack(self.vector, one_run(n))
        at = [i for i, there in enumerate(self.present) if there]
        return vector.spread(vector.unpack(self.vector, one_run(len(at))), at, n, ABSENT)

    def value(self, i: int) -> Value:
        """The value of the i-th sample, which has it."""
        return vector.at(self.vector, i if self.present is None else self.present.count(PRESENT, 0, i))

    def qualities(self, n: int) -> list[str | None]:
        """The n qualities, None where good."""
        row: list[str | None] = [None] * n
        for first, count, quality in self.quality:
            row[first : first + count] = [quality] * count
        return row

    def cut(self, start: int, stop: int) -> Cell:
        """The samples from `start` to before `stop`."""
        quality = cut_runs(self.quality, start, stop)
        if self.present is None:
            return Cell(vector.cut(self.vector, start, stop), None, quality)
        present = self.present[start:stop]
        before = self.present.count(PRESENT, 0, start)
        return Cell(vector.cut(self.vector, before, before + present.count(PRESENT)), present, quality)


class Columns(msgspec.Struct, frozen=True, gc=False):
    """n samples of one device with one clock. `times` are UTC microseconds, in the order of arrival."""

    device: str
    clock: Clock
    times: Sequence[Utc]
    cells: Mapping[str, Cell]

    @property
    def n(self) -> int:
        """How many samples."""
        return len(self.times)

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Columns:
        """Columns of one or more samples that share device and clock. What cannot be kept is found when packed."""
        first = samples[0]
        names = tuple(first.values)
        if all(tuple(s.values) == names for s in samples):
            rows = zip(*(s.values.values() for s in samples), strict=True)
            lists = dict(zip(names, rows, strict=True))
            cells = {p: Cell([vector.ANY, vs], None, _runs(samples, p)) for p, vs in lists.items()}
        else:
            points = dict.fromkeys(chain.from_iterable(s.values for s in samples))
            cells = {p: _sparse(samples, p) for p in points}
        return cls(first.device, first.clock, [s.time_us for s in samples], cells)

    def samples(self) -> list[Sample]:
        """The samples again, exactly."""
        values: list[dict[str, Value]] = [{} for _ in self.times]
        quality: list[dict[str, str]] = [{} for _ in self.times]
        for point, cell in self.cells.items():
            for i, value in enumerate(cell.values(self.n)):
                if value is not ABSENT:
                    values[i][point] = value
            for start, count, text in cell.quality:
                for i in range(start, start + count):
                    quality[i][point] = text
        return [Sample(self.device, t, self.clock, values[i], quality[i]) for i, t in enumerate(self.times)]

    def cut(self, start: int, stop: int) -> Columns:
        """The samples from `start` to before `stop`, without expanding what lies around them.

        As everywhere, a point that none of them has is none of theirs.
        """
        if start <= 0 and stop >= self.n:
            return self
        parts = [(point, cell.cut(start, stop)) for point, cell in self.cells.items()]
        cells = {point: part for point, part in parts if part.present is None or PRESENT in part.present}
        return Columns(self.device, self.clock, self.times[start:stop], cells)


def merge(runs: Sequence[Columns]) -> Columns:
    """One run of all the samples, in the order given. All share device and clock."""
    if len(runs) == 1:
        return runs[0]
    first, total = runs[0], sum(r.n for r in runs)
    points = dict.fromkeys(chain.from_iterable(r.cells for r in runs))
    cells = {p: _joined([(r.cells.get(p), r.n) for r in runs], total) for p in points}
    return Columns(first.device, first.clock, list(chain.from_iterable(r.times for r in runs)), cells)


def cut_runs(quality: Quality, start: int, stop: int) -> Quality:
    """What runs of quality say of the samples from `start` to before `stop`."""
    # They are in order: only those that may overlap are looked at, for there may be many.
    low = max(0, bisect_right(quality, start, key=_first) - 1)
    runs = [
        (max(first, start), min(first + count, stop), text)
        for first, count, text in quality[low : bisect_left(quality, stop, key=_first)]
    ]
    return tuple((first - start, end - first, text) for first, end, text in runs if first < end)


def runs_of(qualities: Sequence[str | None]) -> Quality:
    """Qualities one a sample, None where good, as runs."""
    runs: list[tuple[int, int, str]] = []
    start = 0
    for quality, group in groupby(qualities):
        count = sum(1 for _ in group)
        if quality is not None:
            runs.append((start, count, quality))
        start += count
    return tuple(runs)


def _joined(parts: Sequence[tuple[Cell | None, int]], total: int) -> Cell:
    values: list[Value] = []
    present = bytearray()
    quality: list[tuple[int, int, str]] = []
    start = 0
    for cell, n in parts:
        if cell is None:
            present += bytes(n)
        else:
            there = cell.present if cell.present is not None else b"\x01" * n
            present += there
            values += vector.unpack(cell.vector, one_run(there.count(PRESENT)))
            for first, length, text in cell.quality:
                if quality and quality[-1][2] == text and sum(quality[-1][:2]) == start + first:
                    quality[-1] = (quality[-1][0], quality[-1][1] + length, text)
                else:
                    quality.append((start + first, length, text))
        start += n
    whole = present.count(PRESENT) == total
    return Cell([vector.ANY, values], None if whole else bytes(present), tuple(quality))


def _sparse(samples: Sequence[Sample], point: str) -> Cell:
    values = [s.values[point] for s in samples if point in s.values]
    present = bytes(point in s.values for s in samples)
    return Cell([vector.ANY, values], None if all(present) else present, _runs(samples, point))


def _runs(samples: Sequence[Sample], point: str) -> Quality:
    if not any(s.quality for s in samples):
        return ()
    return runs_of([s.quality.get(point) if point in s.values else None for s in samples])
