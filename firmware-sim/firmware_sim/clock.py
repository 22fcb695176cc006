"""Street time: seconds since 1970 as the street lives them, at real speed or faster.

Promises: never goes back; depends on nothing but the monotonic source it is handed, so that a test can live
through a day in no time. Publish intervals and fault schedules are in *real* seconds (`elapsed_s`), because
they are about the machine that reads; everything physical is in street seconds (`now_s`).
"""

from __future__ import annotations

import time
from collections.abc import Callable

MICROSECONDS = 1_000_000


class StreetClock:
    """Maps a monotonic source to street time."""

    def __init__(self, start_s: float, speed: float = 1.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._start_s = start_s
        self._speed = speed
        self._monotonic = monotonic
        self._zero = monotonic()

    def elapsed_s(self) -> float:
        """Real seconds since the street was built."""
        return self._monotonic() - self._zero

    def now_s(self) -> float:
        """Street time as seconds since 1970, UTC."""
        return self._start_s + self.elapsed_s() * self._speed


def wall_us() -> int:
    """Real UTC time in microseconds: what the ledger's lines are stamped with."""
    return time.time_ns() // 1_000
