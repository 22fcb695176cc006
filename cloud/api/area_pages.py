"""Area pages: how areas, groups and their versions are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cloud.records.area_versions import GroupSelector, Held, Version
from cloud.times import text
from cloud.views.shapes import opened
from wire.time import Utc


class VersionSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A version: from when on, its own end where it has one, who made it when. `ended`: it is an end itself.
    `withdrawn` is the revision that took its place before it began."""

    revision: int
    valid_from: str
    valid_to: str | None
    by: str
    time: str
    ended: bool
    withdrawn: int | None


class _Holding(msgspec.Struct, frozen=True, kw_only=True):
    """What holds at a moment: from when on, until when where that is known; who made it when."""

    id: str
    revision: int
    name: str
    note: str
    valid_from: str
    valid_from_us: Utc
    valid_to: str | None
    valid_to_us: Utc | None
    by: str
    time: str
    time_us: Utc


class AreaSeen(_Holding, frozen=True, kw_only=True):
    """An area; `bbox` is west, south, east, north. In a list its geometry is null."""

    bbox: tuple[float, float, float, float]
    vertices: int
    geometry: msgspec.Raw | None


class GroupSeen(_Holding, frozen=True, kw_only=True):
    """A group; `listed` is how many devices its list has. In a list the ids are null."""

    listed: int
    devices: tuple[str, ...] | None
    selector: GroupSelector | None


class AreaFound(msgspec.Struct, frozen=True, kw_only=True):
    """What holds at the moment that was asked for, null where none does; and all versions, by revision."""

    id: str
    revision: int
    area: AreaSeen | None
    versions: tuple[VersionSeen, ...]


class GroupFound(msgspec.Struct, frozen=True, kw_only=True):
    """What holds at the moment that was asked for, null where none does; and all versions, by revision."""

    id: str
    revision: int
    group: GroupSeen | None
    versions: tuple[VersionSeen, ...]


class AreasPage(msgspec.Struct, frozen=True, kw_only=True):
    """Areas; `next` goes into `cursor` for the page after it."""

    areas: tuple[AreaSeen, ...]
    next: str | None


class GroupsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Groups; `next` goes into `cursor` for the page after it."""

    groups: tuple[GroupSeen, ...]
    next: str | None


def area_seen(version: Version, *, whole: bool) -> AreaSeen:
    """An area, with its geometry or without."""
    content = version.content
    assert content is not None
    geometry = opened(bytes(content.geometry))
    shown = content.geometry if whole else None
    return AreaSeen(**_common(version), bbox=geometry.bounds, vertices=geometry.vertices, geometry=shown)


def group_seen(version: Version, *, whole: bool) -> GroupSeen:
    """A group, with the ids of its list or without."""
    content = version.content
    assert content is not None
    listed = len(content.devices or ())
    return GroupSeen(
        **_common(version), listed=listed, devices=content.devices if whole else None, selector=content.selector
    )


def versions_seen(held: Sequence[Held]) -> tuple[VersionSeen, ...]:
    """All versions."""
    return tuple(
        VersionSeen(
            revision=h.revision,
            valid_from=text(h.from_us),
            valid_to=None if h.to_us is None else text(h.to_us),
            by=h.by,
            time=text(h.time_us),
            ended=h.ends,
            withdrawn=h.withdrawn,
        )
        for h in held
    )


def _common(version: Version) -> dict[str, Any]:
    content = version.content
    assert content is not None
    return {
        "id": version.name,
        "revision": version.revision,
        "name": content.label,
        "note": content.note,
        "valid_from": text(version.from_us),
        "valid_from_us": version.from_us,
        "valid_to": None if version.to_us is None else text(version.to_us),
        "valid_to_us": version.to_us,
        "by": version.by,
        "time": text(version.time_us),
        "time_us": version.time_us,
    }
