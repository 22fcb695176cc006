"""Window: one number over the last stretch of time, in bounded room.

Values are gathered in buckets of a BUCKETS-th of the stretch, whose edges are multiples of their width on the axis, so
that what a window says depends on nothing but the values and the time. A bucket counts until all of it is older than
the stretch: a window reaches back `over_us` to `over_us` + 1/BUCKETS. At most BUCKETS + 2 buckets, whatever comes.

A mean and a rate are known only once at least ENOUGH of the stretch is covered (`edge/rules/coverage.py`): the mean of
a quarter of an hour is not known twelve seconds after the start. Before that, a count and a maximum are at least what
they are so far, and a minimum at most. Of a count, the time in which nothing came is covered.

The rate of a counter goes by the increase between two values, so that a register that wraps counts on; where it is not
known whether a value that fell has wrapped, was reset or really fell, the rate is unknown until the fall has left the
stretch.
"""

from __future__ import annotations

import itertools
import math
from typing import Final

import msgspec

from edge.rules.coverage import ENOUGH, Coverage
from wire.time import AxisTime, Micros

BUCKETS: Final = 60
MANY: Final = 2**62  # more than any count
HIGH, LOW = 0.75, 0.25  # of a register's range: a fall from beyond the one to below the other may be a wrap
WIDTHS: Final = (2**16, 2**24, 2**32, 2**64)  # where whole numbers of a device commonly wrap


class Counter(msgspec.Struct, frozen=True):
    """How a point's value goes round. `counts` is whether it only ever grows, None where its profile does not say;
    `wraps_at` is one more than its greatest value, None where that is not known; `whole` is whether it is an int."""

    counts: bool | None = None
    wraps_at: float | None = None
    whole: bool = False

    def step(self, before: float, after: float) -> float | None:
        """By how much it has changed from one value to the next, or None where that is not known."""
        change = after - before
        if change >= 0 or self.counts is False:
            return change
        if self.counts:
            return change + self.wraps_at if self.wraps_at is not None and before < self.wraps_at else None
        around = (self.wraps_at,) if self.wraps_at is not None else WIDTHS if self.whole else ()
        return None if any(before >= HIGH * w and before < w and after <= LOW * w for w in around) else change


class _Bucket(msgspec.Struct):
    index: int
    count: int
    total: float
    low: float
    high: float
    first_us: AxisTime
    first: float
    last_us: AxisTime
    last: float
    change: float | None = 0.0  # from its first value to its last; None where a step of it cannot be told


class Window:
    """What it is of is named by `operation`: mean, max, min, count, or rate (change per second). `hold_us` is how long
    a value says something of the time after it, None for as long as nothing else is said."""

    def __init__(
        self, operation: str, over_us: Micros, *, hold_us: Micros | None = None, counter: Counter | None = None
    ) -> None:
        self._operation = operation
        self._over_us = over_us
        self._width_us = max(Micros(1), over_us // BUCKETS)
        self._buckets: list[_Bucket] = []  # oldest first
        self._coverage = Coverage(hold_us)
        self._counter = Counter() if counter is None else counter

    def add(self, time_us: AxisTime, value: float, now_us: AxisTime) -> None:
        """A value that was measured at `time_us`, at `now_us` or before."""
        index = time_us // self._width_us
        if self._ends(index) <= now_us:
            return
        self._coverage.known(time_us, since_us=now_us - self._over_us - self._width_us)
        at = len(self._buckets)
        while at and self._buckets[at - 1].index > index:
            at -= 1
        if at and self._buckets[at - 1].index == index:
            bucket = self._buckets[at - 1]
            bucket.count += 1
            bucket.total += value
            bucket.low, bucket.high = min(bucket.low, value), max(bucket.high, value)
            if time_us >= bucket.last_us:
                step = self._counter.step(bucket.last, value)
                bucket.change = None if step is None or bucket.change is None else bucket.change + step
                bucket.last_us, bucket.last = time_us, value
            elif time_us < bucket.first_us:
                step = self._counter.step(value, bucket.first)
                bucket.change = None if step is None or bucket.change is None else bucket.change + step
                bucket.first_us, bucket.first = time_us, value
        else:
            self._buckets = [b for b in self._buckets if self._ends(b.index) > now_us]
            at = next((i for i, b in enumerate(self._buckets) if b.index > index), len(self._buckets))
            self._buckets.insert(at, _Bucket(index, 1, value, value, value, time_us, value, time_us, value))

    def lost(self, time_us: AxisTime) -> None:
        """From here on it is not known what the value is, until the next `add`."""
        if self._operation != "count":
            self._coverage.lost(time_us)

    def listens(self, time_us: AxisTime) -> None:
        """From here on whatever comes is heard. For a count this alone covers the time."""
        if self._operation == "count":
            self._coverage.known(time_us, since_us=time_us - self._over_us - self._width_us)

    def deaf(self, from_us: AxisTime, to_us: AxisTime) -> None:
        """Nothing was heard in between."""
        self._coverage.lost(from_us)
        self.listens(to_us)

    def value(self, now_us: AxisTime) -> float | int | None:
        """What it says now, by what is known of the stretch; None where that is too little, or nothing at all."""
        if self._operation in ("mean", "rate") and not self._enough(now_us):
            return None
        buckets = [b for b in self._buckets if self._ends(b.index) > now_us]
        if self._operation == "count":
            return sum(b.count for b in buckets)
        if not buckets:
            return None
        match self._operation:
            case "mean":
                return sum(b.total for b in buckets) / sum(b.count for b in buckets)
            case "max":
                return max(b.high for b in buckets)
            case "min":
                return min(b.low for b in buckets)
            case _:
                return self._rate(buckets)

    def _rate(self, buckets: list[_Bucket]) -> float | None:
        span_us = buckets[-1].last_us - buckets[0].first_us
        change = buckets[0].change
        for before, after in itertools.pairwise(buckets):
            step = self._counter.step(before.last, after.first)
            if change is None or step is None or after.change is None:
                return None
            change += step + after.change
        return change / (span_us / 1e6) if span_us and change is not None else None

    def limit(self, now_us: AxisTime) -> float | int | None:
        """How far beyond `value` it may be, were all of the stretch known; None where enough of it is."""
        if self._operation in ("mean", "rate") or self._enough(now_us):
            return None
        return {"count": MANY, "max": math.inf, "min": -math.inf}[self._operation]

    def due_us(self, now_us: AxisTime) -> AxisTime | None:
        """When after now it may say something else without a new value."""
        due_us = next((AxisTime(end) for b in self._buckets if (end := self._ends(b.index)) > now_us), None)
        if self._coverage.changes(now_us - self._over_us, now_us):
            edge_us = AxisTime((now_us // self._width_us + 1) * self._width_us)
            due_us = edge_us if due_us is None else min(due_us, edge_us)
        return due_us

    def _enough(self, now_us: AxisTime) -> bool:
        """Whether enough is known. Only looked at on buckets' edges, so that it changes at moments that are known
        beforehand."""
        edge_us = now_us - now_us % self._width_us
        return self._coverage.us(edge_us - self._over_us, edge_us) >= ENOUGH * self._over_us

    def _ends(self, index: int) -> int:
        return (index + 1) * self._width_us + self._over_us
