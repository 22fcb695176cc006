"""Counting: which of the changes count, and what is said of those that do not. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from drivers.tables import Problem
from edge.changes.versions import DeviceChange, ListVersions

_PLACE = re.compile(r"\bdevice\[(\d{1,5})\]")


class DeviceList(msgspec.Struct, frozen=True, kw_only=True):
    """What technicians have made of the list in the file. `counting` are the changes that count; for those that are
    `void` the file says something else by now, `unfit` ones do not go with it any more. `unusable` says why nothing
    that is kept can be read."""

    versions: ListVersions = ListVersions()
    counting: tuple[DeviceChange, ...] = ()
    void: tuple[DeviceChange, ...] = ()
    unfit: tuple[DeviceChange, ...] = ()
    unusable: str = ""

    def told(self) -> list[str]:
        """A sentence for each change that does not count."""
        found = (
            [f"{self.unusable}: what technicians have changed of the devices does not count"] if self.unusable else []
        )
        for changes, why in (
            (self.void, "the file says something else of it by now, and counts"),
            (self.unfit, "it does not go with the file any more"),
        ):
            found += [f"{c.device} was {self.made(c)}; that does not count: {why}" for c in changes]
        return found

    def made(self, change: DeviceChange) -> str:
        """What was done and by whom, in English."""
        version = self.versions.made(change)
        if version is None:
            return "changed at the cabinet"
        return f"{version.act} at the cabinet by {version.by}"


def at_fault(problems: Iterable[Problem], devices: Sequence[str]) -> set[str]:
    """The devices that problems are about, by the places that they name."""
    places = {int(n) for p in problems for n in _PLACE.findall(f"{p.key} {p.text}")}
    return {devices[n] for n in places if n < len(devices)}
