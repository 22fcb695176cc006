"""Profile: what one model of device offers, and how to read it. `drivers/profile_files.py` reads them from TOML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from wire.device import Point
from wire.time import Micros


class Writing(msgspec.Struct, frozen=True, kw_only=True):
    """How a point is set: what is read to see whether it has come, from when on, how near it must be (None: by the
    point's resolution), and how long a relay or lamp must be left alone between two writes. Seconds. `step` is what one
    step of the device's own number is worth, where it has only whole ones: what is read back may be half of it off."""

    reads_back: str
    settle_s: float = 0
    tolerance: float | None = None
    min_write_s: float = 0
    step: float = 0


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One model of device. `access` says for each point how the protocol reaches it, `whole` what holds for all."""

    name: str
    kind: str
    driver: str
    points: Mapping[str, Point]
    access: Mapping[str, Any]
    whole: Any
    time_resolution_us: Micros | None = None
    writing: Mapping[str, Writing] = {}  # of the points that are writable
