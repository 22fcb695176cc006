"""City latest: the newest of all devices, or of a part of them, in one answer. Pure.

Which part: every condition that is given must hold, and of a condition with several values one is enough. A device's
quality is that of its worst point; one that was never heard has none, and passes no condition on quality. A bounding
box is west, south, east, north in WGS 84 degrees (RFC 7946, section 5); where west is greater than east it goes over
the antimeridian. A device without a place lies in none.

Bounds: CHUNK devices are put together at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from cloud.log.batch_facts import SYNCED
from cloud.times import text
from cloud.views.answers import SEVERITIES, PointsNow
from cloud.views.contract import Fix, LatestAsked
from cloud.views.decided import PointDecided
from cloud.views.latest import AHEAD, AHEAD_US, Cells, newest_of, word_of
from cloud.views.readings_page import plain
from wire.entries import Severity
from wire.sample import Value
from wire.time import Utc

CHUNK: Final = 100


class Standing(msgspec.Struct, gc=False):
    """The alarms of a device that are not cleared: how many, and the severity of the worst."""

    count: int
    worst: Severity

    def add(self, severity: Severity) -> None:
        """One more."""
        self.count += 1
        self.worst = SEVERITIES[max(SEVERITIES.index(self.worst), SEVERITIES.index(severity))]


def with_decided(now: PointsNow, decided: Mapping[str, PointDecided] | None, points: Collection[str]) -> PointsNow:
    """The same, and who decides its points; those named, where some are."""
    if not decided:
        return now
    wanted = {p: one for p, one in decided.items() if p in points} if points else decided
    return msgspec.structs.replace(now, decided=wanted)


def now_of(
    sources: Sequence[Cells], fixes: Mapping[int, Fix], points: Collection[str], now_us: Utc, standing: Standing | None
) -> PointsNow:
    """The newest of a device's points, over all sources; of those named, where some are."""
    alarms, severity = (0, None) if standing is None else (standing.count, standing.worst)
    if len(sources) == 1 and (simple := _simple(sources[0], points, now_us)) is not None:
        values, quality, moment = simple
        return PointsNow(
            time=text(moment), time_us=moment, clock="synced", values=values, quality=quality, alarms=alarms,
            severity=severity,
        )  # fmt: skip
    best = newest_of(sources, fixes, now_us)
    if points:
        best = {p: found for p, found in best.items() if p in points}
    if not best:
        return PointsNow(time=None, time_us=None, clock=None, values={}, alarms=alarms, severity=severity)
    moment, base_, _ = max(best.values(), key=lambda found: (found[1] != AHEAD, found[0]))
    word = word_of(base_, fixes)
    return PointsNow(
        time=text(moment),
        time_us=moment,
        clock=word,
        values={p: plain(c[2]) for p, (_, _, c) in best.items()},
        quality={p: c[3] for p, (_, _, c) in best.items() if c[3] is not None},
        times={p: text(t) for p, (t, _, _) in best.items() if t != moment},
        clocks={p: w for p, (_, b, _) in best.items() if b != base_ and (w := word_of(b, fixes)) != word},
        alarms=alarms,
        severity=severity,
    )


def _simple(cells: Cells, points: Collection[str], now_us: Utc) -> tuple[dict[str, Value], dict[str, str], Utc] | None:
    """What `newest_of` finds of nearly all devices of a city, in a third of its time: all points of one synchronised
    moment. None where it is not so."""
    values: dict[str, Value] = {}
    quality: dict[str, str] = {}
    moment = None
    for (point, base_), (time_us, _, value, said) in cells.items():
        if points and point not in points:
            continue
        if base_ != SYNCED or (moment is not None and time_us != moment):
            return None
        moment = time_us
        values[point] = plain(value)
        if said is not None:
            quality[point] = said
    return None if moment is None or moment > now_us + AHEAD_US else (values, quality, moment)


def shown(asked: LatestAsked, now: PointsNow) -> bool:
    """Say whether a device is meant, by its newest."""
    return (
        (not asked.grades or now.grade in asked.grades)
        and asked.alarm in {None, now.alarms > 0}
        and (not asked.levels or any(d.level in asked.levels for d in now.decided.values()))
    )
