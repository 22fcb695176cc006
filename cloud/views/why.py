"""Why: who decides on a device, as the API shows it: from what its node has answered, or else from what it told last.

Times of a boot that did not know the time are corrected by its clock fix, as those of readings are. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from cloud.log.batch_facts import SYNCED
from cloud.times import SECOND_US, TIME_BOUND_US, text
from cloud.views.answers import DeviceDetail, TechnicianSeen, VisitSeen
from cloud.views.clock_word import ClockWord
from cloud.views.contract import Fix
from cloud.views.readings_page import clock_word, corrected, plain
from wire.entries import Level
from wire.errors import Malformed
from wire.sample import Value, why_unstorable
from wire.time import Utc
from wire.why import WhyAnswer, WhyPoint, WhyRule


class LevelSeen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a level of a priority array holds. What has its default is left out."""

    level: Level
    value: Value
    by: str = ""
    order: str = ""
    until: str | None = None
    until_us: Utc | None = None
    blinks: bool = False


class PointWhySeen(msgspec.Struct, frozen=True, kw_only=True):
    """A writable point: its levels from the highest on, of which the first wins. `whole`: these are all that hold
    something; else what lies below the first is not known. `text`, by language, says it in words, where the node did.
    """

    point: str
    unit: str
    levels: tuple[LevelSeen, ...]
    whole: bool
    text: Mapping[str, str]


class WhySeen(msgspec.Struct, frozen=True, kw_only=True):
    """Who decides on a device, as of `time`.

    `source` is `node` where the node has answered just now; `told` where this is what it told last, and `note` says why
    it was not asked or has not answered; `unknown` where it has never told. `plan` and `rules` are those that the node
    lives by, `watching` the rules that watch the device, null where that is not known. `technicians` are those who are
    at the node's cabinet, `acts` the last things done to the device there, the newest first.
    """

    device: str
    node: str
    source: Literal["node", "told", "unknown"]
    note: str
    time: str | None
    time_us: Utc | None
    clock: ClockWord | None
    age_s: float | None
    points: tuple[PointWhySeen, ...]
    plan: str | None
    rules: str | None
    watching: tuple[WhyRule, ...] | None
    technicians: tuple[TechnicianSeen, ...]
    acts: tuple[VisitSeen, ...]


class AtCabinet(msgspec.Struct, frozen=True):
    """Who is at a node's cabinet, and the last that was done there to the device."""

    technicians: tuple[TechnicianSeen, ...]
    acts: tuple[VisitSeen, ...]


def check(answer: WhyAnswer) -> None:
    """Pass what can be shown.

    Raises:
        Malformed: a time or a value cannot be.
    """
    held = [level for point in answer.points for level in point.levels]
    if any(abs(t) > TIME_BOUND_US for t in (answer.time_us, *(h.until_us or 0 for h in held))):
        raise Malformed("a time lies beyond 2^62 microseconds")
    if answer.boot is not None and not 0 <= answer.boot < 2**63:
        raise Malformed(f"an answer of boot {answer.boot}")
    for one in held:
        if (why := why_unstorable(one.value)) is not None:
            raise Malformed(f"{one.level}: {why}")


def answered(
    found: DeviceDetail, answer: WhyAnswer, fixes: Mapping[int, Fix], now_us: Utc, there: AtCabinet
) -> WhySeen:
    """What the node has said just now."""
    of = SYNCED if answer.boot is None else answer.boot
    time_us = corrected(answer.time_us, of, fixes)
    units = {p.name: p.unit for p in found.points}
    return WhySeen(
        device=found.device.id,
        node=found.device.node,
        source="node",
        note="",
        time=text(time_us),
        time_us=time_us,
        clock=clock_word(of, fixes),
        age_s=_age_s(time_us, now_us),
        points=tuple(_point(p, units.get(p.point, ""), of, fixes) for p in answer.points),
        plan=answer.plan,
        rules=answer.rules,
        watching=answer.watching,
        technicians=there.technicians,
        acts=there.acts,
    )


def told(found: DeviceDetail, note: str, now_us: Utc, there: AtCabinet) -> WhySeen:
    """What the node told last, which is who wins and no more; as old as the newest of it."""
    lives_by, decided = found.lives_by, found.decided
    newest = max(decided.values(), key=lambda d: d.time_us, default=None)
    time_us = max((d.time_us for d in (newest, lives_by) if d is not None), default=None)
    of = newest if lives_by is None or (newest is not None and newest.time_us >= lives_by.time_us) else lives_by
    units = {p.name: p.unit for p in found.points}
    return WhySeen(
        device=found.device.id,
        node=found.device.node,
        source="unknown" if lives_by is None else "told",
        note=note,
        time=None if time_us is None else text(time_us),
        time_us=time_us,
        clock=None if of is None else of.clock,
        age_s=None if time_us is None else _age_s(time_us, now_us),
        points=tuple(
            PointWhySeen(
                point=point,
                unit=units.get(point, ""),
                levels=()
                if one.level is None
                else (
                    LevelSeen(
                        level=one.level,
                        value=one.value,
                        by=one.by,
                        order=one.order,
                        until=one.until,
                        until_us=one.until_us,
                        blinks=one.blinks,
                    ),
                ),
                whole=one.level in {None, "default"},  # nothing lies below
                text={},
            )
            for point, one in sorted(decided.items())
        ),
        plan=None if lives_by is None else lives_by.plan,
        rules=None if lives_by is None else lives_by.rules,
        watching=None,
        technicians=there.technicians,
        acts=there.acts,
    )


def _point(said: WhyPoint, unit: str, of: int, fixes: Mapping[int, Fix]) -> PointWhySeen:
    levels: Sequence[LevelSeen] = [
        LevelSeen(
            level=held.level,
            value=plain(held.value),
            by=held.by,
            order=held.order,
            until=None if (until_us := _corrected(held.until_us, of, fixes)) is None else text(until_us),
            until_us=until_us,
            blinks=held.blinks,
        )
        for held in said.levels
    ]
    return PointWhySeen(point=said.point, unit=unit, levels=tuple(levels), whole=True, text=said.text)


def _corrected(time_us: Utc | None, of: int, fixes: Mapping[int, Fix]) -> Utc | None:
    return None if time_us is None else corrected(time_us, of, fixes)


def _age_s(time_us: Utc, now_us: Utc) -> float:
    return round(max(0, now_us - time_us) / SECOND_US, 3)
