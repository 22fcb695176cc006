"""Back-off: when something that failed is tried again.

A device is left alone for `first_s` after its first failure, then for twice as long each time, up to five minutes; its
first success ends that. A line or broker that many depend on is tried again sooner, and at a random moment, so that a
street of nodes does not knock at once. The clock is a parameter.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from tenacity import RetryCallState, Retrying, wait_exponential, wait_random_exponential
from tenacity.wait import wait_base

FIRST_S: Final = 1.0
LONGEST_S: Final = 300.0
LINE_LONGEST_S: Final = 30.0

Monotonic = Callable[[], float]


class Backoff:
    """Whether one thing may be tried now."""

    def __init__(self, wait: wait_base, clock: Monotonic) -> None:
        self._retrying = Retrying(wait=wait)  # its waits, not its loop: whoever asks here comes and goes
        self._attempt = self._first()
        self._clock = clock
        self._until = 0.0

    @classmethod
    def of_device(cls, clock: Monotonic = time.monotonic, first_s: float = FIRST_S) -> Backoff:
        """For a device: doubling to five minutes, without jitter, since its poll has a time of its own."""
        return cls(wait_exponential(multiplier=first_s, max=LONGEST_S), clock)

    @classmethod
    def of_line(cls, clock: Monotonic = time.monotonic, longest_s: float = LINE_LONGEST_S) -> Backoff:
        """For a connection: full jitter up to half a minute, at least half a second."""
        return cls(wait_random_exponential(multiplier=1, max=longest_s, min=0.5), clock)

    @property
    def failures(self) -> int:
        """How many in a row."""
        return self._attempt.attempt_number - 1

    def left_s(self) -> float:
        """Seconds until it may be tried again; 0 when it may be tried now."""
        return max(0.0, self._until - self._clock()) if self.failures else 0.0

    def failed(self) -> float:
        """Count a failure; returns for how long it is left alone."""
        wait_s = float(self._retrying.wait(self._attempt))
        self._attempt.prepare_for_next_attempt()
        self._until = self._clock() + wait_s
        return wait_s

    def succeeded(self) -> None:
        """Forget the failures."""
        if self.failures:
            self._attempt = self._first()

    def _first(self) -> RetryCallState:
        return RetryCallState(self._retrying, fn=None, args=(), kwargs={})
