"""Doubts: what in a roster cannot be meant as it is written. Pure.

Nothing is refused for it, for readings must not be lost for a name. A place that is none is left out; ids, names, tags
and units stay as they are, and are marked. A node checks the same before it starts (`groundwork`), so what is found
here comes from one that does not.

Bounds: MAX_DOUBTS of a node are kept, MAX_TOLD told in one finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from cloud.views.answers import Doubt
from groundwork.places import why_no_place
from groundwork.plain_names import why_not_plain
from groundwork.ucum import why_not_ucum
from wire.device import Device, Roster

MAX_DOUBTS: Final = 200
MAX_TOLD: Final = 20


def doubts_of(roster: Roster) -> tuple[Doubt, ...]:
    """What is wrong in a roster, by what it is of; the first MAX_DOUBTS."""
    found = sorted({*_of_devices(roster), *_of_profiles(roster)}, key=lambda d: (d.whose, d.what))
    return tuple(found[:MAX_DOUBTS])


def doubt_of(device: str) -> Doubt | None:
    """What is wrong with a device's id."""
    why = why_not_plain(device)
    return None if why is None else Doubt(whose=f"device {device}", what="id", why=why)


def fit(device: Device) -> Device:
    """A device as it is kept: without a place that is none."""
    if why_no_place(device.lon, device.lat) is None:
        return device
    return msgspec.structs.replace(device, lon=None, lat=None)


def detail_of(doubts: Iterable[Doubt]) -> dict[str, Any]:
    """What a finding says of them."""
    told = sorted(doubts, key=lambda d: (d.whose, d.what))
    return {"doubts": len(told), "first": [msgspec.to_builtins(d) for d in told[:MAX_TOLD]]}


def _of_devices(roster: Roster) -> Iterator[Doubt]:
    for device in roster.devices:
        whose = f"device {device.id}"
        names = [("id", device.id), ("name", device.name), ("kind", device.kind)]
        names += [(f"tags[{i}]", tag) for i, tag in enumerate(device.tags)]
        yield from _of_names(whose, names)
        if (wrong := why_no_place(device.lon, device.lat)) is not None:
            yield Doubt(whose=whose, what=wrong[0], why=wrong[1])


def _of_profiles(roster: Roster) -> Iterator[Doubt]:
    for profile, points in roster.profiles.items():
        whose = f"profile {profile}"
        yield from _of_names(whose, [("name", profile)])
        for point in points:
            names = [("name", point.name), *((f"label.{lang}", label) for lang, label in point.label.items())]
            yield from _of_names(whose, [(f"point {point.name} {what}", name) for what, name in names])
            if (why := why_not_ucum(point.unit)) is not None:
                yield Doubt(whose=whose, what=f"point {point.name} unit", why=f"{point.unit[:50]!r} {why}")


def _of_names(whose: str, names: Iterable[tuple[str, str]]) -> Iterator[Doubt]:
    for what, name in names:
        if (why := why_not_plain(name)) is not None:
            yield Doubt(whose=whose, what=what, why=why)
