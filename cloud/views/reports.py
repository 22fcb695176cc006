"""Reports: what a node reports of its alarms, its rules' marks, its orders, its visits and of who decides, as the API
shows it.

Times of a boot that did not know the time are corrected by its clock fix, like those of readings, and `clock` says
how they came about. All fields are written, also those that have their default. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import structs

from cloud.log.batch_facts import SYNCED
from cloud.times import text
from cloud.views.answers import AlarmSeen, MarkSeen, ResultSeen, VisitSeen
from cloud.views.contract import Fix
from cloud.views.decided import DecidedAt, DecisionsSeen, LivedBy, LivesBy, PointDecided, PointsDecided, said_in
from cloud.views.readings_page import clock_word, corrected, plain
from wire.entries import Alarm, Decisions, Mark, Result, Visit
from wire.orders import AlarmAct, Bundle, Command, Order, Relinquish
from wire.sample import Value

OWN: Final = "/aggregator"  # the source of what the aggregator itself says
NO_FIXES: Final[Mapping[int, Fix]] = {}


def alarm_seen(node: str, alarm: Alarm, fixes: Mapping[int, Fix], source: str = "") -> AlarmSeen:
    """An alarm of a node; of the aggregator's own where `source` says so."""
    of = SYNCED if alarm.boot is None else alarm.boot
    raised_us, time_us = corrected(alarm.raised_us, of, fixes), corrected(alarm.time_us, of, fixes)
    respond_by_us = None if alarm.respond_by_us is None else corrected(alarm.respond_by_us, of, fixes)
    until_us = None if alarm.until_us is None else corrected(alarm.until_us, of, fixes)
    return AlarmSeen(
        id=alarm.id,
        source=source or f"/nodes/{node}",
        node=node,
        device=alarm.device,
        rule=alarm.rule,
        severity=alarm.severity,
        state=alarm.state,
        raised=text(raised_us),
        raised_us=raised_us,
        time=text(time_us),
        time_us=time_us,
        clock=clock_word(of, fixes),
        boot=alarm.boot,
        respond_by=None if respond_by_us is None else text(respond_by_us),
        respond_by_us=respond_by_us,
        until=None if until_us is None else text(until_us),
        until_us=until_us,
        active=alarm.active,
        acknowledged=alarm.acknowledged,
        escalated=alarm.escalated,
        cause=alarm.cause,
        by=alarm.by,
        detail=alarm.detail,
        text=alarm.text,
        values=_plain(alarm.values),
    )


def mark_seen(node: str, mark: Mark, fixes: Mapping[int, Fix]) -> MarkSeen:
    """A mark of a node."""
    of = SYNCED if mark.boot is None else mark.boot
    time_us = corrected(mark.time_us, of, fixes)
    return MarkSeen(
        node=node,
        device=mark.device,
        rule=mark.rule,
        tag=mark.tag,
        time=text(time_us),
        time_us=time_us,
        clock=clock_word(of, fixes),
        boot=mark.boot,
        values=_plain(mark.values),
    )


def visit_seen(node: str, visit: Visit, fixes: Mapping[int, Fix]) -> VisitSeen:
    """What a technician did at a node's cabinet."""
    of = SYNCED if visit.boot is None else visit.boot
    time_us = corrected(visit.time_us, of, fixes)
    until_us = None if visit.until_us is None else corrected(visit.until_us, of, fixes)
    return VisitSeen(
        node=node,
        visit=visit.visit,
        by=visit.by,
        act=visit.act,
        time=text(time_us),
        time_us=time_us,
        clock=clock_word(of, fixes),
        boot=visit.boot,
        until=None if until_us is None else text(until_us),
        until_us=until_us,
        code=visit.code,
        device=visit.device or None,
        order=visit.order or None,
        detail=visit.detail,
    )


def result_seen(node: str, result: Result, fixes: Mapping[int, Fix], order: Order | None = None) -> ResultSeen:
    """A result of a node; with what is known of the order that it is about, so that a reader needs no map."""
    aimed = order if isinstance(order, Command | Relinquish) else None
    act = order if isinstance(order, AlarmAct) else None
    bundle = order if isinstance(order, Bundle) else None
    of = SYNCED if result.boot is None else result.boot
    time_us = corrected(result.time_us, of, fixes)
    return ResultSeen(
        node=node,
        order=result.order,
        stage=result.stage,
        time=text(time_us),
        time_us=time_us,
        clock=clock_word(of, fixes),
        boot=result.boot,
        group=None if order is None else order.group or None,
        device=result.device or (None if aimed is None else aimed.device),
        point=result.point or (None if aimed is None else aimed.point),
        alarm=None if act is None else act.alarm,
        act=None if act is None else act.act,
        bundle=None if bundle is None else bundle.kind,
        version=None if bundle is None else bundle.version,
        read_back=plain(result.read_back),
        detail=result.detail,
    )


def decided_seen(said: DecidedAt, fixes: Mapping[int, Fix]) -> PointDecided:
    """Who decides on a point."""
    of = SYNCED if said.boot is None else said.boot
    decision, time_us = said.decision, corrected(said.time_us, of, fixes)
    until_us = None if decision.until_us is None else corrected(decision.until_us, of, fixes)
    return PointDecided(
        level=decision.level,
        value=plain(decision.value),
        time=text(time_us),
        time_us=time_us,
        clock=clock_word(of, fixes),
        by=decision.by,
        order=decision.order,
        until=None if until_us is None else text(until_us),
        until_us=until_us,
        blinks=decision.blinks,
    )


def lives_by_seen(said: LivedBy, fixes: Mapping[int, Fix]) -> LivesBy:
    """What a node lives by."""
    of = SYNCED if said.boot is None else said.boot
    time_us = corrected(said.time_us, of, fixes)
    return LivesBy(plan=said.plan, rules=said.rules, time=text(time_us), time_us=time_us, clock=clock_word(of, fixes))


def decisions_seen(node: str, said: Decisions, fixes: Mapping[int, Fix]) -> DecisionsSeen:
    """Who decides on many points."""
    of = SYNCED if said.boot is None else said.boot
    time_us = corrected(said.time_us, of, fixes)
    rows = [(structs.asdict(decided_seen(kept, fixes)), decision) for kept, decision in said_in(said)]
    return DecisionsSeen(
        node=node,
        time=text(time_us),
        time_us=time_us,
        clock=clock_word(of, fixes),
        boot=said.boot,
        plan=said.plan,
        rules=said.rules,
        decided=tuple(PointsDecided(**row, point=d.point, devices=d.devices) for row, d in rows),
    )


def _plain(values: Mapping[str, Value]) -> dict[str, Value]:
    return {p: plain(v) for p, v in values.items()}
