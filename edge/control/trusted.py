"""Trusted time: by what an order's end is judged. The later of two clocks, for an order must never be applied late.

One is the node's own, while it is synchronised; the other is the cloud's, as the downlink last told it, going on by
the monotonic clock. Where the two differ by more than MAX_APART_US one of them is wrong: a clock that the kernel holds
to be synchronised counts, and `apart_us` says how far the other is off. With neither, it is not known whether an order
has ended, and none is taken.

Bounds: two numbers. The cloud's words count for MAX_SERVER_AGE_US after the last of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from drivers.contract import Now
from wire.time import Micros, Mono, Utc

MAX_SERVER_AGE_US: Final = Micros(
    86_400_000_000
)  # a crystal drifts by seconds a day: older words of the cloud say nothing

MAX_APART_US: Final = Micros(60_000_000)  # what a slow link and an aggregator without NTP may come to


class TrustedTime:
    """Ask it for the time; pass it the time of the downlink."""

    def __init__(self, now: Now, monotonic_us: Callable[[], Mono]) -> None:
        self._now, self._monotonic_us = now, monotonic_us
        self._ahead_us: Micros | None = None  # of the monotonic clock, as far as the cloud has ever said it to be …
        self._since_us = self._heard_us = Mono(0)  # … since when, and when it last said anything

    def hear(self, server_us: Utc) -> None:
        """The cloud's UTC time in microseconds, as it was when this was sent.

        What came late on the way says less than what is known. It is believed again after a day, or a clock of the
        cloud that was once ahead would be followed for ever.
        """
        mono_us = self._monotonic_us()
        ahead_us = Micros(server_us - mono_us)
        if self._ahead_us is None or ahead_us > self._ahead_us or mono_us - self._since_us > MAX_SERVER_AGE_US:
            self._ahead_us, self._since_us = ahead_us, mono_us
        self._heard_us = mono_us

    def now_us(self) -> Utc | None:
        """UTC microseconds, or None where nobody knows."""
        own_us, told_us = self._both()
        if own_us is None or told_us is None:
            return told_us if own_us is None else own_us
        return own_us if abs(told_us - own_us) > MAX_APART_US else max(own_us, told_us)

    def apart_us(self) -> Micros | None:
        """By how much the cloud's time is ahead of the node's, where both are known and that is too much."""
        own_us, told_us = self._both()
        if own_us is None or told_us is None or abs(told_us - own_us) <= MAX_APART_US:
            return None
        return told_us - own_us

    def _both(self) -> tuple[Utc | None, Utc | None]:
        """The node's and the cloud's time, as far as they are known."""
        time_us, clock = self._now()
        own_us = time_us if clock.synced else None
        mono_us = self._monotonic_us()
        if self._ahead_us is None or mono_us - self._heard_us > MAX_SERVER_AGE_US:
            return own_us, None
        return own_us, Utc(mono_us + self._ahead_us)
