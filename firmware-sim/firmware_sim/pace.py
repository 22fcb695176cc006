"""When a device speaks next: its own interval, spread over the street and never quite regular.

Promises: the first moment lies within one interval, later ones keep the average interval however late a
waiter woke; each interval differs from the nominal by at most `JITTER`, seeded.
"""

from __future__ import annotations

import asyncio
import random
import time

JITTER = 0.05


class Pace:
    """One device's rhythm in real seconds."""

    def __init__(self, every_s: float, noise: random.Random) -> None:
        self._every_s = every_s
        self._random = noise
        self._next_s = time.monotonic() + every_s * noise.random()

    async def wait(self) -> None:
        """Sleep until it is this device's turn."""
        now_s = time.monotonic()
        await asyncio.sleep(max(0.0, self._next_s - now_s))
        self._next_s += self._every_s * (1.0 + JITTER * (2.0 * self._random.random() - 1.0))
        # After a long halt (a stopped process) go on from now; there is no burst to make up for it.
        self._next_s = max(self._next_s, time.monotonic())
