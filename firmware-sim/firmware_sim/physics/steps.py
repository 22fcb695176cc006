"""Cuts a stretch of street time into steps that a simple integration can take.

Promises: at most `MAX_STEPS` steps whatever the stretch, so that nobody can make a device compute for long
by not asking it for a day.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

MAX_STEPS = 240


def steps(from_s: float, to_s: float, longest_s: float) -> Iterator[tuple[float, float]]:
    """Yield (end of step, length of step) from one moment to another; nothing if time did not move on."""
    stretch_s = to_s - from_s
    if stretch_s <= 0.0:
        return
    count = min(MAX_STEPS, math.ceil(stretch_s / longest_s))
    length_s = stretch_s / count
    for index in range(1, count + 1):
        yield from_s + index * length_s, length_s
