"""Table: samples of devices that have the same points and the same clock, point by point, device after device.

It is the form in which samples are sealed, sent and stored. A street has few models and many devices of each, so a
body holds few tables with long columns, and costs what its values cost. A table is never expanded as a whole: of it
are cut the columns of one device, when somebody asks for them.

`order` says where each sample belongs among all of its row or batch: see `wire.contents`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, cast

from wire import vector
from wire.columns import ABSENT, PRESENT, Cell, Columns, Quality, cut_runs, runs_of
from wire.rejoin import flat, rejoin
from wire.sample import Clock, Sample
from wire.time import Utc
from wire.vector import Runs, Vector, one_run

Pick = Callable[[Sequence[Any]], Sequence[Any]]


class Table:
    """`runs` says how many samples each of `devices` has; a cell's vector has these runs too, or, where samples left
    the point out, is one run of what is there. `times` are UTC microseconds. `order` is a vector of these runs.
    """

    __slots__ = (
        "_ready",
        "_spans",
        "cells",
        "clock",
        "dense",
        "devices",
        "order",
        "plain",
        "points",
        "runs",
        "ticks",
        "unit_us",
    )

    _spans: list[tuple[Utc, Utc]] | None
    _ready: dict[str, tuple[Vector, Sequence[int]]]  # a point's vector, and its values before each device

    def __init__(
        self,
        clock: Clock,
        devices: Sequence[str],
        runs: Runs,
        order: Vector,
        unit_us: int,
        ticks: Vector,
        cells: Mapping[str, Cell],
    ) -> None:
        """`ticks` are the times in units of `unit_us`."""
        self.clock, self.devices, self.runs, self.order = clock, devices, runs, order
        self.unit_us, self.ticks, self.cells = unit_us, ticks, cells
        self.points = tuple(cells)
        odd = [c for c in cells.values() if c.present is not None or c.quality]
        self.plain = not odd  # every sample has every point, and all are good
        self.dense = not odd or all(c.present is None for c in odd)  # every sample has every point
        self._spans = None
        self._ready = {}

    @property
    def n(self) -> int:
        """How many samples."""
        return self.runs.n

    @property
    def times(self) -> Sequence[Utc]:
        """The times of all samples, device after device; unpacked anew each time they are asked for."""
        ticks = vector.unpack_ints(self.ticks, self.runs)
        return cast("Sequence[Utc]", ticks if self.unit_us == 1 else [t * self.unit_us for t in ticks])

    @property
    def spans(self) -> Sequence[tuple[Utc, Utc]]:
        """Of each device the least and the greatest time."""
        if self._spans is None:
            unit_us = self.unit_us
            spans = [(low * unit_us, high * unit_us) for low, high in vector.spans(self.ticks, self.runs)]
            self._spans = cast("list[tuple[Utc, Utc]]", spans)
        return self._spans

    @property
    def span(self) -> tuple[Utc, Utc]:
        """The least and the greatest time of all."""
        return min(low for low, _ in self.spans), max(high for _, high in self.spans)

    @property
    def readings(self) -> int:
        """How many readings: one for each point of each sample that has it."""
        if self.dense:
            return self.runs.n * len(self.cells)
        return sum(self.n if c.present is None else c.present.count(PRESENT) for c in self.cells.values())

    @classmethod
    def of(cls, columns: Sequence[Columns], order: Sequence[int]) -> Table:
        """Columns of one or more devices with the same points and clock, packed; `order` is one a sample.

        Raises:
            Malformed: a value cannot be kept exactly (see `wire.sample.why_unstorable`).
        """
        first, runs = columns[0], Runs([c.n for c in columns])
        cells = {point: _cell_of([c.cells[point] for c in columns], runs) for point in first.cells}
        times = list(chain.from_iterable(c.times for c in columns))
        unit_us, ticks = _ticks(times, runs)
        return cls(first.clock, [c.device for c in columns], runs, vector.pack_ints(order, runs), unit_us, ticks, cells)

    @classmethod
    def of_samples(cls, samples: Sequence[Sample]) -> Table:
        """Samples of one commit with the same points and clock, those of a device one after the other.

        Raises:
            Malformed: a value cannot be kept exactly (see `wire.sample.why_unstorable`).
        """
        counts = Counter(s.device for s in samples)  # keeps their order
        runs = Runs(list(counts.values()))
        values = zip(*(s.values.values() for s in samples), strict=True)
        marked = any(s.quality for s in samples)
        cells = {
            point: Cell(vector.pack(column, runs), None, _marks(samples, point) if marked else ())
            for point, column in zip(samples[0].values, values, strict=True)
        }
        unit_us, ticks = _ticks([s.time_us for s in samples], runs)
        return cls(samples[0].clock, list(counts), runs, [vector.SAME, 0], unit_us, ticks, cells)

    def columns(self) -> Iterator[Columns]:
        """The columns of each device, each cell cut out when it is asked for."""
        times = self.times
        for i, (device, start, count) in enumerate(zip(self.devices, self.runs.starts, self.runs.counts, strict=True)):
            yield Columns(device, self.clock, times[start : start + count], _Cut(self, i))

    def device(self, i: int) -> Columns:
        """The columns of the i-th device alone."""
        ticks = vector.unpack_ints(vector.run_of(self.ticks, self.runs, i), one_run(self.runs.counts[i]))
        times = ticks if self.unit_us == 1 else [t * self.unit_us for t in ticks]
        return Columns(self.devices[i], self.clock, cast("Sequence[Utc]", times), _Cut(self, i))

    def cell(self, point: str, i: int) -> Cell:
        """One point of the i-th device."""
        whole = self.cells[point]
        if len(self.devices) == 1:
            return whole
        start = self.runs.starts[i]
        stop = start + self.runs.counts[i]
        quality = cut_runs(whole.quality, start, stop)
        packed, before = self._ready.get(point) or self._make_ready(point)
        if whole.present is None:
            return Cell(vector.run_of(packed, self.runs, i), None, quality)
        return Cell(vector.cut(packed, before[i], before[i + 1]), whole.present[start:stop], quality)

    def _make_ready(self, point: str) -> tuple[Vector, Sequence[int]]:
        """Once for all devices what would else be found again for each: else their cost would grow as a square."""
        whole, runs = self.cells[point], self.runs
        shape, before = runs, [0]
        if whole.present is not None:
            for start, count in zip(runs.starts, runs.counts, strict=True):
                before.append(before[-1] + whole.present.count(PRESENT, start, start + count))
            shape = one_run(before[-1])
        self._ready[point] = (vector.ready(whole.vector, shape), before)
        return self._ready[point]


class _Cut(Mapping[str, Cell]):
    """The cells of one device of a table."""

    __slots__ = ("_i", "_table")

    def __init__(self, table: Table, i: int) -> None:
        self._table, self._i = table, i

    def __getitem__(self, point: str) -> Cell:
        return self._table.cell(point, self._i)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.cells)

    def __len__(self) -> int:
        return len(self._table.cells)


def join(parts: Sequence[tuple[int, Table]], devices: Collection[str], points: tuple[str, ...]) -> Table:
    """The samples of these devices out of several tables with the same clock, as one table with these points.

    Each part comes with its place among the rows that are joined, which becomes the order of its samples. The devices
    stand by name, the samples of each in the order of the parts.
    """
    tables = [table for _, table in parts]
    shapes = [t.runs for t in tables]
    labels = list(chain.from_iterable(repeat(label, t.runs.n) for label, t in parts))
    places: dict[str, list[int]] = {}
    for place, device in enumerate(chain.from_iterable(map(_device_of_each, tables))):
        places.setdefault(device, []).append(place)
    found = [places[d] for d in sorted(devices)]
    wanted = list(chain.from_iterable(found))
    runs = Runs(list(map(len, found)))
    pick: Pick = itemgetter(*wanted) if len(wanted) > 1 else lambda flat: [flat[i] for i in wanted]
    if all(t.plain and t.points == points for t in tables):
        columns = zip(*([c.vector for c in t.cells.values()] for t in tables), strict=True)
        cells = {p: Cell(rejoin(c, shapes, pick, runs)) for p, c in zip(points, columns, strict=True)}
    else:
        cells = {point: _joined([(t.cells.get(point), t.runs) for t in tables], pick, runs) for point in points}
    units = {t.unit_us for t in tables}
    if len(units) == 1 and len(wanted) == len(labels):  # each has the coarsest unit that its times allow, so all have
        (unit_us,), ticks = units, vector.pack_ints(pick(flat((t.ticks for t in tables), shapes)), runs)
    else:
        unit_us, ticks = _ticks(pick(list(chain.from_iterable(t.times for t in tables))), runs)
    order = vector.pack_ints(pick(labels), runs)
    return Table(tables[0].clock, sorted(devices), runs, order, unit_us, ticks, cells)


def _device_of_each(table: Table) -> Iterable[str]:
    """The device of each sample."""
    if table.runs.n == len(table.devices):
        return table.devices
    return chain.from_iterable(map(repeat, table.devices, table.runs.counts))


def _marks(samples: Sequence[Sample], point: str) -> Quality:
    return runs_of([s.quality.get(point) for s in samples])


def _ticks(times: Sequence[int], runs: Runs) -> tuple[int, Vector]:
    unit_us = next((u for u in (1_000_000, 1_000) if not any(t % u for t in times)), 1)
    return unit_us, vector.pack_ints(times if unit_us == 1 else [t // unit_us for t in times], runs)


def _cell_of(cells: Sequence[Cell], runs: Runs) -> Cell:
    """The cells of several devices as one."""
    quality: list[tuple[int, int, str]] = []
    for cell, start in zip(cells, runs.starts, strict=True):
        quality += [(start + first, count, text) for first, count, text in cell.quality]
    if all(c.present is None for c in cells):
        values = list(chain.from_iterable(c.values(n) for c, n in zip(cells, runs.counts, strict=True)))
        return Cell(vector.pack(values, runs), None, tuple(quality))
    there = [b"\x01" * n if c.present is None else c.present for c, n in zip(cells, runs.counts, strict=True)]
    values = [v for c, n in zip(cells, runs.counts, strict=True) for v in c.values(n) if v is not ABSENT]
    return Cell(vector.pack(values), b"".join(there), tuple(quality))


def _joined(parts: Sequence[tuple[Cell | None, Runs]], pick: Pick, runs: Runs) -> Cell:
    """One point of several tables; None where a table does not have it."""
    quality = ()
    if any(cell is not None and cell.quality for cell, _ in parts):
        flat = [cell.qualities(r.n) if cell is not None else [None] * r.n for cell, r in parts]
        quality = runs_of(pick(list(chain.from_iterable(flat))))
    dense = [cell.vector for cell, _ in parts if cell is not None and cell.present is None]
    if len(dense) == len(parts):
        return Cell(rejoin(dense, [r for _, r in parts], pick, runs), None, quality)
    values: list[Any] = []
    for cell, r in parts:
        if cell is None:
            values += [ABSENT] * r.n
        else:
            values += vector.unpack(cell.vector, r) if cell.present is None else cell.values(r.n)
    picked = pick(values)
    there = [v for v in picked if v is not ABSENT]
    if len(there) == runs.n:
        return Cell(vector.pack(there, runs), None, quality)
    return Cell(vector.pack(there), bytes(v is not ABSENT for v in picked), quality)
