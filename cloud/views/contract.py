"""Views: what is asked of the store. Idempotent by position: dropped and built again, they answer the same.

    apply      a batch at its position; one that was applied before changes nothing
    fresh      a snapshot: touches `latest` and nothing else, until the log has caught up with it
    nodes, node, devices, device, readings, alarms, results, visits   what the API answers
    latest     the newest of all devices, or of a part of them
    targets, near   which devices an order is for

`latest` is the greatest measured time, never the last arrival. Estimated times are corrected by the boot's clock
fix when they are read. Bounds: a page has at most MAX_PAGE nodes or devices, or MAX_ROWS samples.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from cloud.log.batch_facts import BatchFacts
from cloud.log.notices import Finding
from cloud.views.answers import CityLatest, DeviceDetail, DeviceSeen, DevicesPage, NodeDetail, NodesPage, ReadingsPage
from cloud.views.within import Within
from wire.batch import Batch, Snapshot
from wire.device import Device, Point
from wire.entries import Alarm, Result, Visit
from wire.time import Micros, Utc

MAX_PAGE: Final = 1_000
MAX_ROWS: Final = 5_000
MAX_DEVICES_SHOWN: Final = 10_000
MAX_ALARMS_SHOWN: Final = 200
SILENT_INTERVALS: Final = 3
DEFAULT_INTERVAL_S: Final = 60.0

Box = tuple[float, float, float, float]  # west, south, east, north, in WGS 84 degrees


class ReadingsAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A page of one device's samples: from_us ≤ time < to_us, only of these points (none: all), after a cursor."""

    device: str
    node: str | None = None
    points: tuple[str, ...] = ()
    from_us: Utc
    to_us: Utc
    cursor: str | None = None
    limit: int


class AlarmsAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the nodes' alarms by node and id, after one; the standing ones where no states are named."""

    node: str | None = None
    device: str | None = None
    states: frozenset[str] = frozenset()
    severities: frozenset[str] = frozenset()
    id: str | None = None
    after: tuple[str, str] = ("", "")
    limit: int

    def takes(self, alarm: Alarm) -> bool:
        """Say whether an alarm is asked for, its node and id aside."""
        return (
            (alarm.state in self.states if self.states else alarm.state != "cleared")
            and self.device in {None, alarm.device}
            and (not self.severities or alarm.severity in self.severities)
        )


class TargetsAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Which devices are meant: those named, or, where `devices` is None, all in rosters that have all that is said."""

    devices: tuple[str, ...] | None = None
    kind: str | None = None
    profile: str | None = None
    tag: str | None = None
    node: str | None = None
    box: Box | None = None
    within: Within | None = None

    def takes(self, device: Device, node: str) -> bool:
        """Say whether a device of a node has what is said."""
        return (
            self.kind in {None, device.kind}
            and self.profile in {None, device.profile}
            and (self.tag is None or self.tag in device.tags)
            and self.node in {None, node}
            and (self.box is None or inside(self.box, device.lon, device.lat))
            and (self.within is None or self.within.takes(device, node))
        )


class LatestAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Which devices, and which of their points (none named: all); every condition that is given must hold. `after` is a
    position of the log: at least those about which something has changed since, also where they are not meant now."""

    kinds: frozenset[str] = frozenset()
    profiles: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    points: frozenset[str] = frozenset()
    grades: frozenset[str] = frozenset()
    box: Box | None = None
    within: Within | None = None
    alarm: bool | None = None
    after: int | None = None
    decided: bool = False  # who decides its writable points is told, too, and counts as a change
    levels: frozenset[str] = frozenset()  # only devices of which one of these decides a point

    @property
    def asks_who(self) -> bool:
        """Whether who decides has to be known for the answer."""
        return self.decided or bool(self.levels)

    def describes(self, device: DeviceSeen) -> bool:
        """Say whether a device is meant, by what its roster says of it."""
        return (
            (not self.kinds or device.kind in self.kinds)
            and (not self.profiles or device.profile in self.profiles)
            and (not self.tags or not self.tags.isdisjoint(device.tags))
            and (not self.nodes or device.node in self.nodes)
            and (self.box is None or inside(self.box, device.lon, device.lat))
            and (self.within is None or self.within.takes(device, device.node))
        )


class KnownDevice(msgspec.Struct, frozen=True, gc=False):
    """A device, the node that it belongs to, and its points; `described` is None while no roster names it."""

    id: str
    node: str
    described: Device | None
    points: tuple[Point, ...]


class VisitAt(msgspec.Struct, frozen=True):
    """What a node has said of a visit, and where that stands: its batch's position, its seq."""

    position: int
    seq: int
    visit: Visit


class Fix(msgspec.Struct, frozen=True, gc=False):
    """What to add to the estimated times of a boot."""

    offset_us: Micros
    error_us: Micros


def inside(box: Box, lon: float | None, lat: float | None) -> bool:
    """Say whether a place lies in a bounding box, its edges too."""
    if lon is None or lat is None:
        return False
    west, south, east, north = box
    return south <= lat <= north and (west <= lon <= east if west <= east else lon >= west or lon <= east)


class LatestViews(Protocol):
    """The newest of many devices at once."""

    def latest_mark(self) -> str:
        """What is another text whenever an answer of `latest` may be another one, time aside."""
        ...

    async def latest(self, asked: LatestAsked) -> CityLatest:
        """The newest of the devices that are meant, each under its owner."""
        ...


class ReadViews(LatestViews, Protocol):
    """What the API is handed."""

    async def names(self) -> Sequence[str]:
        """The names of all nodes, in order."""
        ...

    async def nodes(self, after: str, limit: int) -> NodesPage:
        """Nodes by name, after one."""
        ...

    async def node(self, name: str) -> NodeDetail | None:
        """One node, or None when nothing was ever heard of it."""
        ...

    async def devices(self, after: str, limit: int, kind: str | None, node: str | None) -> DevicesPage:
        """Devices by id, after one."""
        ...

    async def device(self, device: str, node: str | None) -> DeviceDetail | None:
        """One device under its node, or under the node asked for."""
        ...

    async def readings(self, asked: ReadingsAsked) -> ReadingsPage | None:
        """A page of samples, or None when there is no such device.

        Raises:
            ValueError: the cursor is not one of ours.
        """
        ...

    async def alarms(self, asked: AlarmsAsked) -> tuple[Sequence[tuple[str, Alarm]], tuple[str, str] | None]:
        """Alarms with their nodes, and where to go on, or None. May be fewer than the limit."""
        ...

    async def results(self, orders: Sequence[str]) -> Mapping[str, Sequence[tuple[str, Result]]]:
        """What was said of each order, with the node that said it: each stage once, as first said, in that order."""
        ...

    async def visits(self, node: str, before: tuple[int, int], limit: int, *, acted: bool = True) -> Sequence[VisitAt]:
        """What a node has said of visits, the newest first, from before a position and seq on; without what was done
        there where `acted` says so."""
        ...

    async def targets(self, asked: TargetsAsked, limit: int) -> Sequence[KnownDevice]:
        """The devices that are meant, by id; those that are not known are left out. At most one beyond the limit."""
        ...

    async def near(self, device: str) -> str | None:
        """The known device whose id is nearest to one that is not known, if any is near."""
        ...

    async def described(self, node: str, devices: Collection[str] | None) -> Sequence[DeviceSeen]:
        """Those of these devices that a node has named, all where None, as its roster describes them, whoever else has
        them."""
        ...

    async def kinds(self, node: str) -> Mapping[str, str]:
        """The kind of each device in a node's roster."""
        ...

    async def fixes(self, node: str) -> Mapping[int, Fix]:
        """The clock fixes of a node, by boot."""
        ...


class Views(ReadViews, Protocol):
    """The same, as they are kept."""

    async def apply(self, position: int, received_us: Utc, batch: Batch, facts: BatchFacts) -> Sequence[Finding]:
        """Take in a batch, and return what to announce about it."""
        ...

    async def fresh(self, snapshot: Snapshot) -> None:
        """Take in a snapshot."""
        ...
