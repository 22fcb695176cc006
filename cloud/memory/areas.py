"""Areas and groups in memory: a fake for tests."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from cloud.memory.log import MemoryLog
from cloud.problem import or_raise
from cloud.records.area_versions import (
    MAX_BYTES,
    MAX_NAMES,
    Content,
    Held,
    Kind,
    Version,
    Wanted,
    changed_us,
    holding,
    members_of,
    named,
    no_bytes,
    no_names,
    step,
    told,
)
from cloud.views.shapes import Shape, opened
from cloud.views.within import Members, Within
from wire.time import Utc


class MemoryAreas:
    """Lists of versions."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._kept: dict[tuple[Kind, str], list[tuple[Held, Content | None]]] = {}

    async def put(self, kind: Kind, name: str, content: Content | None, wanted: Wanted, by: str) -> Version:
        """See `AreaStore.put`."""
        rows = self._kept.get((kind, name), [])
        done = or_raise(step(f"{kind} {name!r}", [h for h, _ in rows], wanted, ends=content is None))
        names = len(await self.names(kind))
        if content is not None and not rows and names >= MAX_NAMES:
            raise no_names(kind, names)
        taken = sum(len(msgspec.json.encode(c)) for all_ in self._kept.values() for _, c in all_ if c)
        if content is not None and taken + len(msgspec.json.encode(content)) > MAX_BYTES:
            raise no_bytes()
        rows = [
            (msgspec.structs.replace(h, withdrawn=done.revision) if h.revision in done.withdrawn else h, c)
            for h, c in rows
        ]
        held = Held(
            revision=done.revision, from_us=done.from_us, to_us=wanted.to_us, by=by, time_us=wanted.now_us,
            ends=content is None,
        )  # fmt: skip
        self._kept[kind, name] = [*rows, (held, content)]
        await self._log.note([told(kind, name, content, done, wanted, by)])
        return Version(
            name=name, revision=held.revision, from_us=held.from_us, to_us=held.to_us, by=by, time_us=held.time_us,
            content=content,
        )  # fmt: skip

    async def versions(self, kind: Kind, name: str) -> Sequence[Held]:
        """See `AreaStore.versions`."""
        return [held for held, _ in self._kept.get((kind, name), [])]

    async def at(self, kind: Kind, name: str, at_us: Utc) -> Version | None:
        """See `AreaStore.at`."""
        rows = self._kept.get((kind, name), [])
        if (found := holding([h for h, _ in rows], at_us)) is None:
            return None
        held, to_us = found
        return Version(
            name=name, revision=held.revision, from_us=held.from_us, to_us=to_us, by=held.by, time_us=held.time_us,
            content=rows[held.revision - 1][1],
        )  # fmt: skip

    async def page(self, kind: Kind, after: str, limit: int, at_us: Utc) -> tuple[Sequence[Version], str | None]:
        """See `AreaStore.page`."""
        found = [await self.at(kind, name, at_us) for name in await self.names(kind) if name > after]
        held = [version for version in found if version is not None]
        return held[:limit], held[limit - 1].name if len(held) > limit else None

    async def names(self, kind: Kind) -> Sequence[str]:
        """See `AreaStore.names`."""
        return sorted(name for of, name in self._kept if of == kind)

    async def within(self, areas: Collection[str], groups: Collection[str], at_us: Utc) -> Within:
        """See `AreaStore.within`."""
        shapes: list[Shape] = []
        members: list[Members] = []
        held: list[tuple[Kind, str, int]] = []
        missing: list[tuple[Kind, str]] = []
        since_us = Utc(0)
        for kind, name in named(areas, groups):
            since_us = max(since_us, changed_us(await self.versions(kind, name), at_us))
            version = await self.at(kind, name, at_us)
            if version is None or version.content is None:
                missing.append((kind, name))
                continue
            held.append((kind, name, version.revision))
            if kind == "area":
                shapes.append(Shape(opened(bytes(version.content.geometry))))
            else:
                members.append(members_of(version.content))
        return Within(
            areas=tuple(shapes) if areas else None, groups=tuple(members) if groups else None, held=tuple(held),
            since_us=since_us, missing=tuple(missing),
        )  # fmt: skip
