"""Dates: how a plan's words name nights: weekdays, days of the year, days of the month, and from when until when.

`Dates` and `Weekdays` are TALQ's `ccDate` and `ccDay`; `DateSpan` is the `startDate` and `endDate` of its
`CalendarRule`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Final, Literal, TypeVar

import msgspec

from edge.plans.local import FIRST_DATE, LAST_DATE

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# By their first three letters: the days in English and French.
_OTHER_WORDS: Final = {
    **{d: d for d in DAYS},
    **dict(zip(("lun", "mar", "mer", "jeu", "ven", "sam", "dim"), DAYS, strict=True)),
}
Nth = Literal["1", "2", "3", "4", "5", "last"]
LEAP_YEAR: Final = 2028  # a year that has every day
_DAY: Final = re.compile(r"(\d\d|\*)-(\d\d)")
_YEAR: Final = re.compile(r"\d{4}-\d\d-\d\d")


class YearDay(msgspec.Struct, frozen=True, order=True):
    """A day of every year, or of every month (`month` 0)."""

    month: int
    day: int


class DayRange(msgspec.Struct, frozen=True):
    """From a day to a day, both included."""

    first: YearDay
    last: YearDay

    def has(self, day: date) -> bool:
        """Whether a date is in it."""
        at = YearDay(day.month if self.first.month else 0, day.day)
        return self.first <= at <= self.last


def year_day(text: str) -> YearDay:
    """The day of "07-14" or, in every month, "*-14".

    Raises:
        ValueError: it is none; it says what to write.
    """
    found = _DAY.fullmatch(text)
    if found is not None:
        month, day = 0 if found[1] == "*" else int(found[1]), int(found[2])
        try:
            date(LEAP_YEAR, month or 1, day)  # January has 31 days
        except ValueError:
            pass  # told below, like what has another form
        else:
            return YearDay(month, day)
        if found[1] != "*" and int(found[2]) <= 12 < int(found[1]) <= 31:
            raise ValueError(f'is "{text}"; the month comes first: write "{found[2]}-{found[1]}"')
    if _YEAR.fullmatch(text):
        raise ValueError(f'is "{text}", of one year; write from = "{text}" and until = "{text}"')
    raise ValueError(
        f'is "{text[:60]}"; write a month and a day that exist, such as "07-14", or "*-14" for every month'
    )


def day_range(text: str) -> DayRange:
    """The days of "07-14", "12-24..12-31", "*-01" or "*-01..*-07".

    Raises:
        ValueError: it is none; it says what to write.
    """
    first_text, dots, last_text = text.partition("..")
    first = year_day(first_text)
    last = year_day(last_text) if dots else first
    if bool(first.month) != bool(last.month):
        raise ValueError(f'is "{text}"; write * on both sides or on neither')
    if last < first:
        end, start = ("12-31", "01-01") if first.month else ("*-31", "*-01")
        raise ValueError(
            f'is "{text}", which ends before it begins; write ["{first_text}..{end}", "{start}..{last_text}"]'
        )
    return DayRange(first, last)


def day_ranges(texts: Sequence[str]) -> tuple[DayRange, ...]:
    """The days of some texts.

    Raises:
        ValueError: some of them are none; it says of each what to write.
    """
    return tuple(_each(texts, day_range))


_T = TypeVar("_T")


def _each(texts: Sequence[str], read: Callable[[str], _T]) -> list[_T]:
    """What is read from each; everything that is wrong in one error."""
    found: list[_T] = []
    told: list[str] = []
    for text in texts:
        try:
            found.append(read(text))
        except ValueError as error:
            told.append(str(error))
    if told:
        raise ValueError("; and ".join(told))
    return found


class Weekdays(msgspec.Struct, frozen=True):
    """Days of the week, 1 Monday to 7 Sunday; with `nth` only those that are the first … fifth or last in the month."""

    numbers: frozenset[int]
    nth: frozenset[Nth]

    def has(self, day: date) -> bool:
        """Whether a date is one of them."""
        if day.isoweekday() not in self.numbers:
            return False
        if not self.nth:
            return True
        last = (day + timedelta(days=7)).month != day.month
        return str((day.day + 6) // 7) in self.nth or (last and "last" in self.nth)


def weekday_range(text: str) -> tuple[int, int]:
    """First and last number, from 1 for Monday, of "sat" or "mon-fri".

    Raises:
        ValueError: it is none; it says what to write.
    """
    words = text.split("-")
    for word in words:
        if word not in DAYS:
            near = _OTHER_WORDS.get(word.strip().lower()[:3])
            said = f'write "{near}"' if near else f"write one of {', '.join(DAYS)}"
            raise ValueError(f'is "{word[:60]}"; {said}')
    first, last = DAYS.index(words[0]) + 1, DAYS.index(words[-1]) + 1
    if len(words) > 2:
        raise ValueError(f'is "{text}"; write two days, such as "mon-fri"')
    if last < first:
        raise ValueError(f'is "{text}", which ends before it begins; write {_over_sunday(*words)}')
    return first, last


def _over_sunday(first: str, last: str) -> str:
    """A range over the end of the week, as two."""
    parts = (first if first == "sun" else f"{first}-sun", last if last == "mon" else f"mon-{last}")
    return f'["{parts[0]}", "{parts[1]}"]'


def weekdays(texts: Sequence[str], nth: Sequence[Nth]) -> Weekdays:
    """The days of the week that some texts name.

    Raises:
        ValueError: some of them name none; it says of each what to write.
    """
    ranges = _each(texts, weekday_range)
    return Weekdays(frozenset(n for first, last in ranges for n in range(first, last + 1)), frozenset(nth))


class DateSpan(msgspec.Struct, frozen=True):
    """From when until when, both included; a year's day comes every year, and may end in the next one."""

    first: date | YearDay | None
    last: date | YearDay | None

    def has(self, day: date) -> bool:
        """Whether a date is in it."""
        first, last, at = self.first, self.last, YearDay(day.month, day.day)
        begun = first is None or (at >= first if isinstance(first, YearDay) else day >= first)
        not_over = last is None or (at <= last if isinstance(last, YearDay) else day <= last)
        if isinstance(first, YearDay) and isinstance(last, YearDay) and last < first:
            return begun or not_over
        return begun and not_over


def span_end(text: str) -> date | YearDay | None:
    """The date of "2026-06-21", the day of "06-21", or None of "".

    Raises:
        ValueError: it is none; it says what to write.
    """
    if not text:
        return None
    if _YEAR.fullmatch(text):
        try:
            found = date.fromisoformat(text)
        except ValueError as error:
            raise ValueError(f'is "{text}", a day that does not exist') from error
        if not FIRST_DATE <= found <= LAST_DATE:
            raise ValueError(f'is "{text}"; write a year from {FIRST_DATE.year} to {LAST_DATE.year}')
        return found
    found = year_day(text)
    if not found.month:
        raise ValueError(f'is "{text}"; write a day of the year; days of every month belong into dates')
    return found


def span(first: str, last: str) -> DateSpan:
    """From when until when.

    Raises:
        ValueError: one of the texts names no day, or the end is before the beginning.
    """
    made = DateSpan(span_end(first), span_end(last))
    if isinstance(made.first, date) and isinstance(made.last, date) and made.last < made.first:
        raise ValueError(f'is "{last}", before from = "{first}"')
    return made
