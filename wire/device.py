"""Device, Point and Roster: what a node has, reported to the city by the node itself."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

PointType = Literal["int", "float", "bool", "text"]
Short = Annotated[str, Meta(max_length=200)]


class Point(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One addressable value of a device. `unit` is a UCUM code; "" means that it has none.

    `resolution` is the smallest step that means something, in the point's own unit: a float is kept to the
    nearest multiple of it. `live` asks that a change reaches the city within 2 s. `stale_after_s` is how old
    the last value may be before it says nothing about now. `counter` is whether it only ever grows, but for resets and
    wraps, None where the profile does not say; `wraps_at` is one more than its greatest value. `safe` is what a
    writable point is left at when nobody says anything else, and when the node does not know enough to do better.
    """

    name: Short
    type: PointType
    unit: Short = ""
    low: float | None = None
    high: float | None = None
    resolution: float | None = None
    choices: Annotated[tuple[Short, ...], Meta(max_length=256)] = ()
    writable: bool = False
    safe: int | float | bool | Short | None = None
    live: bool = False
    stale_after_s: float | None = None
    counter: bool | None = None
    wraps_at: float | None = None
    label: Annotated[Mapping[Short, Short], Meta(max_length=20)] = {}
    talq: Short = ""  # TALQ function and attribute, e.g. "LampActuatorFunction/actualLightState"
    smart_data_model: Short = ""  # Smart Data Models type and property, e.g. "Streetlight/illuminanceLevel"


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A thing on a bus or in radio range. Its id is unique in the city and never changes. WGS 84 degrees.

    `period_s` is how often its points are read or, where it speaks by itself, how often it should be heard; None: the
    node does not say. `heartbeats_s` names the points that report by exception: each may be left out for so long
    though the device is heard.
    """

    id: Short
    kind: Short
    profile: Short
    lon: float | None = None
    lat: float | None = None
    name: Short = ""
    tags: Annotated[tuple[Short, ...], Meta(max_length=50)] = ()
    period_s: float | None = None
    heartbeats_s: Annotated[Mapping[Short, float], Meta(max_length=256)] = {}


class Roster(msgspec.Struct, frozen=True, kw_only=True):
    """All devices of a node, and the points that their profiles give them."""

    devices: Annotated[tuple[Device, ...], Meta(max_length=5_000)]
    profiles: Annotated[Mapping[Short, Annotated[tuple[Point, ...], Meta(max_length=256)]], Meta(max_length=500)]

    def digest(self) -> bytes:
        """16 bytes that change whenever anything in the roster does; the order of devices does not count."""
        ordered = {
            "devices": sorted((msgspec.to_builtins(d) for d in self.devices), key=lambda d: d["id"]),
            "profiles": msgspec.to_builtins(self.profiles),
        }
        return blake2b(msgspec.json.encode(ordered, order="sorted"), digest_size=16).digest()
