"""Plan: what a device's light should be at any moment, from the plan alone: no cloud, no network, no clock of its own.

For a device that an assignment selects there is exactly one setting at every moment, and the settings follow each
other without holes; about any other device the plan says nothing. A setting reaches over the noon between two nights
where nothing changes then, so that it ends where the lamp does something else; only one that lasts a whole night ends
with its night, though the next one may have the same value.

A photocell is a second opinion. It can only add light: where it says dark, a program may begin earlier and end later
by the minutes that the plan states, or be on by day where the plan allows it. What it says at night changes nothing.

All is settled once a night and kept: at most MAX_NIGHTS nights of programs and MAX_DEVICES devices, then forgotten and
settled anew. Times are UTC microseconds of the years 1971 to 2110; others are taken to the nearest of these.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final

import msgspec

from edge.plans.calendar import Calendar, Choice
from edge.plans.local import FIRST_DATE, LAST_DATE, SECOND_US, Location, bounds, night_of, zone
from edge.plans.program import LevelSpan, Program
from edge.plans.public_holidays import Holidays
from edge.plans.sun import Sun
from edge.plans.tables import PlanTable
from wire.device import Device
from wire.sample import Value
from wire.time import Micros, Utc

MAX_NIGHTS: Final = 1_024
MAX_DEVICES: Final = 5_000
HALF_DAY_US: Final = Micros(12 * 3600 * SECOND_US)


class Setting(msgspec.Struct, frozen=True):
    """What a point is set to, which program says so, and from when to when (UTC microseconds, the end not included)."""

    point: str
    value: Value  # percent, as a float
    program: str
    since_us: Utc
    until_us: Utc  # when it may next change


class Night(msgspec.Struct, frozen=True):
    """One night of one calendar: for people who want to know why."""

    date: date
    start_us: Utc
    end_us: Utc
    choice: Choice
    spans: tuple[LevelSpan, ...]


class _Kept(msgspec.Struct, frozen=True):
    starts: tuple[int, ...]
    settings: tuple[Setting, ...]


class Plan:
    """A plan at a place."""

    def __init__(self, table: PlanTable, place: Location, holidays: Holidays) -> None:
        self.table = table
        self.place = place
        self.zone = zone(place.time_zone)
        self.sun = Sun(place.lat, place.lon, self.zone)
        self._programs = {name: Program(t) for name, t in table.program.items()}
        self._calendars = {name: Calendar(t, holidays) for name, t in table.calendar.items()}
        first, last = bounds(FIRST_DATE, self.zone)[0], bounds(LAST_DATE, self.zone)[0]
        self._first_us, self._last_us = first, last
        self._nights: dict[tuple[str, date, bool], _Kept] = {}
        self._followed: dict[str, tuple[Device, str | None]] = {}

    @property
    def name(self) -> str:
        """What people call it."""
        return self.table.name

    @property
    def version(self) -> int | str:
        """What changes with it."""
        return self.table.version

    def at(self, device: Device, time_us: Utc, dark: bool | None = None) -> Setting | None:
        """The setting of a device at a moment; None: the plan says nothing about it.

        `dark` is what a photocell says (None: there is none, or it is not to be believed). `until_us` holds while it
        says so.
        """
        calendar = self.follows(device)
        if calendar is None:
            return None
        time_us = min(max(time_us, self._first_us), self._last_us)
        night = night_of(time_us, self.zone)
        kept = self._settings(calendar, night, dark is True)
        return self._whole(calendar, night, bisect_right(kept.starts, time_us) - 1, dark is True)

    def changes(self, device: Device, from_us: Utc, to_us: Utc) -> list[Setting]:
        """The settings of a device that hold anywhere from one moment to another (the end not included), in order.

        They are whole: the first may begin before, the last may end after. Each day asked for adds to the list, which
        is for the asker to bound.
        """
        calendar = self.follows(device)
        if calendar is None:
            return []
        from_us, to_us = max(from_us, self._first_us), min(to_us, self._last_us)
        found: list[Setting] = []
        while from_us < to_us:
            night = night_of(from_us, self.zone)
            n = len(self._settings(calendar, night, False).settings)
            whole = [self._whole(calendar, night, i, False) for i in range(n)]
            found += (s for s in whole if s.until_us > from_us and s.since_us < to_us)
            from_us = whole[-1].until_us
        return found

    def follows(self, device: Device) -> str | None:
        """The calendar that a device follows; None: no assignment selects it."""
        known = self._followed.get(device.id)
        if known is not None and (known[0] is device or known[0] == device):
            return known[1]
        calendar = next((a.calendar for a in self.table.assign if a.on.fits(device)), None)
        if len(self._followed) >= MAX_DEVICES:
            self._followed.clear()
        self._followed[device.id] = device, calendar
        return calendar

    def groups(self, devices: Iterable[Device]) -> dict[str, list[Device]]:
        """Devices by the calendar that they follow; those that follow none are left out."""
        found: dict[str, list[Device]] = {}
        for device in devices:
            if (calendar := self.follows(device)) is not None:
                found.setdefault(calendar, []).append(device)
        return found

    def night(self, calendar: str, night: date, *, dark: bool = False) -> Night:
        """The night that begins on the evening of a date, by a calendar; `dark`: while a photocell says so."""
        choice = self._calendars[calendar].on(night)
        spans = self._programs[choice.program].night(night, self.sun, self.zone, dark=dark)
        return Night(night, *bounds(night, self.zone), choice, spans)

    def _whole(self, calendar: str, night: date, i: int, dark: bool) -> Setting:
        """A setting of a night, with what belongs to it on the other side of a noon."""
        settings = self._settings(calendar, night, dark).settings
        found = settings[i]
        if len(settings) == 1:
            return found
        if i == 0 and night > FIRST_DATE:
            before = self._settings(calendar, night - timedelta(days=1), dark).settings
            if len(before) > 1 and _same(before[-1], found):
                found = msgspec.structs.replace(found, since_us=before[-1].since_us)
        if i == len(settings) - 1 and night < LAST_DATE:
            after = self._settings(calendar, night + timedelta(days=1), dark).settings
            if len(after) > 1 and _same(found, after[0]):
                found = msgspec.structs.replace(found, until_us=after[0].until_us)
        return found

    def _settings(self, calendar: str, night: date, dark: bool) -> _Kept:
        key = calendar, night, dark
        kept = self._nights.get(key)
        if kept is None:
            found = self.night(calendar, night, dark=dark)
            program = found.choice.program
            point = self._programs[program].point
            settings = tuple(Setting(point, float(s.level), program, s.since_us, s.until_us) for s in found.spans)
            if len(self._nights) >= MAX_NIGHTS:
                self._nights.clear()
            kept = self._nights[key] = _Kept(tuple(s.since_us for s in settings), settings)
        return kept


def _same(one: Setting, other: Setting) -> bool:
    return (one.point, one.value, one.program) == (other.point, other.value, other.program)


def tonight(plan: Plan, time_us: Utc) -> date:
    """The night that people mean by "tonight": the one that is running while the sun is down, else the one to come."""
    night = night_of(time_us, plan.zone)
    over = time_us >= bounds(night, plan.zone)[1] - HALF_DAY_US and not plan.sun.is_night(time_us)
    return night + timedelta(days=1) if over else night
