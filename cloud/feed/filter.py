"""Filter: what a reader of the feed wants; every condition that is given must hold. Pure.

Two questions are answered: whether a record may hold something wanted, from its outline alone, and whether an event is
wanted. The first is asked of each record and each reader, so it is one comparison of numbers.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from cloud.feed.events import Encoded
from cloud.log.outline import ALL_TYPES, READING, bits
from wire.entries import Severity

FRESH: Final = "fresh"  # no record holds such an event
OF_DEVICES: Final = bits("reading", "alarm", "mark", "order", "result", "visit")  # types that are about a device
OF_POINTS: Final = bits("reading", "order", "result")

Names = tuple[frozenset[str], frozenset[str]]  # areas, groups
NOWHERE: Final[Names] = (frozenset(), frozenset())


class Filter(msgspec.Struct, frozen=True):
    """What a reader wants; an empty set means all. `holds` is made of the others: see `filtered`."""

    types: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    points: frozenset[str] = frozenset()
    severities: frozenset[Severity] = frozenset()
    places: Names = NOWHERE
    holds: int = ALL_TYPES
    severe: int = 0

    @property
    def readings(self) -> bool:
        """Whether any reading could be wanted."""
        return bool(self.holds & READING)

    @property
    def by_device(self) -> bool:
        """Whether only what is about some devices is wanted."""
        return bool(self.devices or self.kinds or any(self.places))

    def may(self, node: str, holds: int) -> bool:
        """Whether a record of a node, or of none or an unknown one, may hold something wanted."""
        return bool(
            self.holds & holds
            and (not self.severe or self.severe & holds)
            and (not self.nodes or not node or node in self.nodes)
        )

    def only_readings(self, holds: int) -> bool:
        """Whether all that could be wanted of a record are its readings."""
        return self.holds & holds == READING

    def takes(self, event: Encoded, inside: Collection[str] | None) -> bool:
        """Say whether an event is wanted; `inside` are the devices that its areas and groups mean, None for all."""
        return (
            (inside is None or event.device in inside)
            and (not self.types or event.type in self.types)
            and (not self.kinds or event.kind in self.kinds)
            and (not self.nodes or event.node in self.nodes)
            and (not self.devices or event.device in self.devices)
            and (not self.severities or event.severity in self.severities)
            and (not self.points or not self.points.isdisjoint(event.points))
        )


def filtered(given: Filter) -> Filter:
    """The same, with the bits of an outline that matter."""
    holds = bits(*(given.types - {FRESH})) if given.types else ALL_TYPES
    if given.by_device:
        holds &= OF_DEVICES
    if given.points:
        holds &= OF_POINTS
    if given.severities:
        holds &= bits("alarm")
    return msgspec.structs.replace(given, holds=holds, severe=bits(*given.severities))
