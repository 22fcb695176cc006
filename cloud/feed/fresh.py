"""Fresh: what snapshots say, told at once to whoever reads the feed now, while what the log brings is still on its way.

An event `fresh` has no place in the log, so it has no cursor: it is not told again to who comes later, the same
measurement may come again, and comes as a `reading` in any case. Of two that speak of the same device the later
measured counts. Told is what is later than all that is known of the device.

Bounds: WAITING devices wait to be told, the newest of each, while there is a reader; KEPT events are kept for readers
that are writing something else; one that is farther behind is told what is left.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from cloud.api.routes import LOG
from cloud.feed.events import Encoded, fresh_event
from cloud.feed.known import NodesKnown
from cloud.log.contract import Unavailable
from cloud.times import Now
from cloud.views.latest import Cells

WAITING: Final = 50_000
KEPT: Final = 10_000

Key = tuple[str, str]  # node, device


class FreshOf(msgspec.Struct, frozen=True):
    """What was told of a node at once."""

    node: str
    events: tuple[Encoded, ...]


class Fresh:
    """On the event loop."""

    def __init__(self, known: NodesKnown, now: Now, wake: Callable[[], object]) -> None:
        self._known, self._now, self._wake = known, now, wake
        self._waiting: dict[str, dict[str, Cells]] = {}  # by node and device
        self._count = 0
        self._told: deque[FreshOf] = deque()
        self._kept = 0
        self._through = 0
        self._making: asyncio.Task[None] | None = None

    @property
    def through(self) -> int:
        """How many were told so far."""
        return self._through

    def came(self, cells: Mapping[Key, Cells]) -> None:
        """Snapshots have said this, which is later than all that is known."""
        for (node, device), found in cells.items():
            of_node = self._waiting.setdefault(node, {})
            if device in of_node or self._count < WAITING:
                self._count += device not in of_node
                of_node[device] = found
        if self._making is None:
            self._making = asyncio.get_running_loop().create_task(self._make())

    def after(self, count: int) -> Sequence[FreshOf]:
        """What was told after so many, as far as it is kept."""
        new = self._through - count
        return list(self._told)[-new:] if new > 0 else ()

    async def _make(self) -> None:
        try:
            while self._waiting:
                node, devices = self._waiting.popitem()
                self._count -= len(devices)
                known, now_us = await self._known.of(node), self._now()
                found = [fresh_event(node, device, cells, known, now_us) for device, cells in devices.items()]
                if events := tuple(event for event in found if event is not None):
                    self._told.append(FreshOf(node, events))
                    self._kept += len(events)
                    self._through += 1
                    while self._kept > KEPT and len(self._told) > 1:
                        self._kept -= len(self._told.popleft().events)
                    self._wake()
        except Unavailable as error:  # they come as readings
            LOG.warning("what snapshots say could not be told at once: %s", error)
        finally:
            self._making = None
