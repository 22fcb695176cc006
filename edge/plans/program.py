"""Program: what level a lamp has at each moment of one night.

A program has a schedule and active periods. The schedule gives a level at every moment of a night, from noon to noon:
`level` until the first step, then what the steps say. The active periods say when the lamp follows it; outside them it
has `day_level`. So a step never turns a lamp on by itself: one that comes before `on` is what the lamp comes on with,
one after `off` is never seen, and each night begins anew at noon.

Order and ties: at the same moment steps by the clock come first, in the order of the clock, then steps by the sun in
the order in which they are written; the last one counts. A step by the sun with an `op` is laid over the schedule
until the next step by the sun (TALQ `AstroClockTimeControl`); one without holds until the next step of any kind.

Where the sun does not set in a night, periods by the sun do not come, nor do steps by it. Where it does not rise, they
last to both noons; steps by the evening sun count from noon on, those by the morning sun do not come.

Settled once a night: at most 2 * (MAX_STEPS + 2 * MAX_PERIODS) + 1 spans.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from edge.plans.local import SECOND_US, bounds, in_night
from edge.plans.sun import Sun
from edge.plans.tables import Operation, PeriodTable, ProgramTable
from edge.plans.times import ClockTime, SunTime, When, told, when
from wire.time import Micros, Utc, micros

MINUTE_US: Final = Micros(60 * SECOND_US)
FULL: Final = 100


class LevelSpan(msgspec.Struct, frozen=True):
    """A level (percent) that holds from one moment to another, and the words that brought it."""

    since_us: Utc
    until_us: Utc
    level: int
    on: bool  # whether the program is active
    why: str


class _Step(msgspec.Struct, frozen=True):
    when: When
    level: int
    op: Operation | None


class _Period(msgspec.Struct, frozen=True):
    on: When
    off: When
    before_us: Micros
    after_us: Micros

    @classmethod
    def of(cls, table: PeriodTable) -> _Period:
        before, after = table.photocell_before_min, table.photocell_after_min
        return cls(when(table.on), when(table.off), micros(before * 60), micros(after * 60))


class Program:
    """One program, ready to be settled for any night."""

    def __init__(self, table: ProgramTable) -> None:
        self.point = table.point
        self._table = table
        self._periods = tuple(_Period.of(p) for p in table.active)
        self._steps = tuple(_Step(when(s.at), s.level, s.op) for s in table.steps)

    def night(self, night: date, sun: Sun, zone: ZoneInfo, *, dark: bool = False) -> tuple[LevelSpan, ...]:
        """The levels of a night, from noon to noon without holes.

        `dark`: as they are while a photocell says that it is dark.
        """
        start, end = bounds(night, zone)
        active = self._active(night, sun, zone, dark=dark)
        schedule = self._schedule(night, sun, zone)
        moments = [m for m, *_ in schedule]
        edges = sorted({start, *moments, *(e for on, off, _, _ in active for e in (on, off))})
        spans: list[LevelSpan] = []
        for since, until in zip(edges, [*edges[1:], end], strict=True):
            if since == until:
                continue
            period = next((p for p in active if p[0] <= since < p[1]), None)
            moment, level, words = schedule[bisect_right(moments, since) - 1]
            if period is None:
                level, words = self._table.day_level, next((p[3] for p in active if p[1] == since), "")
            elif moment < period[0] or (moment == period[0] and not words):
                words = period[2]  # the step was before: it is the period that has brought the level
            last = spans[-1] if spans else None
            if last is not None and last.level == level and last.on == (period is not None):
                spans[-1] = msgspec.structs.replace(last, until_us=until)
            else:
                spans.append(LevelSpan(since, until, level, period is not None, words))
        return tuple(spans)

    def _active(self, night: date, sun: Sun, zone: ZoneInfo, *, dark: bool) -> list[tuple[Utc, Utc, str, str]]:
        """From when to when the program is active, and the words of both ends; joined where they touch."""
        start, end = bounds(night, zone)
        if not self._periods:
            return [(start, end, "", "")]
        found: list[tuple[Utc, Utc, str, str]] = []
        for period in self._periods:
            on, off = _begin(period.on, night, sun, zone), _end(period.off, night, sun, zone)
            if on is None or off is None:
                continue
            words = told(period.on), told(period.off)
            if isinstance(period.on, ClockTime):
                # As the clock runs from noon to noon, 06:00 to 20:00 is the evening's end and the morning's beginning.
                found += [(on, off, *words)] if on < off else [(start, off, "", words[1]), (on, end, words[0], "")]
            elif on < off:
                before, after = (period.before_us, period.after_us) if dark else (Micros(0), Micros(0))
                found.append((max(start, on - before), min(end, off + after), *words))
        if dark and self._table.photocell_by_day:
            found.append((start, end, "", ""))
        return _joined(p for p in sorted(found) if p[0] < p[1])

    def _schedule(self, night: date, sun: Sun, zone: ZoneInfo) -> list[tuple[Utc, int, str]]:
        """From when on which level, whether the program is active or not, and the words that say so."""
        start, end = bounds(night, zone)
        due: list[tuple[Utc, int, int, _Step]] = []
        for order, step in enumerate(self._steps):
            moment = _reached(step.when, night, sun, zone)
            if moment is None or moment >= end:
                continue
            # Clock times are ordered by what the clock shows: two that fall into a gap are the same moment.
            by_sun = isinstance(step.when, SunTime)
            due.append((moment, by_sun, order if by_sun else _from_noon(step.when), step))
        found: list[tuple[Utc, int, str]] = [(start, self._table.level, "")]
        base, layer = self._table.level, None
        for moment, by_sun, _, step in sorted(due, key=lambda d: d[:3]):
            if step.op is not None:
                layer = step
            else:
                base, layer = step.level, None if by_sun else layer
            level = base if layer is None else laid(layer.op, layer.level, base)
            if found[-1][0] == moment:
                found.pop()
            found.append((moment, level, told(step.when)))
        return found


def laid(op: Operation | None, level: int, base: int) -> int:
    """A level laid over another, in percent (TALQ `EffectOperation`): kept within 0 and 100, `mul` rounded."""
    match op:
        case "max":
            return max(level, base)
        case "min":
            return min(level, base)
        case "add":
            return min(FULL, base + level)
        case "sub":
            return max(0, base - level)
        case "mul":
            return round(base * level / FULL)
        case _:
            return level


def _from_noon(time: When) -> int:
    assert isinstance(time, ClockTime)
    return (time.second - 12 * 3600) % (24 * 3600)


def _begin(time: When, night: date, sun: Sun, zone: ZoneInfo) -> Utc | None:
    """When a period begins; None: not in this night."""
    if isinstance(time, SunTime) and sun.turn(time.turn, night) == "dark":
        return bounds(night, zone)[0]
    return _reached(time, night, sun, zone)


def _end(time: When, night: date, sun: Sun, zone: ZoneInfo) -> Utc | None:
    """When a period ends; None: it does not come in this night."""
    if isinstance(time, SunTime) and sun.turn(time.turn, night) == "dark":
        return bounds(night, zone)[1]
    return _reached(time, night, sun, zone)


def _reached(time: When, night: date, sun: Sun, zone: ZoneInfo) -> Utc | None:
    """When a time comes in a night, not before its noon; None: it does not."""
    start, end = bounds(night, zone)
    if isinstance(time, ClockTime):
        return in_night(night, time.second, zone)
    turn = sun.turn(time.turn, night)
    if isinstance(turn, int):
        return min(end, max(start, turn + micros(time.offset_min * 60)))
    return start if turn == "dark" and time.evening else None


def _joined(periods: Iterable[tuple[Utc, Utc, str, str]]) -> list[tuple[Utc, Utc, str, str]]:
    """Periods in order, those that overlap or touch made one."""
    found: list[tuple[Utc, Utc, str, str]] = []
    for period in periods:
        if found and period[0] <= found[-1][1]:
            last = found[-1]
            off, words = max((last[1], last[3]), (period[1], period[3]), key=lambda e: e[0])
            found[-1] = (last[0], off, last[2], words)
        else:
            found.append(period)
    return found
