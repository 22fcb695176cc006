"""Leap: how far the machine's clock was set since it was last asked. Both clocks are parameters.

Bound: what is below LEAST_US is the clock's own correction and no leap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cloud.times import SECOND_US, Now

LEAST_US: Final = 2 * SECOND_US


class Leap:
    """Watches one clock by another that nobody sets. Time for which the machine slept counts as a leap."""

    def __init__(self, now: Now, monotonic_s: Callable[[], float]) -> None:
        self._now = now
        self._monotonic_s = monotonic_s
        self._ahead_us = self._ahead()

    def leapt_us(self) -> int:
        """Microseconds by which the clock was set forward since the last time, less than 0 for back, 0 for not."""
        ahead_us = self._ahead()
        leapt_us = ahead_us - self._ahead_us
        self._ahead_us = ahead_us
        return leapt_us if abs(leapt_us) >= LEAST_US else 0

    def _ahead(self) -> int:
        return self._now() - int(self._monotonic_s() * SECOND_US)
