"""Conflicts: two nodes that name the same devices, as conditions for the aggregator's own alarms. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from cloud.alarms.own_alarms import Condition
from cloud.alarms.own_texts import Texts

SHOWN: Final = 3


def conflicts(doubled: Mapping[tuple[str, str], Sequence[str]]) -> dict[str, Condition]:
    """A condition for each two nodes that hold the same devices, by the id of its alarm."""
    return {c.id: c for (owner, other), devices in doubled.items() if (c := _conflict(owner, other, devices))}


def _conflict(owner: str, other: str, devices: Sequence[str]) -> Condition:
    more = len(devices) - SHOWN
    named = ", ".join(devices[:SHOWN])
    texts: Texts = {
        "en": f"{owner} and {other} both name {named}{f' and {more} more' if more > 0 else ''}: orders go to {owner},"
        " until an operator assigns the device",
        "fr": f"{owner} et {other} nomment tous deux {named}{f' et {more} autres' if more > 0 else ''} : les ordres"
        f" vont à {owner}, tant qu'un opérateur n'a pas attribué l'appareil",
    }
    values = {"devices": len(devices), "owner": owner, "other": other}
    return Condition(f"aggregator:conflict:{owner}:{other}", owner, "conflict", texts, values)
