"""Failures: requests whose token is none of ours, counted by address, logged, and slowed down.

A guess that is right is let through whatever was guessed before it: 256 bits are not guessed, and a node behind the
same address as the one who tries must not suffer. What is limited is what the guesses cost us and the log.

Bounds: from one address (`cloud.entrance.addresses`) BURST failures at once and one more each 1 / PER_S seconds get
their 401, further ones a 429; MAX_ADDRESSES are remembered, the longest quiet forgotten first; one line of the log
in TELL_S, with the SHOWN addresses that failed most; what failed after it is in the next one, which comes with the next
failure (`lamplighter_requests_denied` counts each at once).
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

LOG: Final = logging.getLogger("lamplighter.cloud")

BURST: Final = 20.0
PER_S: Final = 0.5
MAX_ADDRESSES: Final = 10_000
TELL_S: Final = 60.0
SHOWN: Final = 3


class Failures:
    """On the event loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` counts seconds and is never set back."""
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # failures left, and when that was
        self._untold: Counter[str] = Counter()
        self._told_s = float("-inf")

    def failed(self, address: str) -> float:
        """A token was none of ours: for how many seconds the address has nothing more to ask; 0 while it may."""
        now_s = self._clock()
        left, since_s = self._left.pop(address, (BURST, now_s))
        left = min(BURST, left + (now_s - since_s) * PER_S)
        allowed = left >= 1
        self._left[address] = (left - 1 if allowed else left, now_s)
        if len(self._left) > MAX_ADDRESSES:
            self._left.popitem(last=False)
        if len(self._untold) < MAX_ADDRESSES or address in self._untold:
            self._untold[address] += 1
        self._tell()
        return 0.0 if allowed else (1 - left) / PER_S

    def _tell(self) -> None:
        """Say what has failed since it was said last, if that is long enough ago."""
        now_s = self._clock()
        if not self._untold or now_s - self._told_s < TELL_S:
            return
        most = ", ".join(f"{address} ({count})" for address, count in self._untold.most_common(SHOWN))
        count, addresses = self._untold.total(), len(self._untold)
        LOG.warning("%d requests with a token that is not valid here, from %d addresses: %s", count, addresses, most)
        self._untold.clear()
        self._told_s = now_s
