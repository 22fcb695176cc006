"""Inside: which devices of a slice lie in the areas and belong to the groups that a reader has asked for.

What decides is what is known when an event is sent: a device that has moved, or an area that was changed, counts from
then on. Events that are read again, from an older cursor on, are looked at as things are now. An event that is about no
device lies in no area.

Bounds: KEPT answers are kept, for the readers of a slice that ask the same; what an area means is asked again once the
log has grown, and after AGAIN_US at the latest, for one may have begun or ended meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from cloud.feed.events import Slice
from cloud.log.contract import ReadLog
from cloud.records.areas import ReadAreas
from cloud.times import SECOND_US, Now
from cloud.views.contract import ReadViews
from cloud.views.within import Within
from wire.time import Micros, Utc

KEPT: Final = 256
AGAIN_US: Final = Micros(SECOND_US)

Names = tuple[frozenset[str], frozenset[str]]  # areas, groups


class Inside:
    """On the event loop."""

    def __init__(self, areas: ReadAreas, views: ReadViews, log: ReadLog, now: Now) -> None:
        self.areas, self.now = areas, now
        self._views, self._log = views, log
        self._meant: OrderedDict[Names, tuple[int, Utc, Within]] = OrderedDict()
        self._found: OrderedDict[tuple[int, int, Names, str], frozenset[str]] = OrderedDict()

    async def of(self, names: Names, position: int, part: Slice) -> frozenset[str]:
        """The devices of a slice that are meant."""
        devices = {event.device for event in part.events if event.device is not None}
        if not devices:
            return frozenset()
        within = await self._within(names)
        key = (position, part.start, names, within.key)
        if (found := self._found.get(key)) is None:
            node = part.events[0].node  # a record is of one node
            seen = await self._views.described(node, devices)
            found = self._found[key] = frozenset(d.id for d in seen if within.takes(d, node))
            if len(self._found) > KEPT:
                self._found.popitem(last=False)
        return found

    async def _within(self, names: Names) -> Within:
        head, now_us = self._log.reach().head, self.now()
        kept = self._meant.get(names)
        if kept is not None and kept[0] == head and kept[1] <= now_us < kept[1] + AGAIN_US:
            return kept[2]
        within = await self.areas.within(*names, now_us)
        self._meant[names] = head, now_us, within
        self._meant.move_to_end(names)
        if len(self._meant) > KEPT:
            self._meant.popitem(last=False)
        return within
