"""Coverage: of which time it is known what a value was.

A value covers the time after it for `hold_us` (for good, where that is None), until the next value, or until it is
lost: read as bad, or not listened to. Times are microseconds of one axis. At most MAX_STRETCHES stretches are
remembered; of more, the oldest are forgotten, and then less counts as known, never more.
"""

from __future__ import annotations

from typing import Final

from wire.time import AxisTime, Micros

ENOUGH: Final = 0.75  # of a window's stretch must be covered for it to say something
MAX_STRETCHES: Final = 64


class Coverage:
    """Closed stretches, and one that is open since `_from_us` with its last value at `_last_us`."""

    def __init__(self, hold_us: Micros | None) -> None:
        self._hold_us = hold_us
        self._closed: list[tuple[AxisTime, AxisTime]] = []
        self._from_us: AxisTime | None = None
        self._last_us = AxisTime(0)

    def known(self, time_us: AxisTime, *, since_us: AxisTime) -> None:
        """A value at this time; what lies before `since_us` is asked no more."""
        if self._from_us is not None and time_us > self._end_us(time_us):
            self._close(self._end_us(time_us))
        if self._from_us is None:
            self._from_us = self._last_us = time_us
            if self._closed:
                self._closed = [s for s in self._closed if s[1] > since_us][-MAX_STRETCHES:]
        else:
            self._last_us = max(self._last_us, time_us)

    def lost(self, time_us: AxisTime) -> None:
        """Nothing is known after this, until the next value."""
        if self._from_us is not None:
            self._close(max(self._from_us, self._end_us(time_us)))

    def us(self, from_us: AxisTime, to_us: AxisTime) -> Micros:
        """How much is covered between two times."""
        covered = sum((max(Micros(0), min(end, to_us) - max(begin, from_us)) for begin, end in self._closed), Micros(0))
        if self._from_us is not None:
            covered += max(Micros(0), self._end_us(to_us) - max(self._from_us, from_us))
        return covered

    def changes(self, from_us: AxisTime, to_us: AxisTime) -> bool:
        """Whether time alone changes how much of such a stretch is covered."""
        if self._closed and self._closed[-1][1] > from_us:
            return True
        return self._from_us is not None and (self._from_us > from_us or self._end_us(to_us) < to_us)

    def _end_us(self, now_us: AxisTime) -> AxisTime:
        return now_us if self._hold_us is None else min(now_us, self._last_us + self._hold_us)

    def _close(self, end_us: AxisTime) -> None:
        assert self._from_us is not None
        self._closed.append((self._from_us, end_us))
        self._from_us = None
