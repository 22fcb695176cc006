"""Profile: what one model of device offers, and how to read it. `drivers/profile_files.py` reads them from TOML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from wire.device import Point


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One model of device. `access` says for each point how the protocol reaches it, `whole` what holds for all."""

    name: str
    kind: str
    driver: str
    points: Mapping[str, Point]
    access: Mapping[str, Any]
    whole: Any
    time_resolution_us: int | None = None
