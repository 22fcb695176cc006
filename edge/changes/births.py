"""Births: devices that a technician has just put up or replaced, until they have been heard for a while. In memory.

Bounds: MAX_BIRTHS of them, each for LASTS_S.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

from edge.changes.versions import Act
from wire.time import Utc

LASTS_S: Final = 900.0
MAX_BIRTHS: Final = 64


class Birth(msgspec.Struct, frozen=True, kw_only=True):
    """`at_s` is on the monotonic clock, `time_us` the same by the node's."""

    by: str
    act: Act
    at_s: float
    time_us: Utc


class Births:
    """Of one process: they outlive a node that is made anew."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._of: dict[str, Birth] = {}

    def note(self, device: str, by: str, act: Act, time_us: Utc) -> None:
        """It hangs there since now."""
        self._of.pop(device, None)
        while len(self._of) >= MAX_BIRTHS:
            del self._of[next(iter(self._of))]
        self._of[device] = Birth(by=by, act=act, at_s=self._monotonic(), time_us=time_us)

    def of(self, device: str) -> Birth | None:
        """When it came, where that was not long ago."""
        birth = self._of.get(device)
        if birth is not None and self._monotonic() - birth.at_s > LASTS_S:
            del self._of[device]
            return None
        return birth

    def waiting(self) -> list[str]:
        """Those that came not long ago."""
        return [device for device in list(self._of) if self.of(device) is not None]
