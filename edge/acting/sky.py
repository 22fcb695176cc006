"""Sky: what rules may ask of the world at the node's place; nothing where the configuration names no place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from edge.config import SiteTable
from edge.plans.ambient import Ambient
from edge.plans.local import zone
from edge.plans.sun import Sun
from wire.sample import Value

Sky = Callable[[int], Mapping[str, Value]]


def sky(site: SiteTable | None) -> Sky:
    """Ask it with UTC microseconds."""
    if site is None:
        return lambda _time_us: {}
    local = zone(site.time_zone)
    return cast("Sky", Ambient(Sun(site.lat, site.lon, local), local))
