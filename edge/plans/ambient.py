"""Ambient: what rules may ask of sky and clock at a place.

`night` (the sun is below the horizon), `hour` (local, 0 to below 24, with its fraction), `weekday` (1 Monday to 7
Sunday, by the local date) and `sun_elevation` (degrees). The sun's height is worked out again when KEPT_US have
passed, forward or back; in that time it moves by less than 0.05 degrees.
"""

from __future__ import annotations

from typing import Final, TypedDict
from zoneinfo import ZoneInfo

from edge.plans.local import SECOND_US, to_datetime
from edge.plans.sun import HORIZON_DEG, Sun
from wire.time import Micros, Utc

KEPT_US: Final = Micros(10 * SECOND_US)


class Sky(TypedDict):
    """Night, local time and sun at one moment."""

    night: bool
    hour: float
    weekday: int
    sun_elevation: float


class Ambient:
    """Call it with UTC microseconds."""

    def __init__(self, sun: Sun, zone: ZoneInfo) -> None:
        self._sun, self._zone = sun, zone
        self._since_us = -KEPT_US
        self._elevation = 0.0

    def __call__(self, time_us: Utc) -> Sky:
        """Sky and clock at a moment."""
        if not 0 <= time_us - self._since_us < KEPT_US:
            self._since_us, self._elevation = time_us, self._sun.elevation_deg(time_us)
        local = to_datetime(time_us, self._zone)
        return {
            "night": self._elevation < HORIZON_DEG,
            "hour": local.hour + local.minute / 60 + (local.second + local.microsecond / 1e6) / 3600,
            "weekday": local.isoweekday(),
            "sun_elevation": self._elevation,
        }
