"""Back-off: when something that failed is tried again. The wait doubles from failure to failure, up to a longest one;
the first success ends that.

A device is left alone for as long as that says. What many wait for at once (a line, a broker, the cloud) is tried at a
random moment of it, so that a street of nodes does not knock together. Clock and jitter are parameters.

Bounds: the longest wait of each; LONGEST_S of a device, LINE_LONGEST_S of a line. It needs tenacity, which both
extras bring.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from tenacity import RetryCallState, Retrying, wait_exponential

FIRST_S: Final = 1.0
LONGEST_S: Final = 300.0
LINE_LONGEST_S: Final = 30.0
LINE_LEAST_S: Final = 0.5
ASKED_MOST_S: Final = 3_600.0

Monotonic = Callable[[], float]
Jitter = Callable[[float], float]
"""Which wait to take, in seconds, where this is the longest."""


def full(longest_s: float) -> float:
    """Full jitter: any wait up to the longest."""
    return random.uniform(0, longest_s)


def upper_half(longest_s: float) -> float:
    """Any wait from half the longest."""
    return random.uniform(longest_s / 2, longest_s)


def none(longest_s: float) -> float:
    """No jitter."""
    return longest_s


def retry_after(text: str | None) -> float:
    """For how many seconds an answer over HTTP asks to be left alone (its Retry-After; RFC 9110, 10.2.3): up to
    ASKED_MOST_S, 0 where it does not say. A date is not obeyed: it needs both clocks right."""
    return min(float(text), ASKED_MOST_S) if text and text.isdecimal() else 0.0


class Backoff:
    """Whether one thing may be tried now."""

    def __init__(
        self, *, first_s: float, longest_s: float, jitter: Jitter = full, clock: Monotonic = time.monotonic
    ) -> None:
        self._retrying = Retrying(wait=wait_exponential(multiplier=first_s, max=longest_s))
        self._attempt = self._first()  # tenacity's waits, not its loop: whoever asks here comes and goes
        self._jitter, self._clock = jitter, clock
        self._until = 0.0

    @classmethod
    def of_device(cls, clock: Monotonic = time.monotonic, first_s: float = FIRST_S) -> Backoff:
        """For a device: doubling to five minutes, without jitter, since its poll has a time of its own."""
        return cls(first_s=first_s, longest_s=LONGEST_S, jitter=none, clock=clock)

    @classmethod
    def of_line(cls, clock: Monotonic = time.monotonic, longest_s: float = LINE_LONGEST_S) -> Backoff:
        """For a connection: full jitter up to half a minute, at least half a second."""
        return cls(
            first_s=FIRST_S,
            longest_s=longest_s,
            jitter=lambda bound_s: random.uniform(LINE_LEAST_S, bound_s),
            clock=clock,
        )

    @property
    def failures(self) -> int:
        """How many in a row."""
        return self._attempt.attempt_number - 1

    def left_s(self) -> float:
        """Seconds until it may be tried again; 0 when it may be tried now."""
        return max(0.0, self._until - self._clock()) if self.failures else 0.0

    def failed(self) -> float:
        """Count a failure; returns for how many seconds it is left alone."""
        wait_s = self._jitter(float(self._retrying.wait(self._attempt)))
        self._attempt.prepare_for_next_attempt()
        self._until = self._clock() + wait_s
        return wait_s

    def rouse(self) -> None:
        """It may be tried now, once: somebody stands there. Its failures stay counted."""
        self._until = 0.0

    def succeeded(self) -> None:
        """Forget the failures."""
        if self.failures:
            self._attempt = self._first()

    def _first(self) -> RetryCallState:
        return RetryCallState(self._retrying, fn=None, args=(), kwargs={})
