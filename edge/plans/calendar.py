"""Calendar: which program is run on which night, and why.

A night has the date of its evening. Rules are asked in the order in which they are written; the first that fits
decides, so exceptions stand above what they are exceptions from. Where none fits, the default program is run. A rule
fits when its condition (weekdays, dates or public holidays; none: every night) and its span of dates both hold. This
is TALQ's `Calendar`, whose `rules` have their priority by their order.
"""

from __future__ import annotations

from datetime import date, timedelta

import msgspec

from edge.plans.dates import DateSpan, DayRange, Weekdays, day_ranges, span, weekdays
from edge.plans.public_holidays import Holidays
from edge.plans.tables import CalendarRuleTable, CalendarTable

_DAY = timedelta(days=1)


class Choice(msgspec.Struct, frozen=True):
    """A program for a night, and which rule chose it (its place in the list; None: the default did)."""

    program: str
    rule: int | None
    why: str  # what the rule says of itself: its name, the public holiday, or its dates


class _Rule(msgspec.Struct, frozen=True):
    table: CalendarRuleTable
    span: DateSpan
    days: Weekdays
    dates: tuple[DayRange, ...]

    @classmethod
    def of(cls, table: CalendarRuleTable) -> _Rule:
        return cls(
            table,
            span(table.from_, table.until),
            weekdays(table.days, table.nth),
            day_ranges(table.dates),
        )

    def why(self, night: date, holidays: Holidays) -> str | None:
        """Why it fits a night; None where it does not."""
        table = self.table
        if not self.span.has(night):
            return None
        name = ""
        if table.holiday is not None:
            name = holidays(night if table.holiday == "day" else night + _DAY)
            if not name:
                return None
        elif table.dates:
            if not any(d.has(night) for d in self.dates):
                return None
        elif table.days and not self.days.has(night):
            return None
        return (
            table.name
            or name
            or ", ".join([*table.nth, *table.days, *table.dates])
            or "…".join(filter(None, (table.from_, table.until)))
        )


class Calendar:
    """One calendar, with the public holidays that it means."""

    def __init__(self, table: CalendarTable, holidays: Holidays) -> None:
        self._rules = tuple(_Rule.of(r) for r in table.rule)
        self._default = table.default
        self._holidays = holidays

    def on(self, night: date) -> Choice:
        """The program of the night that begins on the evening of that date."""
        for i, rule in enumerate(self._rules):
            why = rule.why(night, self._holidays)
            if why is not None:
                return Choice(rule.table.program, i, why)
        return Choice(self._default, None, "")
