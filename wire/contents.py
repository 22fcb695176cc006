"""Contents: what a row or a batch holds, every entry in its place, and nothing expanded that nobody asks for.

Places are offsets from the first seq. Samples of one device come from many rows once these are joined, and each keeps
the seq that it was given when its row was sealed. What that costs on the wire is one small number a sample, mostly the
same steps again and again:

    in rows   (what the node writes) the number of the row among those joined. Entries that are not columns name their
              places; the samples fill the others in the order of row, device and clock
    seated    (what the cloud keeps of one device) the place itself
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import attrgetter, itemgetter
from typing import Any, Final, overload

import msgspec

from wire import table, vector
from wire.columns import Columns, merge
from wire.entries import Entry, Gap
from wire.errors import Malformed
from wire.sample import Clock, Sample
from wire.table import Table
from wire.vector import SAME

FIRST_ROW: Final = [SAME, 0]


class Placed(msgspec.Struct, frozen=True, gc=False):
    """An entry and its places, as offsets from the first seq of the row or batch that it stands in.

    Columns take one place a sample, a Gap a run of them, all else one.
    """

    places: Sequence[int]
    entry: Entry


class Contents(Sequence[Placed]):
    """`tables` hold the columns, `others` all else. As a sequence it is first the columns of each device, then the
    others, cut out and placed when they are first asked for."""

    __slots__ = ("_placed", "others", "seated", "tables")

    _placed: list[Placed] | None

    def __init__(self, tables: Sequence[Table], others: Sequence[Placed], *, seated: bool) -> None:
        self.tables, self.others, self.seated = tables, others, seated
        self._placed = None

    @classmethod
    def of(cls, entries: Sequence[Entry | Sample]) -> Contents:
        """The contents of one row: first what is neither columns nor samples, as given, then the samples by device.

        Raises:
            Malformed: a value cannot be kept exactly (see `wire.sample.why_unstorable`).
        """
        others: list[Placed] = []
        runs: dict[_Run, list[Columns]] = {}
        loose: list[Sample] = []
        at = 0
        for entry in entries:
            if isinstance(entry, Sample):
                loose.append(entry)
            elif isinstance(entry, Columns):
                runs.setdefault((entry.device, entry.clock), []).append(entry)
            else:
                width = entry.seqs if isinstance(entry, Gap) else 1
                others.append(Placed(range(at, at + width), entry))
                at += width
        alike = _alike(loose, runs)
        shapes: dict[_Shape, list[Columns]] = {}
        for columns in map(merge, (runs[key] for key in sorted(runs, key=lambda key: key[0]))):
            shapes.setdefault((columns.clock, tuple(columns.cells)), []).append(columns)
        for shape in alike.keys() & shapes.keys():
            shapes[shape] = sorted([*shapes[shape], *_columns_of(alike.pop(shape))], key=lambda c: c.device)
        tables = {s: Table.of(found, [0] * sum(c.n for c in found)) for s, found in shapes.items()}
        tables |= {s: Table.of_samples(found) for s, found in alike.items()}
        return cls([tables[s] for s in sorted(tables, key=_by)], others, seated=False)

    @classmethod
    def placed(cls, items: Sequence[Placed]) -> Contents:
        """Entries that each name their places.

        Raises:
            Malformed: a value cannot be kept exactly (see `wire.sample.why_unstorable`).
        """
        if isinstance(items, Contents):
            return items
        shapes: dict[_Shape, list[tuple[Sequence[int], Columns]]] = {}
        others: list[Placed] = []
        for item in items:
            if isinstance(item.entry, Columns):
                shape = (item.entry.clock, tuple(item.entry.cells))
                shapes.setdefault(shape, []).append((item.places, item.entry))
            else:
                others.append(item)
        tables = [
            Table.of([columns for _, columns in found], [p for places, _ in found for p in places])
            for found in shapes.values()
        ]
        return cls(tables, others, seated=True)

    @property
    def samples(self) -> int:
        """How many samples."""
        return sum(t.n for t in self.tables)

    @property
    def width(self) -> int:
        """How many places they take."""
        return self.samples + sum(len(o.places) for o in self.others)

    @property
    def readings(self) -> int:
        """How many readings."""
        return sum(t.readings for t in self.tables)

    def __len__(self) -> int:
        return sum(len(t.devices) for t in self.tables) + len(self.others)

    @overload
    def __getitem__(self, index: int) -> Placed: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Placed]: ...
    def __getitem__(self, index: int | slice) -> Placed | Sequence[Placed]:
        return self._all()[index]

    def __iter__(self) -> Iterator[Placed]:
        return iter(self._all())

    def _all(self) -> list[Placed]:
        if self._placed is None:
            seats = _Seats(self.tables, None if self.seated else _taken(self.others))
            self._placed = [
                *(Placed(_Span(seats, i, start, columns.n), columns)
                  for i, t in enumerate(self.tables)
                  for start, columns in zip(t.runs.starts, t.columns(), strict=True)),
                *self.others,
            ]  # fmt: skip
        return self._placed

    def check_sealed(self) -> None:
        """Pass if this is what one commit has sealed.

        Raises:
            Malformed: it is not.
        """
        if self.tables and (self.seated or any(t.order != FIRST_ROW for t in self.tables)):
            raise Malformed("a row whose samples are not those of one commit")

    def fills(self, width: int) -> None:
        """Pass if the places fill 0 … width - 1 without a hole and without a double.

        Raises:
            Malformed: they do not.
        """
        if not width or self.width != width:
            raise Malformed(f"the entries do not fill the {width} places of the batch: they take {self.width}")
        # Of runs only the ends are looked at, for gaps are wide.
        spans = [(o.places[0], o.places[-1] + 1) for o in self.others]
        singles: list[int] = []
        if self.seated:
            for t in self.tables:
                for places in _seats_of(t):
                    if isinstance(places, range) and places.step == 1:
                        spans.append((places.start, places.stop))
                    else:
                        singles.extend(places)
        spans.sort()
        singles.sort()
        at = used = 0
        for start, stop in [*spans, (width, width)]:
            if start < at or stop > width:
                raise Malformed(f"place {start} is taken twice, or lies beyond the {width} of the batch")
            if self.seated:
                hole = start - at
                if len(singles) - used < hole or singles[used : used + hole] != list(range(at, start)):
                    raise Malformed(f"between place {at} and {start} one is empty or taken twice")
                used += hole
            at = stop


_Shape = tuple[Clock, tuple[str, ...]]
_Run = tuple[str, Clock]


def _alike(samples: Sequence[Sample], runs: dict[_Run, list[Columns]]) -> dict[_Shape, list[Sample]]:
    """Samples by their shape, and by device in each. What cannot stand in one table only goes into `runs`."""
    shapes: dict[_Shape, list[Sample]] = {}
    for sample in sorted(samples, key=attrgetter("device")):
        shapes.setdefault((sample.clock, tuple(sample.values)), []).append(sample)
    seen = set(runs)
    mixed: set[_Run] = set()
    for (clock, _), found in shapes.items():
        devices = {(s.device, clock) for s in found}
        mixed |= devices & seen
        seen |= devices
    if mixed:  # a device that does not say the same points each time
        apart: dict[_Run, list[Sample]] = {}
        for sample in samples:
            if (sample.device, sample.clock) in mixed:
                apart.setdefault((sample.device, sample.clock), []).append(sample)
        for run, found in apart.items():
            runs.setdefault(run, []).append(Columns.of(found))
        shapes = {k: [s for s in found if (s.device, s.clock) not in mixed] for k, found in shapes.items()}
    return {k: found for k, found in shapes.items() if found}


def _columns_of(samples: Sequence[Sample]) -> Iterator[Columns]:
    for _, found in groupby(samples, attrgetter("device")):
        yield Columns.of(list(found))


def _by(shape: _Shape) -> tuple[Any, ...]:
    """Tables stand in the same order in every batch: that is what chained bodies compress by."""
    clock, points = shape
    return (clock.boot, clock.synced, points)


def join(rows: Sequence[tuple[int, Contents]]) -> Contents:
    """The contents of several rows as one batch has them. Each comes with the offset of its first seq.

    Raises:
        Malformed: a row is not one that a node has sealed: its samples would change their places.
    """
    if len(rows) == 1 and rows[0][0] == 0:
        return rows[0][1]
    others: list[Placed] = []
    parts: dict[_Shape, list[tuple[int, Table]]] = {}
    of_device: dict[_Run, dict[tuple[str, ...], None]] = {}  # the shapes in which each device comes
    for label, (offset, contents) in enumerate(rows):
        contents.check_sealed()
        for t in contents.tables:
            parts.setdefault((t.clock, t.points), []).append((label, t))
        for item in contents.others:
            first = item.places[0] + offset
            others.append(Placed(range(first, first + len(item.places)), item.entry))
    for (clock, points), found in parts.items():
        for device in set[str]().union(*(t.devices for _, t in found)):
            of_device.setdefault((device, clock), {})[points] = None
    devices: dict[_Shape, set[str]] = {}
    joined: dict[_Shape, set[tuple[str, ...]]] = {}
    for (device, clock), found in of_device.items():
        shape = (clock, _union(found))
        devices.setdefault(shape, set()).add(device)
        joined.setdefault(shape, set()).update(found)
    tables: list[Table] = []
    for shape in sorted(devices, key=_by):
        clock, points = shape
        of_shape = chain.from_iterable(parts[clock, found] for found in joined[shape])
        tables.append(table.join(sorted(of_shape, key=itemgetter(0)), devices[shape], points))
    return Contents(tables, others, seated=False)


def _union(shapes: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """All points that any of the shapes has, always in the same order."""
    shapes = list(shapes)
    longest = max(shapes, key=len)
    if len(shapes) == 1:
        return longest
    every = set(chain.from_iterable(shapes))
    return longest if len(every) == len(longest) else tuple(sorted(every))


def _seats_of(t: Table) -> Iterator[Sequence[int]]:
    places = vector.unpack_ints(t.order, t.runs)
    if len(t.devices) == 1:
        yield places
        return
    for start, count in zip(t.runs.starts, t.runs.counts, strict=True):
        yield places[start : start + count]


def _taken(others: Iterable[Placed]) -> list[tuple[int, int]]:
    """The runs of places that are not samples', in order."""
    return sorted((o.places[0], o.places[-1] + 1) for o in others)


class _Seats:
    """The places of all samples, found when one is asked for.

    It knows the tables and nothing of the contents that it belongs to: `Placed` leads here, and the collector does not
    see `Placed`. What led back from here would never be freed.
    """

    __slots__ = ("_found", "_tables", "_taken")

    _found: list[Sequence[int]] | None

    def __init__(self, tables: Sequence[Table], taken: Sequence[tuple[int, int]] | None) -> None:
        """`taken` are the places that are not samples'; None where each table names those of its samples."""
        self._tables, self._taken = tables, taken
        self._found = None

    def of(self, i: int) -> Sequence[int]:
        """Those of the i-th table, in its order."""
        if self._found is None:
            if self._taken is None:
                self._found = [vector.unpack_ints(t.order, t.runs) for t in self._tables]
            else:
                self._found = _in_rows(self._tables, self._taken)
        return self._found[i]


def _in_rows(tables: Sequence[Table], taken: Sequence[tuple[int, int]]) -> list[Sequence[int]]:
    """Samples take the places that are left, by row, device and clock."""
    order: list[tuple[str, int, bool, int, int]] = []
    for i, t in enumerate(tables):
        order += [(device, t.clock.boot, t.clock.synced, i, k) for k, device in enumerate(t.devices)]
    flat: list[tuple[int, int]] = []  # table, sample: in the order of everything but rows
    for *_, i, k in sorted(order):
        start = tables[i].runs.starts[k]
        flat += [(i, at) for at in range(start, start + tables[i].runs.counts[k])]
    rows = [vector.unpack_ints(t.order, t.runs) for t in tables]
    flat.sort(key=lambda s: rows[s[0]][s[1]])  # stable
    found = [[0] * t.n for t in tables]
    end = len(flat) + sum(stop - start for start, stop in taken)
    left = chain.from_iterable(
        range(a, b) for a, b in zip([0, *(s for _, s in taken)], [*(s for s, _ in taken), end], strict=True)
    )
    for (i, at), place in zip(flat, left, strict=False):
        found[i][at] = place
    return list(found)


class _Span(Sequence[int]):
    """The row indices at which one device's samples stand."""

    __slots__ = ("_i", "_n", "_seats", "_start")

    def __init__(self, seats: _Seats, i: int, start: int, n: int) -> None:
        self._seats, self._i, self._start, self._n = seats, i, start, n

    def _all(self) -> Sequence[int]:
        return self._seats.of(self._i)[self._start : self._start + self._n]

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        return self._all()[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self._all())
