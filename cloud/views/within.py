"""Within: areas and groups by name, made into one answer: whether a device is meant.

A device is meant that lies in one of the areas, where any are named, and belongs to one of the groups, where any are.
What is known of the device is what its roster says now; which areas and groups hold is as of the moment that was asked
for (`cloud.records.areas`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from cloud.views.shapes import Shape
from wire.time import Utc

Kind = Literal["area", "group"]


class Described(Protocol):
    """What is looked at of a device: `wire.device.Device` has it, and so has `cloud.views.answers.DeviceSeen`."""

    @property
    def id(self) -> str:
        """Unique in the city."""
        ...

    @property
    def kind(self) -> str | None:
        """Of the device."""
        ...

    @property
    def profile(self) -> str | None:
        """Of the device."""
        ...

    @property
    def tags(self) -> Sequence[str]:
        """Of the device."""
        ...

    @property
    def lon(self) -> float | None:
        """WGS 84 degrees."""
        ...

    @property
    def lat(self) -> float | None:
        """WGS 84 degrees."""
        ...


class Members(msgspec.Struct, frozen=True):
    """A group: the devices of a list; or, where there is none, all that have everything that is said."""

    devices: frozenset[str] | None = None
    kind: str | None = None
    profile: str | None = None
    tag: str | None = None
    node: str | None = None

    def has(self, device: Described, node: str) -> bool:
        """Say whether a device of a node belongs to it."""
        if self.devices is not None:
            return device.id in self.devices
        return (
            self.kind in {None, device.kind}
            and self.profile in {None, device.profile}
            and (self.tag is None or self.tag in device.tags)
            and self.node in {None, node}
        )


class Within(msgspec.Struct, frozen=True, kw_only=True):
    """`areas` or `groups` is None where none was named. `held` are those that hold: kind, name, revision; `since_us` is
    from when on it has been so. `missing` were named, and none of that name holds at that moment: nothing lies in it.
    """

    areas: tuple[Shape, ...] | None = None
    groups: tuple[Members, ...] | None = None
    held: tuple[tuple[Kind, str, int], ...] = ()
    since_us: Utc = Utc(0)
    missing: tuple[tuple[Kind, str], ...] = ()

    @property
    def key(self) -> str:
        """What is the same text gives the same answer."""
        held = [f"{kind} {name} {revision}" for kind, name, revision in self.held]
        return "\n".join([*held, *(f"{kind} {name}" for kind, name in self.missing)])

    def takes(self, device: Described, node: str) -> bool:
        """Say whether a device of a node is meant."""
        return (self.groups is None or any(g.has(device, node) for g in self.groups)) and (
            self.areas is None or any(a.has(device.lon, device.lat) for a in self.areas)
        )
