"""Grid: the partials of many series side by side, and what they come to, bucket by bucket. Pure.

A series is one point of one device. Cells lie one after the other, the first `lead` of them before what was asked for:
a value is held into a bucket, and a counter has risen into it, from the last reading before it. A counter's rise
belongs to the bucket of the later of two readings, however long nothing came between them.

Whatever partials were kept or have just been made of readings, they become answers here alone: so both ways say the
same, bit for bit.

Bounds: 16 columns of 8 bytes a cell; callers divide what is asked for.
"""

# numpy's own types are complete; what reduceat and gathers give is not known to the checker.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.history.calendar import HOUR_US
from cloud.history.partial import NEVER, Partial, Terms

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_NAN: Final = ("least", "most", "first", "last")
_ZERO: Final = ("integral", "increase", "unsure")
COUNTS: Final = ("good", "uncertain", "bad", "covered_us", "resets", "wraps")
_TIMES: Final = ("begin_us", "end_us", "last_us")
NUMBERS: Final = (*_NAN, *_ZERO)
WHOLE: Final = (*COUNTS, *_TIMES)


class Course(msgspec.Struct, frozen=True):
    """What series did in buckets: arrays of one row a series and one column a bucket. NaN where there is nothing."""

    good: Ints
    uncertain: Ints
    bad: Ints
    least: Floats
    most: Floats
    mean: Floats
    covered_us: Ints
    first: Floats
    last: Floats
    last_us: Ints  # NEVER where nothing counts
    increase: Floats
    resets: Ints
    wraps: Ints
    unsure: Floats
    words: Mapping[tuple[int, int], str]  # the last, by series and bucket, where it is a text


class Grid:
    """Series by cells."""

    def __init__(self, series: Sequence[Terms], edges: Sequence[int], lead: int) -> None:
        """`edges` are those of the cells: one more than there are cells."""
        self._hold = np.array([[s.hold_us] for s in series], np.int64).reshape(-1, 1)
        self._wraps_at = np.array([[s.wraps_at] for s in series], np.float64).reshape(-1, 1)
        self._edges = np.array(edges, np.int64)
        self._lead = lead
        shape = (len(series), len(edges) - 1)
        self._of: dict[str, NDArray[Any]] = {name: np.full(shape, np.nan) for name in _NAN}
        self._of |= {name: np.zeros(shape) for name in _ZERO}
        self._of |= {name: np.zeros(shape, np.int64) for name in COUNTS}
        self._of |= {name: np.full(shape, NEVER, np.int64) for name in _TIMES}
        self._words: dict[tuple[int, int], str] = {}

    def put(self, series: int, cell: int, partial: Partial) -> None:
        """One partial at its place."""
        for name, column in self._of.items():
            column[series, cell] = getattr(partial, name)
        if partial.text is not None:
            self._words[series, cell] = partial.text

    def put_row(self, series: int, cells: Sequence[int], partials: Sequence[Partial]) -> None:
        """Partials of one series at their places."""
        if not cells:
            return
        rows = zip(*map(msgspec.structs.astuple, partials), strict=True)
        for name, values in zip(Partial.__struct_fields__, rows, strict=True):
            if name == "text":
                self._words |= {(series, c): word for c, word in zip(cells, values, strict=True) if word is not None}
            else:
                self._of[name][series, cells] = values

    def put_columns(
        self,
        series: Ints,
        hours_us: Ints,
        columns: Mapping[str, NDArray[Any]],
        words: Mapping[int, str],
        takes: NDArray[np.bool_],
    ) -> None:
        """Partials of whole hours, given column by column: those for whose series and cell `takes` is true."""
        cells = (hours_us - self._edges[0]) // HOUR_US
        within = (cells >= 0) & (cells < takes.shape[1])
        cells = np.where(within, cells, 0)
        within &= takes[series, cells]
        series, cells = series[within], cells[within]
        for name, column in self._of.items():
            column[series, cells] = columns[name][within]
        if words:
            places = np.cumsum(within) - 1
            self._words |= {
                (int(series[places[i]]), int(cells[places[i]])): word for i, word in words.items() if within[i]
            }

    def course(self, starts: Sequence[int]) -> Course:
        """What the series did in buckets: each begins with the cell that `starts` says, counted without the lead."""
        of, lead = self._of, self._lead
        edges, end = self._edges[:-1], self._edges[1:]
        there = of["begin_us"] != NEVER
        counts = of["last_us"] != NEVER
        # Held into a cell: from the last reading before it, where that counts, to its own first, at most for so long.
        before = _before(there)
        value = _at(of["last"], before)
        alive = (before >= 0) & (_at(of["last_us"], before) == _at(of["end_us"], before))
        until = np.minimum(np.where(there, of["begin_us"], end), _at(of["end_us"], before) + self._hold)
        head = np.where(alive, np.clip(until - edges, 0, None), 0)
        held = head > 0
        with np.errstate(invalid="ignore", over="ignore"):
            integral = of["integral"] + np.where(held, value * head, 0.0)
        covered = of["covered_us"] + head
        low = np.fmin(of["least"], np.where(held, value, np.nan))
        high = np.fmax(of["most"], np.where(held, value, np.nan))
        rise, resets, wraps, unsure = self._risen(_at(of["last"], _before(counts)), _before(counts) >= 0, counts)

        at = np.array(starts, np.intp) + lead
        newest = np.maximum.reduceat(np.where(counts, np.arange(counts.shape[1]), -1), at, axis=1)
        oldest = np.minimum.reduceat(np.where(counts, np.arange(counts.shape[1]), counts.shape[1]), at, axis=1)
        some = newest >= 0
        oldest = np.where(some, oldest, -1)
        total = _sum(covered, at)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(total > 0, _sum(integral, at) / total, np.nan)
        mean = np.where(np.isnan(mean), np.nan, np.clip(mean, _least(low, at), _most(high, at)))
        return Course(
            good=_sum(of["good"], at),
            uncertain=_sum(of["uncertain"], at),
            bad=_sum(of["bad"], at),
            least=_least(of["least"], at),
            most=_most(of["most"], at),
            mean=mean,
            covered_us=total,
            first=np.where(some, _at(of["first"], oldest), np.nan),
            last=np.where(some, _at(of["last"], newest), np.nan),
            last_us=np.where(some, _at(of["last_us"], newest), NEVER),
            increase=np.where(some, _sum(rise, at), np.nan),
            resets=_sum(resets, at),
            wraps=_sum(wraps, at),
            unsure=np.where(some, _sum(unsure, at), np.nan),
            words=self._last_words(newest),
        )

    def _risen(self, value: Floats, known: NDArray[np.bool_], counts: NDArray[np.bool_]) -> tuple[Any, ...]:
        """What a counter has risen by from the last reading before each cell, and within it: as `partial.step`."""
        of, half = self._of, self._wraps_at / 2
        with np.errstate(invalid="ignore"):
            by = of["first"] - value
        both = known & counts & ~np.isnan(by)
        rises = both & (by >= 0) & (by <= half)
        wraps = both & (by < -half)
        falls = both & ~rises & ~wraps
        with np.errstate(invalid="ignore"):
            more = np.where(rises, by, np.where(wraps, by + self._wraps_at, 0.0))
        return (
            of["increase"] + more,
            of["resets"] + falls,
            of["wraps"] + wraps,
            of["unsure"] + np.where(falls, of["first"], 0.0),
        )

    def _last_words(self, newest: Ints) -> Mapping[tuple[int, int], str]:
        """Of each bucket whose last reading is a text."""
        if not self._words:
            return {}
        series = {s for s, _ in self._words}
        return {
            (s, b): word
            for s in sorted(series)
            for b, cell in enumerate(newest[s].tolist())
            if (word := self._words.get((s, cell))) is not None
        }


def _before(there: NDArray[np.bool_]) -> Ints:
    """Of each cell the nearest one before it that is there, or -1."""
    cells = np.where(there, np.arange(there.shape[1]), -1)
    found = np.full(there.shape, -1)
    found[:, 1:] = np.maximum.accumulate(cells, axis=1)[:, :-1]
    return found


def _at(column: NDArray[Any], cells: Ints) -> NDArray[Any]:
    """The values at cells; anything where the cell is -1."""
    return np.take_along_axis(column, np.maximum(cells, 0), axis=1)


def _sum(column: NDArray[Any], at: NDArray[np.intp]) -> NDArray[Any]:
    return np.add.reduceat(column, at, axis=1)


def _least(column: Floats, at: NDArray[np.intp]) -> Floats:
    return np.fmin.reduceat(column, at, axis=1)


def _most(column: Floats, at: NDArray[np.intp]) -> Floats:
    return np.fmax.reduceat(column, at, axis=1)
