"""Device, Point and Roster: what a node has, told to the city by the node itself."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Literal

import msgspec

PointType = Literal["int", "float", "bool", "text"]


class Point(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One addressable value of a device. `unit` is a UCUM code; "" means that it has none.

    `resolution` is the smallest step that means something, in the point's own unit: a float is kept to the
    nearest multiple of it. `live` asks that a change reaches the city within 2 s. `stale_after_s` is how old
    the last value may be before it says nothing about now.
    """

    name: str
    type: PointType
    unit: str = ""
    low: float | None = None
    high: float | None = None
    resolution: float | None = None
    choices: tuple[str, ...] = ()
    writable: bool = False
    live: bool = False
    stale_after_s: float | None = None
    label: Mapping[str, str] = {}
    talq: str = ""  # TALQ function and attribute, e.g. "LampActuatorFunction/actualLightState"
    smart_data_model: str = ""  # Smart Data Models type and property, e.g. "Streetlight/illuminanceLevel"


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A thing on a bus or in radio range. Its id is unique in the city and never changes. WGS 84 degrees."""

    id: str
    kind: str
    profile: str
    lon: float | None = None
    lat: float | None = None
    name: str = ""
    tags: tuple[str, ...] = ()


class Roster(msgspec.Struct, frozen=True, kw_only=True):
    """All devices of a node, and the points that their profiles give them."""

    devices: tuple[Device, ...]
    profiles: Mapping[str, tuple[Point, ...]]

    def digest(self) -> bytes:
        """16 bytes that change whenever anything in the roster does; the order of devices does not count."""
        ordered = {
            "devices": sorted((msgspec.to_builtins(d) for d in self.devices), key=lambda d: d["id"]),
            "profiles": msgspec.to_builtins(self.profiles),
        }
        return blake2b(msgspec.json.encode(ordered, order="sorted"), digest_size=16).digest()
