"""Decided: what every point should be and why, for people who ask."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import tzinfo

import msgspec

from edge.control.arbitration import why
from edge.control.arrays import PriorityArrays
from wire.entries import Level
from wire.sample import Value
from wire.time import Utc


class HeldAt(msgspec.Struct, frozen=True, kw_only=True):
    """What one level holds. `until_us` is UTC. `blinks`: the value is what it is at the moment."""

    level: Level
    value: Value
    by: str
    until_us: Utc | None
    blinks: bool = False


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What a point should be, and why: in English and French, and the levels from the highest on."""

    device: str
    point: str
    value: Value
    why: dict[str, str]
    levels: tuple[HeldAt, ...]


def decided(control: PriorityArrays, zone: tzinfo, now_us: Utc | None = None) -> Iterable[Decided]:
    """Every point for which something is held, by device and point. `now_us` (UTC) is given so that an end on another
    day is told with its date."""
    for key in sorted(control.held()):
        array = control.array(key)
        top = array.top()
        unit = control.points[key].unit
        yield Decided(
            device=key[0],
            point=key[1],
            value=None if top is None else top[1].value,
            why={"en": why(array, unit, zone, "en", now_us), "fr": why(array, unit, zone, "fr", now_us)},
            levels=tuple(
                HeldAt(level=lv, value=h.value, by=h.by, until_us=h.until_us, blinks=h.blinks) for lv, h in array
            ),
        )
