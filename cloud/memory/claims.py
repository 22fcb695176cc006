"""Claims in memory: a fake for tests. Who holds a device is decided in `cloud.memory.views`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from cloud.log.notices import Finding
from cloud.memory.log import MemoryLog
from cloud.memory.views import MemoryViews
from cloud.records.claims import (
    CONFLICTS,
    MAX_ASSIGNED,
    PAIRS,
    Assignment,
    AssignmentsPage,
    never_heard,
    no_room,
    not_assigned,
)
from cloud.times import text
from wire.time import Utc


class MemoryClaims:
    """Keeps the assignments, and lets the views know."""

    def __init__(self, log: MemoryLog, views: MemoryViews) -> None:
        self._log = log
        self._views = views
        self._made: dict[str, Assignment] = {}

    async def assign(self, device: str, node: str | None, by: str, now_us: Utc) -> Assignment:
        """See `Claims.assign`."""
        made = Assignment(device=device, node=node, by=by, time=text(now_us), time_us=now_us)
        if node is None:
            if self._made.pop(device, None) is None:
                raise not_assigned(device)
            del self._views.assigned[device]
        elif node not in await self._views.names():
            raise never_heard(node)
        elif device not in self._made and len(self._made) >= MAX_ASSIGNED:
            raise no_room(len(self._made))
        else:
            self._made[device], self._views.assigned[device] = made, node
        told = node or next(iter(self._views.owners(device)), "")
        detail = {"device": device, "assigned_to": node, "by": by}
        await self._log.note([Finding(node=told, kind="assigned", time_us=now_us, detail=detail)])
        return made

    async def page(self, after: str, limit: int) -> AssignmentsPage:
        """See `Claims.page`."""
        devices = sorted(d for d in self._made if d > after)
        found = tuple(self._made[d] for d in devices[:limit])
        return AssignmentsPage(assignments=found, next=devices[limit - 1] if len(devices) > limit else None)

    async def bar(self, nodes: Collection[str]) -> None:
        """See `Claims.bar`."""
        self._views.barred = frozenset(nodes)

    async def doubled(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """See `Claims.doubled`."""
        pairs: dict[tuple[str, str], list[str]] = {}
        holds = [(d, self._views.owners(d)) for d in sorted(self._views.known())]
        for device, nodes in [h for h in holds if len(h[1]) > 1][:CONFLICTS]:
            for other in nodes[1:]:
                if (nodes[0], other) in pairs or len(pairs) < PAIRS:
                    pairs.setdefault((nodes[0], other), []).append(device)
        return pairs
