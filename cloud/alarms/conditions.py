"""Conditions of nodes that others have seen, as the aggregator's own alarms need them: conflicts, quotas. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from cloud.alarms.own_alarms import StandingCondition, id_of
from cloud.alarms.own_texts import Texts
from cloud.entrance.quota import Over

SHOWN: Final = 3


def conflicts(doubled: Mapping[tuple[str, str], Sequence[str]]) -> dict[str, StandingCondition]:
    """A condition for each two nodes that hold the same devices, by the id of its alarm."""
    return {c.id: c for (owner, other), devices in doubled.items() if (c := _conflict(owner, other, devices))}


def _conflict(owner: str, other: str, devices: Sequence[str]) -> StandingCondition:
    more = len(devices) - SHOWN
    named = ", ".join(devices[:SHOWN])
    texts: Texts = {
        "en": f"{owner} and {other} both name {named}{f' and {more} more' if more > 0 else ''}: orders go to {owner},"
        " until an operator assigns the device",
        "fr": f"{owner} et {other} nomment tous deux {named}{f' et {more} autres' if more > 0 else ''} : les ordres"
        f" vont à {owner}, tant qu'un opérateur n'a pas attribué l'appareil",
    }
    values = {"devices": len(devices), "owner": owner, "other": other}
    return StandingCondition(f"aggregator:conflict:{owner}:{other}", owner, "conflict", texts, values)


def over_quota(nodes: Mapping[str, Over]) -> dict[str, StandingCondition]:
    """A condition for each node that was refused lately, by the id of its alarm."""
    found: dict[str, StandingCondition] = {}
    for node, over in nodes.items():
        texts: Texts = {
            "en": f"{node} sends more than it may: its quota of {over.a_day:,.0f} {over.what} a day is used up; it"
            " keeps what is not taken",
            "fr": f"{node} envoie plus que permis : son quota journalier ({over.a_day:,.0f} {over.what}) est"
            " épuisé ; il garde ce qui n'est pas pris",
        }
        name = id_of("quota", node)
        found[name] = StandingCondition(name, node, "quota", texts, {"a_day": over.a_day})
    return found
