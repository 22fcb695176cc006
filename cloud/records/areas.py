"""Areas and groups: polygons on the map and lists of devices that operators keep under a name, used alike by queries,
the feed's filters and orders. A group is a list of ids, or all devices that have what its selector says.

Each has versions with a beginning and perhaps an end, so that a question about the past is asked of what held then;
the rules are in `cloud.records.area_versions`. Who made which version and when is truth that no rebuild drops, and is
told in the feed. Nothing is forgotten: at most MAX_NAMES areas and as many groups are kept, MAX_VERSIONS of each,
MAX_BYTES of all together. A group lists MAX_MEMBERS devices at most.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from cloud.records.area_versions import Content, Held, Kind, Version, Wanted
from cloud.views.within import Within
from wire.time import Utc


class ReadAreas(Protocol):
    """Every method raises `cloud.log.contract.Unavailable` when the store does not answer."""

    async def versions(self, kind: Kind, name: str) -> Sequence[Held]:
        """All versions of one, by revision; none where there never was one."""
        ...

    async def at(self, kind: Kind, name: str, at_us: Utc) -> Version | None:
        """The version that holds at a moment, or None."""
        ...

    async def page(self, kind: Kind, after: str, limit: int, at_us: Utc) -> tuple[Sequence[Version], str | None]:
        """Those that hold at a moment, by name, after one; and where to go on, or None."""
        ...

    async def names(self, kind: Kind) -> Sequence[str]:
        """All names that there ever were."""
        ...

    async def within(self, areas: Collection[str], groups: Collection[str], at_us: Utc) -> Within:
        """What says of a device whether it lies in one of the areas and belongs to one of the groups, as they were at a
        moment. A name that does not hold then is in `Within.missing`."""
        ...


class AreaStore(ReadAreas, Protocol):
    """What keeps them."""

    async def put(self, kind: Kind, name: str, content: Content | None, wanted: Wanted, by: str) -> Version:
        """Keep a new version from a moment on, or with None end what there is, and announce it in the feed.

        Raises:
            Unavailable: nothing was changed.
            Problem: 412 or 428 for another revision than was expected, 404 or 422 where it cannot be, or has no room.
        """
        ...
