"""The aggregator's own alarms: when they rise, return, are explained by another, and what an operator does with them.

    silent        a node was not heard for three of its Health intervals; returns by itself when it is heard, and is
                  cleared once somebody has acknowledged it
    missing       readings of a node are lost: a gap, or an epoch that ended unfinished; stands until acknowledged
    fork          a node's card was rolled back or cloned: readings may be held twice; stands until acknowledged
    conflict      two nodes hold the same devices; returns by itself when one gives them up, or an operator assigns them
    quota         a node was refused for its quota; returns by itself when it was not for a while
    history       history cannot be folded; returns by itself when it can
    disk          the disk is full in some days; returns by itself when it is not
    city-outage   at least OUTAGE_NODES nodes, and more than half of those heard within RECENT_US, are silent or about
                  to be; the silent alarms of those, and of whoever falls silent after them, are suppressed with its
                  id as cause, until no more than half of them are silent. Who was silent long before has no part

States are those of ISA-18.2 and follow from four things alone: whether the condition holds, whether somebody has
acknowledged, until when it is shelved, and which other alarm explains it. The words are in `cloud.alarms.own_texts`.
Pure: no clock, no I/O.

Bounds: one alarm a node and rule, of conflicts one for two nodes (`cloud.records.claims`), and one for the city; a
cleared one is kept no longer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from cloud.alarms import own_texts
from cloud.alarms.own_texts import Texts
from cloud.times import SECOND_US
from wire.entries import Alarm, AlarmState, Severity
from wire.sample import Value
from wire.time import Micros, Utc

OUTAGE_NODES: Final = 10
RECENT_US: Final = Micros(3_600 * SECOND_US)
CITY: Final = "city"
OUTAGE: Final = "aggregator:city-outage"
SINCE: Final = "since_us"  # among the values of a silent alarm: when its node was last heard

Act = Literal["acknowledge", "shelve", "unshelve"]

_SEVERITY: Final[Mapping[str, Severity]] = {
    "silent": "high",
    "missing": "medium",
    "fork": "medium",
    "city-outage": "urgent",
    "conflict": "high",
    "quota": "medium",
    "history": "low",
    "disk": "medium",
}
LASTING: Final = frozenset({"conflict", "quota", "history", "disk"})  # rules of conditions


class StandingCondition(msgspec.Struct, frozen=True):
    """Something that holds of a node, or of the city, now, and returns by itself. `id` is that of its alarm."""

    id: str
    node: str
    rule: Literal["conflict", "quota", "history", "disk"]
    why: Texts
    values: Mapping[str, Value]


class Occurrence(msgspec.Struct, frozen=True):
    """Something that has happened to a node once, and does not return by itself."""

    node: str
    rule: Literal["missing", "fork"]
    why: Texts  # the reason of what is missing; between which times readings may be held twice
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


def changed(alarm: Alarm, now_us: Utc, **fields: Any) -> Alarm:
    """The alarm after a step, in the state that follows."""
    stepped = msgspec.structs.replace(alarm, time_us=now_us, **fields)
    return msgspec.structs.replace(stepped, state=state_of(stepped))


def reworded(alarm: Alarm, texts: Texts) -> dict[str, Any]:
    """The fields that new words change: all that say them, but not a note that somebody wrote."""
    return {"text": texts, "detail": texts["en"] if alarm.detail == alarm.text.get("en", "") else alarm.detail}


def acted(alarm: Alarm, act: Act, by: str, now_us: Utc, until_us: Utc | None, note: str) -> Alarm:
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
    silent: Mapping[str, Utc],
    quiet: Collection[str],
    heard: Mapping[str, Utc],
    occurred: Iterable[Occurrence],
    now_us: Utc,
    holding: Mapping[str, StandingCondition] | None = None,
) -> dict[str, Alarm]:
    """The alarms that are other than before, by id: at most one change each.

    `silent` are the nodes that are, with when they were last heard, `quiet` others that are about to be; `heard` all
    nodes that ever were. The first nodes of an outage are silent while the last are not yet: without the quiet ones,
    half of the city would raise alarms of their own before it is one. `holding` is None where what holds is not known
    now: what stands of it stays.
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
            steps.rise("silent", node, own_texts.silent(node, heard_us), {SINCE: heard_us})
    for alarm in alarms.values():
        if alarm.rule == "silent" and alarm.active and alarm.device not in silent:
            since_us = Utc(_count(alarm, SINCE)) or alarm.raised_us
            until_us = max(since_us, min(now_us, heard.get(alarm.device, now_us)))
            steps.change(alarm.id, own_texts.silent(alarm.device, since_us, until_us), active=False)
    if holding is not None:
        _hold(steps, alarms, holding)
    _outage(steps, silent, quiet, heard, now_us)
    return steps.done


class _Steps:
    """Alarms as they were, and as they are after the steps so far."""

    def __init__(self, alarms: Mapping[str, Alarm], now_us: Utc) -> None:
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

    def change(self, name: str, texts: Texts | None = None, **fields: Any) -> None:
        """Step an alarm that stands; `texts` are new words for it, which leave a note that somebody wrote."""
        alarm = self.now(name)
        assert alarm is not None
        if texts is not None:
            fields |= reworded(alarm, texts)
        self.put(changed(alarm, self._now_us, **fields))

    def rise(self, rule: str, node: str, texts: Texts, values: Mapping[str, Value], name: str = "") -> None:
        """Let a condition hold, where it did not."""
        name = name or (OUTAGE if rule == "city-outage" else id_of(rule, node))
        standing = self.now(name)
        if standing is not None and standing.active:
            return
        raised = Alarm(
            id=name,
            device=node,
            rule=rule,
            severity=_SEVERITY[rule],
            state="raised",
            raised_us=self._now_us,
            time_us=self._now_us,
            detail=texts["en"],
            text=texts,
            values=values,
            until_us=None if standing is None else standing.until_us,  # who has shelved it has shelved it
        )
        self.put(msgspec.structs.replace(raised, state=state_of(raised)))
        self.risen.append(name)

    def occurred(self, once: Occurrence) -> None:
        """Raise what has happened; add to what stands."""
        name = id_of(once.rule, once.node)
        standing = self.now(name)
        before, times = (0, 0) if standing is None else (_count(standing, "lost"), _count(standing, "times"))
        lost = min(2**53, before + once.lost)
        values = {"times": times + 1, "lost": lost}
        told = own_texts.fork(once.node, once.why)
        if once.rule == "missing":
            told = own_texts.missing(once.node, lost, once.why)
        self.rise(once.rule, once.node, told, values)
        if standing is not None:
            self.change(name, told, values=values)


def _hold(steps: _Steps, alarms: Mapping[str, Alarm], holding: Mapping[str, StandingCondition]) -> None:
    """Raise, keep up to date or end what holds as long as it holds."""
    for name, condition in holding.items():
        standing = steps.now(name)
        if standing is None or not standing.active:
            steps.rise(condition.rule, condition.node, condition.why, condition.values, name)
        elif standing.values != condition.values:
            steps.change(name, condition.why, values=condition.values)
    for name, alarm in alarms.items():
        if alarm.rule in LASTING and alarm.active and name not in holding:
            steps.change(name, active=False)


def _outage(
    steps: _Steps, silent: Mapping[str, Utc], quiet: Collection[str], heard: Mapping[str, Utc], now_us: Utc
) -> None:
    """Raise, keep or end the one alarm for all, and let it explain the others."""
    outage = steps.now(OUTAGE)
    if outage is None or not outage.active:
        recent = [n for n, heard_us in heard.items() if heard_us >= now_us - RECENT_US]
        fallen = [n for n in recent if n in silent]
        count = len(fallen) + sum(n in quiet for n in recent)
        if not fallen or count < OUTAGE_NODES or 2 * count <= len(recent):
            return
        steps.rise("city-outage", CITY, own_texts.outage(count, now_us), {"nodes": count})
        for node in fallen:
            steps.change(id_of("silent", node), cause=OUTAGE)
        return
    for name in steps.risen:
        alarm = steps.now(name)
        if alarm is not None and alarm.rule == "silent":
            steps.change(name, cause=OUTAGE)
    held = len(steps.suppressed()) + len(quiet)
    most = _count(outage, "nodes")
    if 2 * held <= most:
        steps.change(OUTAGE, own_texts.outage(most, outage.raised_us, now_us), active=False)
        for alarm in steps.suppressed():
            steps.change(alarm.id, cause="")
    elif held > most:
        steps.change(OUTAGE, own_texts.outage(held, outage.raised_us), values={"nodes": held})


def _count(alarm: Alarm, name: str) -> int:
    """A number of an alarm's values, 0 where it has none."""
    value = alarm.values.get(name, 0)
    assert isinstance(value, int)
    return value
