"""Views: what is asked of the store. Idempotent by position: dropped and built again, they answer the same.

    apply      a batch at its position; one that was applied before changes nothing
    fresh      a snapshot: touches `latest` and nothing else, until the log has caught up with it
    nodes, node, devices, device, readings   what the API answers

`latest` is the greatest measured time, never the last arrival. Estimated times are corrected by the boot's clock
fix when they are read. Bounds: a page has at most MAX_PAGE nodes or devices, or MAX_ROWS samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from cloud.answers import DeviceDetail, DevicesPage, NodeDetail, NodesPage, ReadingsPage
from cloud.facts import Facts
from cloud.findings import Finding
from wire.batch import Batch, Snapshot

MAX_PAGE: Final = 1_000
MAX_ROWS: Final = 5_000
MAX_DEVICES_SHOWN: Final = 10_000
MAX_ALARMS_SHOWN: Final = 200
SILENT_INTERVALS: Final = 3
DEFAULT_INTERVAL_S: Final = 60.0


class ReadingsAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A page of one device's samples: from_us ≤ time < to_us, only of these points (none: all), after a cursor."""

    device: str
    node: str | None = None
    points: tuple[str, ...] = ()
    from_us: int
    to_us: int
    cursor: str | None = None
    limit: int


class Fix(msgspec.Struct, frozen=True, gc=False):
    """What to add to the estimated times of a boot."""

    offset_us: int
    error_us: int


class Views(Protocol):
    """What the API is handed."""

    async def apply(self, position: int, received_us: int, batch: Batch, facts: Facts) -> Sequence[Finding]:
        """Take in a batch, and say what is worth telling about it."""
        ...

    async def fresh(self, snapshot: Snapshot) -> None:
        """Take in a snapshot."""
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

    async def kinds(self, node: str) -> Mapping[str, str]:
        """The kind of each device in a node's roster."""
        ...

    async def fixes(self, node: str) -> Mapping[int, Fix]:
        """The clock fixes of a node, by boot."""
        ...
