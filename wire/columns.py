"""Columns: a run of samples of one device, held point by point. It is what is kept, sent and stored.

A cell (one point's column) is a vector of the values that were read, plus, only where needed, one byte a sample
saying which samples left the point out, and runs of quality. Nothing here is expanded until someone asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, groupby
from typing import Any, Final

import msgspec

from wire import vector
from wire.sample import Clock, Sample, Value
from wire.vector import Vector

PRESENT: Final = 1


class Absent:
    """The type of ABSENT: what `Cell.values` puts where a sample left the point out."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


class Cell(msgspec.Struct, frozen=True, gc=False):
    """One point over the run. `present` is None where every sample has it, else one byte (0 or 1) a sample.

    `quality` holds runs (first sample, how many, quality) of what was not good, in order.
    """

    vector: Vector
    present: bytes | None = None
    quality: tuple[tuple[int, int, str], ...] = ()

    def values(self, n: int) -> list[Any]:
        """The n values, with ABSENT where the point was left out."""
        if self.present is None:
            return vector.unpack(self.vector, n)
        at = [i for i, there in enumerate(self.present) if there]
        return vector.spread(vector.unpack(self.vector, len(at)), at, n, ABSENT)

    def qualities(self, n: int) -> list[str | None]:
        """The n qualities, None where good."""
        row: list[str | None] = [None] * n
        for first, count, quality in self.quality:
            row[first : first + count] = [quality] * count
        return row


class Columns(msgspec.Struct, frozen=True, gc=False):
    """n samples of one device with one clock. `times` are UTC microseconds, in the order of arrival."""

    device: str
    clock: Clock
    times: Sequence[int]
    cells: Mapping[str, Cell]

    @property
    def n(self) -> int:
        """How many samples."""
        return len(self.times)

    @property
    def readings(self) -> int:
        """How many readings: one for each point of each sample that has it."""
        return sum(self.n if c.present is None else sum(c.present) for c in self.cells.values())

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Columns:
        """Columns of one or more samples that share device and clock.

        Raises:
            Malformed: a value cannot be kept exactly; check with `why_unstorable` before.
        """
        first = samples[0]
        names = tuple(first.values)
        if all(tuple(s.values) == names for s in samples):
            rows = zip(*(s.values.values() for s in samples), strict=True)
            lists = dict(zip(names, rows, strict=True))
            cells = {p: Cell(vector.pack(vs), None, _runs(samples, p)) for p, vs in lists.items()}
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


def merge(runs: Sequence[Columns]) -> Columns:
    """One run of all the samples, in the order given. All share device and clock."""
    if len(runs) == 1:
        return runs[0]
    first, total = runs[0], sum(r.n for r in runs)
    points = dict.fromkeys(chain.from_iterable(r.cells for r in runs))
    cells = {p: _joined([(r.cells.get(p), r.n) for r in runs], total) for p in points}
    return Columns(first.device, first.clock, list(chain.from_iterable(r.times for r in runs)), cells)


def _joined(parts: Sequence[tuple[Cell | None, int]], total: int) -> Cell:
    pieces: list[tuple[Vector, int]] = []
    present = bytearray()
    quality: list[tuple[int, int, str]] = []
    start = 0
    for cell, n in parts:
        if cell is None:
            present += bytes(n)
        else:
            there = cell.present if cell.present is not None else b"\x01" * n
            present += there
            if count := sum(there):
                pieces.append((cell.vector, count))
            for first, length, text in cell.quality:
                if quality and quality[-1][2] == text and sum(quality[-1][:2]) == start + first:
                    quality[-1] = (quality[-1][0], quality[-1][1] + length, text)
                else:
                    quality.append((start + first, length, text))
        start += n
    whole = present.count(PRESENT) == total
    return Cell(vector.concat(pieces), None if whole else bytes(present), tuple(quality))


def _sparse(samples: Sequence[Sample], point: str) -> Cell:
    values = [s.values[point] for s in samples if point in s.values]
    present = bytes(point in s.values for s in samples)
    return Cell(vector.pack(values), None if all(present) else present, _runs(samples, point))


def _runs(samples: Sequence[Sample], point: str) -> tuple[tuple[int, int, str], ...]:
    if not any(s.quality for s in samples):
        return ()
    runs: list[tuple[int, int, str]] = []
    start = 0
    for quality, group in groupby(s.quality.get(point) if point in s.values else None for s in samples):
        count = sum(1 for _ in group)
        if quality is not None:
            runs.append((start, count, quality))
        start += count
    return tuple(runs)
