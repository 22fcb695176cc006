"""Noise that is a function of time and not of how often somebody asks.

Promises: the same seed, name and time give the same value, whatever was asked before, so that two runs with
different poll rates live in the same street. Values lie within -1 and 1 (`smooth`) or 0 and 1 (`chance`).
"""

from __future__ import annotations

import math
from zlib import crc32

_SCALE = float(0xFFFFFFFF)


class Noise:
    """Seeded noise, one per device or place."""

    def __init__(self, seed: int, name: str) -> None:
        self._key = f"{seed}/{name}".encode()

    def chance(self, label: str, index: int = 0) -> float:
        """A fixed draw between 0 and 1 for this label and index."""
        # crc32 alone keeps neighbours similar; the multiplication spreads them over the whole range.
        raw = crc32(b"%s/%s/%d" % (self._key, label.encode(), index))
        mixed = (raw ^ (raw >> 15)) * 0x2C1B3C6D & 0xFFFFFFFF
        mixed = (mixed ^ (mixed >> 12)) * 0x297A2D39 & 0xFFFFFFFF
        return (mixed ^ (mixed >> 15)) / _SCALE

    def between(self, label: str, low: float, high: float) -> float:
        """A fixed draw between two bounds: what makes one device differ from the next."""
        return low + (high - low) * self.chance(label)

    def smooth(self, label: str, time_s: float, period_s: float) -> float:
        """A curve between -1 and 1 that turns about once a period."""
        place = time_s / period_s
        index = math.floor(place)
        share = place - index
        weight = (1.0 - math.cos(math.pi * share)) / 2.0
        before, after = self.chance(label, index), self.chance(label, index + 1)
        return 2.0 * (before + (after - before) * weight) - 1.0
