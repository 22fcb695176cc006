"""Axis: the time that rules go by. It never steps, whatever is done to the node's clock, and goes on while the node
sleeps; where the clock has been set, it says how far that is ahead.

Bound: a clock that is less than STEP_US off has not been set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from drivers.contract import Now
from wire.time import AxisTime, Micros, Mono, Utc

STEP_US: Final = Micros(500_000)  # a clock that is further off than this has been set


class Axis:
    """One for a node. Its microseconds begin as UTC."""

    def __init__(self, clock: Now, boottime_us: Callable[[], Mono]) -> None:
        self._clock, self._boottime_us = clock, boottime_us
        self._zero_us = Micros(clock()[0] - boottime_us())
        self._ahead_us = Micros(0)  # of the axis: the node's clock, when it has been set since

    def now_us(self) -> AxisTime:
        """Now, on the axis."""
        return AxisTime(self._zero_us + self._boottime_us())

    def utc_us(self, axis_us: AxisTime) -> Utc:
        """A moment on the axis by the node's clock, as it has been set."""
        return Utc(axis_us + self._ahead_us)

    def follow(self) -> bool:
        """Look how far the clock is ahead; whether it has been set. Not a microsecond before the full hour, though,
        for two clocks are never read at once."""
        ahead_us = Micros(self._clock()[0] - self.now_us())
        if abs(ahead_us - self._ahead_us) <= STEP_US:
            return False
        self._ahead_us = round(ahead_us / 1e6) * Micros(1_000_000)
        return True
