"""Window: one number over the last stretch of time, in bounded room.

Values are gathered in buckets of a BUCKETS-th of the stretch, whose edges are multiples of their width on the axis, so
that what a window says depends on nothing but the values and the time. A bucket counts until all of it is older than
the stretch: a window reaches back `over_us` to `over_us` + 1/BUCKETS. At most BUCKETS + 2 buckets, whatever comes.
"""

from __future__ import annotations

from typing import Final

import msgspec

BUCKETS: Final = 60


class _Bucket(msgspec.Struct):
    index: int
    count: int
    total: float
    low: float
    high: float
    first_us: int
    first: float
    last_us: int
    last: float


class Window:
    """What it is of is named by `operation`: mean, max, min, count, or rate (change per second)."""

    def __init__(self, operation: str, over_us: int) -> None:
        self._operation = operation
        self._over_us = over_us
        self._width_us = max(1, over_us // BUCKETS)
        self._buckets: list[_Bucket] = []  # oldest first

    def add(self, time_us: int, value: float, now_us: int) -> None:
        """A value that was measured at `time_us`, at `now_us` or before."""
        index = time_us // self._width_us
        if self._ends(index) <= now_us:
            return
        at = len(self._buckets)
        while at and self._buckets[at - 1].index > index:
            at -= 1
        if at and self._buckets[at - 1].index == index:
            bucket = self._buckets[at - 1]
            bucket.count += 1
            bucket.total += value
            bucket.low, bucket.high = min(bucket.low, value), max(bucket.high, value)
            if time_us >= bucket.last_us:
                bucket.last_us, bucket.last = time_us, value
            elif time_us < bucket.first_us:
                bucket.first_us, bucket.first = time_us, value
        else:
            self._buckets = [b for b in self._buckets if self._ends(b.index) > now_us]
            at = next((i for i, b in enumerate(self._buckets) if b.index > index), len(self._buckets))
            self._buckets.insert(at, _Bucket(index, 1, value, value, value, time_us, value, time_us, value))

    def value(self, now_us: int) -> float | int | None:
        """What it says now; None where there is nothing to say it of. A count is never None."""
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
                span_us = buckets[-1].last_us - buckets[0].first_us
                return (buckets[-1].last - buckets[0].first) / (span_us / 1e6) if span_us else None

    def due_us(self, now_us: int) -> int | None:
        """When after now it will say something else without a new value."""
        return next((end for b in self._buckets if (end := self._ends(b.index)) > now_us), None)

    def _ends(self, index: int) -> int:
        return (index + 1) * self._width_us + self._over_us
