"""The aggregator's own alarms: when they rise, return, are explained by another, and what an operator does with them.

    silent        a node was not heard for three of its Health intervals; returns by itself
    missing       readings of a node are lost: a gap, or an epoch that ended unfinished; stands until acknowledged
    fork          a node's card was rolled back or cloned: readings may be held twice; stands until acknowledged
    city-outage   at least OUTAGE_NODES nodes, and more than half of those heard within RECENT_US, are silent or about
                  to be; the silent alarms of those, and of whoever falls silent after them, are suppressed with its
                  id as cause, until no more than half of them are silent. Who was silent long before has no part

States are those of ISA-18.2 and follow from four things alone: whether the condition holds, whether somebody has
acknowledged, until when it is shelved, and which other alarm explains it. Pure: no clock, no I/O.

Bounds: one alarm a node and rule, and one for the city; a cleared one is kept no longer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from cloud.times import SECOND_US, text
from wire.entries import Alarm, AlarmState, Severity

OUTAGE_NODES: Final = 10
RECENT_US: Final = 3_600 * SECOND_US
CITY: Final = "city"
OUTAGE: Final = "aggregator:city-outage"

Act = Literal["acknowledge", "shelve", "unshelve"]

_SEVERITY: Final[Mapping[str, Severity]] = {
    "silent": "high",
    "missing": "medium",
    "fork": "medium",
    "city-outage": "urgent",
}
_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "silent": ("node {0} is silent since {1}", "le nœud {0} est muet depuis {1}"),
    "missing": ("readings of node {0} are missing: {1}", "des mesures du nœud {0} manquent : {1}"),
    "fork": (
        "node {0} went back to an older state of its card ({1}); readings may be held twice",
        "le nœud {0} a repris un état antérieur de sa carte ({1}) ; des mesures peuvent être en double",
    ),
    "city-outage": (
        "{1} nodes are silent at once: a fault of the network, or ours",
        "{1} nœuds sont muets à la fois : panne du réseau, ou de notre côté",
    ),
}


class Occurrence(msgspec.Struct, frozen=True):
    """Something that has happened to a node once, and does not return by itself."""

    node: str
    rule: Literal["missing", "fork"]
    detail: str
    lost: int = 0


def id_of(rule: str, node: str) -> str:
    """The id of an alarm about a node."""
    return f"aggregator:{rule}:{node}"


def state_of(alarm: Alarm) -> AlarmState:
    """The state that follows from the rest."""
    if alarm.until_us is not None:
        return "shelved"
    if not alarm.active:
        return "cleared" if alarm.acknowledged or alarm.cause else "returned"
    if alarm.cause:
        return "suppressed"
    return "acknowledged" if alarm.acknowledged else "raised"


def changed(alarm: Alarm, now_us: int, **fields: Any) -> Alarm:
    """The alarm after a step, in the state that follows."""
    stepped = msgspec.structs.replace(alarm, time_us=now_us, **fields)
    return msgspec.structs.replace(stepped, state=state_of(stepped))


def acted(alarm: Alarm, act: Act, by: str, now_us: int, until_us: int | None, note: str) -> Alarm:
    """The alarm after what an operator has done."""
    detail = note or alarm.detail
    match act:
        case "acknowledge":
            # What has happened once is over when somebody knows: it stays in the ledger.
            holds = alarm.active and alarm.rule not in {"missing", "fork"}
            return changed(alarm, now_us, acknowledged=True, active=holds, by=by, detail=detail)
        case "shelve":
            return changed(alarm, now_us, until_us=until_us, by=by, detail=detail)
        case "unshelve":
            return changed(alarm, now_us, until_us=None, by=by, detail=detail)


def step(
    alarms: Mapping[str, Alarm],
    silent: Mapping[str, int],
    quiet: Collection[str],
    heard: Mapping[str, int],
    occurred: Iterable[Occurrence],
    now_us: int,
) -> dict[str, Alarm]:
    """The alarms that are other than before, by id: at most one change each.

    `silent` are the nodes that are, with when they were last heard, `quiet` others that are about to be; `heard` all
    nodes that ever were. The first nodes of an outage are silent while the last are not yet: without the quiet ones,
    half of the city would raise alarms of their own before it is one.
    """
    steps = _Steps(alarms, now_us)
    for alarm in alarms.values():
        if alarm.until_us is not None and alarm.until_us <= now_us:
            steps.put(changed(alarm, now_us, until_us=None))
    for once in occurred:
        steps.occurred(once)
    for node, heard_us in silent.items():
        standing = steps.now(id_of("silent", node))
        if standing is None or not standing.active:
            steps.rise("silent", node, text(heard_us))
    for alarm in alarms.values():
        if alarm.rule == "silent" and alarm.active and alarm.device not in silent:
            steps.change(alarm.id, active=False)
    _outage(steps, silent, quiet, heard, now_us)
    return steps.done


class _Steps:
    """Alarms as they were, and as they are after the steps so far."""

    def __init__(self, alarms: Mapping[str, Alarm], now_us: int) -> None:
        self._alarms = alarms
        self._now_us = now_us
        self.done: dict[str, Alarm] = {}
        self.risen: list[str] = []

    def now(self, name: str) -> Alarm | None:
        """An alarm as it is now, if it stands."""
        alarm = self.done.get(name) or self._alarms.get(name)
        return None if alarm is None or alarm.state == "cleared" else alarm

    def suppressed(self) -> list[Alarm]:
        """All silent alarms that hold now and belong to the outage."""
        names = {**self._alarms, **self.done}
        found = [self.now(name) for name in names]
        return [a for a in found if a is not None and a.cause == OUTAGE and a.active]

    def put(self, alarm: Alarm) -> None:
        """This is how it is now."""
        self.done[alarm.id] = alarm

    def change(self, name: str, **fields: Any) -> None:
        """Step an alarm that stands."""
        alarm = self.now(name)
        assert alarm is not None
        self.put(changed(alarm, self._now_us, **fields))

    def rise(self, rule: str, node: str, told: str, **values: int) -> None:
        """Let a condition hold, where it did not."""
        name = OUTAGE if rule == "city-outage" else id_of(rule, node)
        standing = self.now(name)
        if standing is not None and standing.active:
            return
        en, fr = (t.format(node, told) for t in _TEXTS[rule])
        raised = Alarm(
            id=name,
            device=node,
            rule=rule,
            severity=_SEVERITY[rule],
            state="raised",
            raised_us=self._now_us,
            time_us=self._now_us,
            detail=told,
            text={"en": en, "fr": fr},
            values=values,
            until_us=None if standing is None else standing.until_us,  # who has shelved it has shelved it
        )
        self.put(msgspec.structs.replace(raised, state=state_of(raised)))
        self.risen.append(name)

    def occurred(self, once: Occurrence) -> None:
        """Raise what has happened; add to what stands."""
        name = id_of(once.rule, once.node)
        standing = self.now(name)
        before = 0 if standing is None else standing.values.get("lost", 0)
        times = 0 if standing is None else standing.values.get("times", 0)
        assert isinstance(before, int)
        assert isinstance(times, int)
        values = {"times": times + 1, "lost": min(2**53, before + once.lost)}
        self.rise(once.rule, once.node, once.detail, **values)
        if standing is not None:
            self.change(name, values=values, detail=once.detail)


def _outage(
    steps: _Steps, silent: Mapping[str, int], quiet: Collection[str], heard: Mapping[str, int], now_us: int
) -> None:
    """Raise, keep or end the one alarm for all, and let it explain the others."""
    outage = steps.now(OUTAGE)
    if outage is None or not outage.active:
        recent = [n for n, heard_us in heard.items() if heard_us >= now_us - RECENT_US]
        fallen = [n for n in recent if n in silent]
        count = len(fallen) + sum(n in quiet for n in recent)
        if not fallen or count < OUTAGE_NODES or 2 * count <= len(recent):
            return
        steps.rise("city-outage", CITY, str(count), nodes=count)
        for node in fallen:
            steps.change(id_of("silent", node), cause=OUTAGE)
        return
    for name in steps.risen:
        alarm = steps.now(name)
        if alarm is not None and alarm.rule == "silent":
            steps.change(name, cause=OUTAGE)
    held = len(steps.suppressed()) + len(quiet)
    most = outage.values.get("nodes", 0)
    assert isinstance(most, int)
    if 2 * held <= most:
        steps.change(OUTAGE, active=False)
        for alarm in steps.suppressed():
            steps.change(alarm.id, cause="")
    elif held > most:
        steps.change(OUTAGE, values={"nodes": held})
