"""Latest: of each point the value with the greatest measured time. Held in memory, saved by position.

Per point and time base (synchronised, or the boot whose estimate it is) one candidate is kept, so that a clock fix
that comes later can still change which of them is the latest. Taking in columns costs a comparison with those
before, which they mostly replace; they are folded when somebody asks, when MAX_PENDING wait, or when the table is
saved. Folding again what was folded before changes nothing, so a restart loads what was saved and goes over the log
from there.

Bounds: MAX_BASES time bases a device (the oldest are forgotten first), MAX_PENDING runs waiting a device, none longer
than MAX_PENDING_SAMPLES.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from operator import le
from typing import Final

import msgspec

from cloud.answers import PointLatest
from cloud.facts import SYNCED, base
from cloud.readings import clock_word, corrected, plain
from cloud.times import SECOND_US, text
from cloud.views import Fix
from wire.columns import Cell, Columns
from wire.device import Point
from wire.sample import Value
from wire.table import Table

MAX_BASES: Final = 8
MAX_PENDING: Final = 16
MAX_PENDING_SAMPLES: Final = 4_096
BEFORE_THE_LOG: Final = -1  # the position of what a snapshot brought

Candidate = tuple[int, int, Value, str | None]  # time, position, value, quality where not good
Cells = dict[tuple[str, int], Candidate]  # by point and time base


class _Waiting(msgspec.Struct, frozen=True, gc=False):
    """A run that is not folded yet: the `i`-th device of a table, of which nothing is expanded meanwhile."""

    position: int
    low_us: int
    high_us: int
    table: Table
    i: int

    def covers(self, older: _Waiting) -> bool:
        """Say whether nothing of `older` can be the latest beside this one."""
        mine, other = self.table, older.table
        return (
            older.high_us <= self.low_us
            and mine.dense
            and base(mine.clock) == base(other.clock)
            and (mine.points == other.points or mine.cells.keys() >= other.cells.keys())
        )


class DeviceLatest:
    """The candidates of one device."""

    __slots__ = ("_cells", "_pending", "place")

    def __init__(self, saved: bytes | None = None, place: tuple[int, int] | None = None) -> None:
        """`place` is the key that it is saved by, where that is known: the numbers of node and device."""
        self._cells: Cells = {} if saved is None else _load(saved)
        self._pending: list[_Waiting] = []
        self.place = place

    def take(self, position: int, columns: Columns) -> None:
        """Take in columns."""
        self.wait(position, Table.of([columns], range(columns.n)), 0)

    def wait(self, position: int, table: Table, i: int) -> None:
        """Take in the i-th device of a table."""
        pending, newer = self._pending, _Waiting(position, *table.spans[i], table, i)
        while pending and newer.covers(pending[-1]):
            pending.pop()
        pending.append(newer)
        if len(pending) >= MAX_PENDING or table.runs.counts[i] > MAX_PENDING_SAMPLES:
            self.cells()

    def cells(self) -> Cells:
        """The candidates, folded."""
        pending, self._pending = self._pending, []
        for waiting in pending:
            _fold(self._cells, waiting.position, waiting.table.device(waiting.i))
        if pending:
            _forget(self._cells)
        return self._cells

    def copy(self) -> DeviceLatest:
        """As it is now: to be folded in another thread while this one goes on."""
        copied = DeviceLatest(place=self.place)
        copied._cells, copied._pending = dict(self._cells), list(self._pending)
        return copied

    def settle(self, waited: Sequence[_Waiting], folded: DeviceLatest) -> None:
        """Take over what a copy has folded meanwhile, unless something of it was folded or replaced here, too."""
        if waited and self._pending[: len(waited)] == waited:
            self._cells = folded._cells
            del self._pending[: len(waited)]

    @property
    def waiting(self) -> list[_Waiting]:
        """What is not folded yet."""
        return list(self._pending)

    def saved(self) -> bytes:
        """What the constructor takes back."""
        return msgspec.msgpack.encode([[*key, *candidate] for key, candidate in self.cells().items()])


def _load(saved: bytes) -> Cells:
    rows = msgspec.msgpack.decode(saved, type=list[tuple[str, int, int, int, Value, str | None]])
    return {(point, base_): (time, position, value, quality) for point, base_, time, position, value, quality in rows}


def latest_of(
    sources: Iterable[Cells], fixes: Mapping[int, Fix], points: Sequence[Point], now_us: int
) -> dict[str, PointLatest]:
    """The greatest corrected time of each point, over all sources."""
    best: dict[str, tuple[int, int, int, Candidate]] = {}
    for cells in sources:
        for (point, base_), candidate in cells.items():
            moment = corrected(candidate[0], base_, fixes)
            known = best.get(point)
            if known is None or (moment, candidate[1]) > known[:2]:
                best[point] = (moment, candidate[1], base_, candidate)
    described = {p.name: p for p in points}
    answer: dict[str, PointLatest] = {}
    for point in sorted(best):
        moment, _, base_, (_, _, value, quality) = best[point]
        stale_after_s = described[point].stale_after_s if point in described else None
        age_s = (now_us - moment) / SECOND_US
        answer[point] = PointLatest(
            value=plain(value),
            quality=quality or "good",
            unit=described[point].unit if point in described else "",
            time=text(moment),
            time_us=moment,
            clock=clock_word(base_, fixes),
            age_s=round(age_s, 3),
            stale=None if stale_after_s is None else age_s > stale_after_s,
        )
    return answer


def _fold(cells: Cells, position: int, columns: Columns) -> None:
    times = columns.times
    n = len(times)
    ordered = n == 1 or (times.step > 0 if isinstance(times, range) else all(map(le, times, islice(times, 1, None))))
    last = n - 1 if ordered else max(range(n), key=lambda i: (times[i], i))
    base_ = base(columns.clock)
    for point, cell in columns.cells.items():
        at = last if cell.present is None or cell.present[last] else _last_present(cell.present, times, ordered)
        known = cells.get((point, base_))
        if known is None or (times[at], position) >= known[:2]:
            cells[point, base_] = (times[at], position, cell.value(at), _quality(cell, at))


def _last_present(present: bytes, times: Sequence[int], ordered: bool) -> int:
    if ordered:
        return present.rfind(1)
    return max((i for i, there in enumerate(present) if there), key=lambda i: (times[i], i))


def _quality(cell: Cell, at: int) -> str | None:
    return next((q for first, count, q in cell.quality if first <= at < first + count), None)


def _forget(cells: Cells) -> None:
    newest: dict[int, int] = {}
    for (_, base_), (_, position, *_) in cells.items():
        if base_ != SYNCED:
            newest[base_] = max(position, newest.get(base_, position))
    if len(newest) > MAX_BASES:
        gone = set(sorted(newest, key=newest.__getitem__)[: len(newest) - MAX_BASES])
        for key in [k for k in cells if k[1] in gone]:
            del cells[key]
