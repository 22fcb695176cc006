"""ClockJumps: how far the machine's clock was set since it was last asked. Both clocks are parameters.

Bound: what is below LEAST_US is the clock's own correction and no jump.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cloud.times import SECOND_US, Now
from wire.time import Micros, Utc

LEAST_US: Final = Micros(2 * SECOND_US)


class ClockJumps:
    """Watches one clock by another that nobody sets. Time for which the machine slept counts as a jump."""

    def __init__(self, now: Now, monotonic_s: Callable[[], float]) -> None:
        self._now = now
        self._monotonic_s = monotonic_s
        self._ahead_us = self._ahead()

    def jumped_us(self) -> Micros:
        """Microseconds by which the clock was set forward since the last time, less than 0 for back, 0 for not."""
        ahead_us = self._ahead()
        jumped_us = ahead_us - self._ahead_us
        self._ahead_us = ahead_us
        return jumped_us if abs(jumped_us) >= LEAST_US else Micros(0)

    def _ahead(self) -> Micros:
        return self._now() - Utc(self._monotonic_s() * SECOND_US)
