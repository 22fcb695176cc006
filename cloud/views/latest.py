"""Latest: of each point the value with the greatest measured time. Held in memory, saved by position.

Per point and time base (synchronised, or the boot whose estimate it is) one candidate is kept, so that a clock fix
that comes later can still change which of them is the latest. Taking in columns costs a comparison with those
before, which they mostly replace; they are folded when somebody asks, when MAX_PENDING wait, or when the table is
saved. Folding again what was folded before changes nothing, so a restart loads what was saved and goes over the log
from there.

A synchronised time that is more than AHEAD_US ahead of the aggregator's own clock when it arrives is no measured time:
a clock was wrong. What has one is kept apart, shown only where nothing else is known of its point, marked as `ahead`,
and never wins against anything.

Bounds: MAX_BASES time bases a device (the oldest are forgotten first), MAX_PENDING runs waiting a device, none longer
than MAX_PENDING_SAMPLES.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import le
from typing import Final

import msgspec

from cloud.log.batch_facts import SYNCED, base
from cloud.times import SECOND_US, text
from cloud.views.answers import ClockWord, PointLatest
from cloud.views.contract import Fix
from cloud.views.readings_page import clock_word, corrected, plain
from wire import vector
from wire.columns import Cell, Columns
from wire.device import Point
from wire.sample import Value
from wire.table import Table
from wire.time import Micros, Utc

MAX_BASES: Final = 8
MAX_PENDING: Final = 16
MAX_PENDING_SAMPLES: Final = 4_096
AHEAD_US: Final = Micros(3_300 * SECOND_US)  # less than the hour by which a clock in the wrong zone is off
AHEAD: Final = -2  # the time base of what came with a time to come
EVER: Final = Utc(2**62)
BEFORE_THE_LOG: Final = -1  # the position of what a snapshot brought

Candidate = tuple[Utc, int, Value, str | None]  # time, position, value, quality where not good
Cells = dict[tuple[str, int], Candidate]  # by point and time base


class _Waiting(msgspec.Struct, frozen=True, gc=False, eq=False):
    """A run that is not folded yet: the `i`-th device of a table, of which nothing is expanded meanwhile."""

    position: int
    low_us: Utc
    high_us: Utc
    table: Table
    i: int
    received_us: Utc = EVER  # when it arrived

    def covers(self, older: _Waiting) -> bool:
        """Say whether nothing of `older` can be the latest beside this one."""
        mine, other = self.table, older.table
        return (
            older.high_us <= self.low_us
            and self.high_us - self.received_us <= AHEAD_US
            and mine.dense
            and base(mine.clock) == base(other.clock)
            and (mine.points == other.points or mine.cells.keys() >= other.cells.keys())
        )


class DeviceLatest:
    """The candidates of one device."""

    __slots__ = ("_cells", "_pending", "place")

    def __init__(self, saved: bytes | None = None, place: tuple[int, int] | None = None, now_us: Utc = EVER) -> None:
        """`place` is the key that it is saved by, where that is known: the numbers of node and device. `now_us` is when
        it is loaded: an earlier version let times to come win."""
        self._cells: Cells = {} if saved is None else _load(saved, now_us)
        self._pending: list[_Waiting] = []
        self.place = place

    def take(self, position: int, columns: Columns, received_us: Utc = EVER) -> None:
        """Take in columns that arrived at `received_us`."""
        self.wait(position, Table.of([columns], range(columns.n)), 0, received_us)

    def wait(self, position: int, table: Table, i: int, received_us: Utc = EVER) -> None:
        """Take in the i-th device of a table that arrived at `received_us`."""
        pending, newer = self._pending, _Waiting(position, *table.spans[i], table, i, received_us)
        while pending and newer.covers(pending[-1]):
            pending.pop()
        pending.append(newer)
        if len(pending) >= MAX_PENDING or table.runs.counts[i] > MAX_PENDING_SAMPLES:
            self.cells()

    def cells(self) -> Cells:
        """The candidates, folded."""
        pending, self._pending = self._pending, []
        for waiting in pending:
            _fold(self._cells, waiting.position, waiting.table.device(waiting.i), waiting.received_us)
        if pending:
            _forget(self._cells)
        return self._cells

    @property
    def folding(self) -> Cells:
        """The candidates without what waits, for `fold_all` to add to."""
        return self._cells

    def waits_for(self, waiting: _Waiting) -> bool:
        """Whether this is still to be folded."""
        return waiting in self._pending

    def folded(self, waiting: _Waiting) -> None:
        """One that waited is among the candidates now."""
        self._pending.remove(waiting)

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


def fold_all(devices: Iterable[DeviceLatest]) -> Iterator[int]:
    """Fold what waits of many devices, a table at a time for all that are in it: that costs a twentieth of asking each
    of them. Yields after each table how many of its samples were unpacked; what is not reached is left waiting."""
    waits: dict[int, list[tuple[_Waiting, DeviceLatest]]] = {}
    for device in devices:
        for waiting in device.waiting:
            waits.setdefault(id(waiting.table), []).append((waiting, device))
    for every in sorted(waits.values(), key=lambda f: f[0][0].position):
        found = [
            (waiting, device) for waiting, device in every if device.waits_for(waiting)
        ]  # none has asked meanwhile
        if not found:
            continue
        table, position, received_us = found[0][0].table, found[0][0].position, found[0][0].received_us
        if len(found) == 1 or not table.dense or (table.clock.synced and table.span[1] > received_us + AHEAD_US):
            for _, device in found:
                device.cells()
        else:
            places = [(waiting.i, device.folding) for waiting, device in found]
            _fold_table(table, position, places)
            for waiting, device in found:
                device.folded(waiting)
        yield table.n


def _fold_table(table: Table, position: int, places: Sequence[tuple[int, Cells]]) -> None:
    """The newest sample of each of these devices of a dense table, into their candidates."""
    times, starts, counts, base_ = table.times, table.runs.starts, table.runs.counts, base(table.clock)
    newest: list[tuple[Utc, int, Cells]] = []
    for i, cells in places:
        at = starts[i] + counts[i] - 1
        if counts[i] > 1 and not _ascend(times[starts[i] : at + 1]):
            at = max(range(starts[i], at + 1), key=lambda k: (times[k], k))
        newest.append((times[at], at, cells))
    for point, cell in table.cells.items():
        key, values = (point, base_), vector.unpack(cell.vector, table.runs)
        marks = cell.qualities(table.n) if cell.quality else None
        for time_us, at, cells in newest:
            known = cells.get(key)
            if known is None or (time_us, position) >= known[:2]:
                cells[key] = (time_us, position, values[at], None if marks is None else marks[at])
    if base_ != SYNCED:
        for _, _, cells in newest:
            _forget(cells)


def _load(saved: bytes, now_us: Utc) -> Cells:
    rows = msgspec.msgpack.decode(saved, type=list[tuple[str, int, Utc, int, Value, str | None]])
    cells: Cells = {}
    for point, base_, time_us, position, value, quality in rows:
        if base_ == SYNCED and time_us > now_us + AHEAD_US:
            cells.setdefault((point, AHEAD), (now_us, position, value, quality))
        else:
            cells[point, base_] = (time_us, position, value, quality)
    return cells


def newest_of(sources: Iterable[Cells], fixes: Mapping[int, Fix], now_us: Utc) -> dict[str, tuple[Utc, int, Candidate]]:
    """The greatest corrected time of each point, over all sources: that time, its base (AHEAD where the time is one to
    come), and the candidate. By point."""
    best: dict[str, tuple[int, int, tuple[Utc, int, Candidate]]] = {}
    for cells in sources:
        for (point, base_), candidate in cells.items():
            moment = corrected(candidate[0], base_, fixes)
            ahead = base_ == AHEAD or (base_ == SYNCED and moment > now_us + AHEAD_US)
            rank = -EVER if ahead else moment
            known = best.get(point)
            if known is None or (rank, candidate[1]) > known[:2]:
                best[point] = (rank, candidate[1], (moment, AHEAD if ahead else base_, candidate))
    return {point: best[point][2] for point in sorted(best)}


def word_of(base_: int, fixes: Mapping[int, Fix]) -> ClockWord:
    """How the time of a candidate came about."""
    return "ahead" if base_ == AHEAD else clock_word(base_, fixes)


def latest_of(
    sources: Iterable[Cells], fixes: Mapping[int, Fix], points: Sequence[Point], now_us: Utc
) -> dict[str, PointLatest]:
    """The greatest corrected time of each point, over all sources."""
    described = {p.name: p for p in points}
    answer: dict[str, PointLatest] = {}
    for point, (moment, base_, (_, _, value, quality)) in newest_of(sources, fixes, now_us).items():
        stale_after_s = described[point].stale_after_s if point in described else None
        age_s = (now_us - moment) / SECOND_US
        answer[point] = PointLatest(
            value=plain(value),
            quality=quality or "good",
            unit=described[point].unit if point in described else "",
            time=text(moment),
            time_us=moment,
            clock=word_of(base_, fixes),
            age_s=round(age_s, 3),
            stale=None if stale_after_s is None else age_s > stale_after_s or base_ == AHEAD,
        )
    return answer


def _ascend(times: Sequence[int]) -> bool:
    return times.step > 0 if isinstance(times, range) else all(map(le, times, islice(times, 1, None)))


def _fold(cells: Cells, position: int, columns: Columns, received_us: Utc) -> None:
    times = columns.times
    n = len(times)
    if columns.clock.synced and max(times) > received_us + AHEAD_US:
        _fold_ahead(cells, position, columns, received_us)
        return
    ordered = n == 1 or _ascend(times)
    last = n - 1 if ordered else max(range(n), key=lambda i: (times[i], i))
    base_ = base(columns.clock)
    for point, cell in columns.cells.items():
        at = last if cell.present is None or cell.present[last] else _last_present(cell.present, times, ordered)
        known = cells.get((point, base_))
        if known is None or (times[at], position) >= known[:2]:
            cells[point, base_] = (times[at], position, cell.value(at), _quality(cell, at))


def _fold_ahead(cells: Cells, position: int, columns: Columns, received_us: Utc) -> None:
    """Columns some of whose times are to come: the latest that is not, and apart from it the latest that came."""
    times, limit_us = columns.times, received_us + AHEAD_US
    for point, cell in columns.cells.items():
        there = [i for i in range(len(times)) if cell.present is None or cell.present[i]]
        for base_, found in ((SYNCED, [i for i in there if times[i] <= limit_us]), (AHEAD, there)):
            if not found:
                continue
            at = max(found, key=lambda i: (times[i], i))
            known = cells.get((point, base_))
            if base_ == AHEAD and times[at] <= limit_us:
                continue
            order = (received_us if base_ == AHEAD else times[at], position)
            if known is None or order >= known[:2]:
                cells[point, base_] = (*order, cell.value(at), _quality(cell, at))


def _last_present(present: bytes, times: Sequence[int], ordered: bool) -> int:
    if ordered:
        return present.rfind(1)
    return max((i for i, there in enumerate(present) if there), key=lambda i: (times[i], i))


def _quality(cell: Cell, at: int) -> str | None:
    return next((q for first, count, q in cell.quality if first <= at < first + count), None)


def _forget(cells: Cells) -> None:
    newest: dict[int, int] = {}
    for (_, base_), (_, position, *_) in cells.items():
        if base_ >= 0:
            newest[base_] = max(position, newest.get(base_, position))
    if len(newest) > MAX_BASES:
        gone = set(sorted(newest, key=newest.__getitem__)[: len(newest) - MAX_BASES])
        for key in [k for k in cells if k[1] in gone]:
            del cells[key]
