"""Inside: which devices of a node a reader of the feed means by areas, groups, kinds and ids.

What decides is what is known when an event is sent: a device that has moved, or an area that was changed, counts from
then on. Events that are read again, from an older cursor on, are looked at as things are now. An event that is about no
device lies in no area.

Bounds: KEPT answers are kept, for the readers that ask the same of a node; what areas and groups mean is asked again
when one was changed, and after AGAIN_US at the latest, for one may have begun or ended meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from cloud.feed.filter import Filter, Names
from cloud.feed.known import NodesKnown
from cloud.records.areas import ReadAreas
from cloud.times import SECOND_US, Now
from cloud.views.within import Within
from wire.time import Micros, Utc

KEPT: Final = 50_000
KEPT_NAMES: Final = 1_000
AGAIN_US: Final = Micros(SECOND_US)

_Key = tuple[Names, frozenset[str], frozenset[str], str]  # areas and groups, kinds, devices, which versions hold


class Inside:
    """On the event loop."""

    def __init__(self, areas: ReadAreas, known: NodesKnown, now: Now) -> None:
        self.areas, self.now = areas, now
        self._known = known
        self._within_: OrderedDict[Names, tuple[Utc, Within]] = OrderedDict()
        self._found: OrderedDict[str, dict[_Key, frozenset[str]]] = OrderedDict()  # by node
        self._count = 0
        self._news = 0

    def nothing(self, wanted: Filter, node: str) -> bool:
        """Whether it is known, as of lately, that no device of a node is meant."""
        meant = self._within_.get(wanted.places)
        if meant is None and any(wanted.places):
            return False
        key = (wanted.places, wanted.kinds, wanted.devices, "" if meant is None else meant[1].key)
        found = self._found.get(node, {}).get(key)
        return found is not None and not found

    async def of(self, wanted: Filter, node: str) -> frozenset[str]:
        """The devices of a node that are meant, of those that it has named."""
        within = await self._within(wanted.places) if any(wanted.places) else None
        key = (wanted.places, wanted.kinds, wanted.devices, "" if within is None else within.key)
        if (found := self._found.get(node, {}).get(key)) is not None:
            return found
        news = self._news
        found = frozenset(
            device.id
            for device in await self._known.described(node)
            if (not wanted.devices or device.id in wanted.devices)
            and (not wanted.kinds or device.kind in wanted.kinds)
            and (within is None or within.takes(device, node))
        )
        if news == self._news:
            of_node = self._found.setdefault(node, {})
            self._count += key not in of_node
            of_node[key] = found
            while self._count > KEPT:
                self._count -= len(self._found.popitem(last=False)[1])
        return found

    def forget(self, node: str) -> None:
        """What a node has may be another; of all where none is named."""
        self._news += 1
        if node:
            self._count -= len(self._found.pop(node, {}))
        else:
            self._found.clear()
            self._count = 0

    def changed(self) -> None:
        """Areas or groups were changed."""
        self._within_.clear()

    async def _within(self, names: Names) -> Within:
        now_us = self.now()
        kept = self._within_.get(names)
        if kept is not None and kept[0] <= now_us < kept[0] + AGAIN_US:
            return kept[1]
        within = await self.areas.within(*names, now_us)
        self._within_[names] = now_us, within
        self._within_.move_to_end(names)
        if len(self._within_) > KEPT_NAMES:
            self._within_.popitem(last=False)
        return within
