from __future__ import annotations

from datetime import date, timedelta

import pytest

from edge.plans.dates import DateSpan, DayRange, YearDay, day_range, day_ranges, span, weekdays
from edge.plans.times import ClockTime, SunTime, told, when

YEAR = [date(2026, 1, 1) + timedelta(days=i) for i in range(365)]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("22:30", ClockTime(81_000)),
        ("00:00:01", ClockTime(1)),
        ("dusk", SunTime("dusk", 0)),
        ("dusk-10", SunTime("dusk", -10)),
        ("sunrise+15", SunTime("sunrise", 15)),
    ],
)
def test_times_are_read_and_told(text: str, time: ClockTime | SunTime) -> None:
    assert when(text) == time
    assert told(time) == text


@pytest.mark.parametrize("text", ["24:00", "12:60", "7:30", "noon", "dusk 10", "dusk+", "dusk-10min", "", "22h30"])
def test_what_is_no_time_says_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match='write a time such as "22:30"'):
        when(text)


def test_an_offset_is_bounded() -> None:
    assert when("dawn-360")
    with pytest.raises(ValueError, match="at most 360 minutes"):
        when("dawn-361")


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("07-14", [date(2026, 7, 14)]),
        ("12-30..12-31", [date(2026, 12, 30), date(2026, 12, 31)]),
        ("*-31", [date(2026, m, 31) for m in (1, 3, 5, 7, 8, 10, 12)]),
        ("*-01..*-02", [date(2026, m, d) for m in range(1, 13) for d in (1, 2)]),
        ("02-29", []),
    ],
)
def test_dates_of_every_year_and_month(text: str, days: list[date]) -> None:
    assert [d for d in YEAR if day_range(text).has(d)] == days


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("02-30", "that exist"),
        ("14-07", 'the month comes first: write "07-14"'),
        ("14 juillet", "that exist"),
        ("2026-07-14", 'write from = "2026-07-14" and until = "2026-07-14"'),
        ("12-24..01-02", r'write \["12-24..12-31", "01-01..01-02"\]'),
        ("*-25..*-05", r'write \["\*-25..\*-31", "\*-01..\*-05"\]'),
        ("*-01..01-02", "both sides"),
    ],
)
def test_what_names_no_dates_says_what_to_write(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        day_range(text)


def test_weekdays_and_their_place_in_the_month() -> None:
    assert weekdays(["mon-wed", "sun"], []).numbers == {1, 2, 3, 7}
    july = [d for d in YEAR if d.month == 7]
    assert [d.day for d in july if weekdays(["fri"], ["1", "last"]).has(d)] == [3, 31]
    assert [d.day for d in july if weekdays(["sat"], ["last"]).has(d)] == [25]
    assert [d.day for d in july if weekdays(["fri"], ["5"]).has(d)] == [31]
    assert [d.day for d in july if weekdays(["mon"], ["5"]).has(d)] == []
    for text, says in [
        ("sat-mon", r'write \["sat-sun", "mon"\]'),
        ("sun-tue", r'write \["sun", "mon-tue"\]'),
        ("lundi", 'is "lundi"; write "mon"'),
        ("Saturday", 'write "sat"'),
        ("mo", "write one of mon, tue, wed, thu, fri, sat, sun"),
        ("mon-tue-wed", "two days"),
    ]:
        with pytest.raises(ValueError, match=says):
            weekdays([text], [])


def test_everything_wrong_in_a_list_is_told_at_once() -> None:
    with pytest.raises(ValueError, match=r'is "mo"; write one of .*; and is "dimanche"; write "sun"'):
        weekdays(["mo", "tue", "dimanche"], [])
    with pytest.raises(ValueError, match=r'"14-07".*; and is "02-30"'):
        day_ranges(["14-07", "07-14", "02-30"])


@pytest.mark.parametrize(
    ("first", "last", "inside", "outside"),
    [
        ("", "", ["2026-01-01"], []),
        ("2026-06-21", "2026-06-21", ["2026-06-21"], ["2026-06-20", "2026-06-22", "2027-06-21"]),
        ("06-15", "09-15", ["2026-06-15", "2031-09-15"], ["2026-06-14", "2026-09-16"]),
        ("11-15", "02-15", ["2026-11-15", "2027-01-01", "2027-02-15"], ["2026-11-14", "2027-02-16"]),
        ("2026-07-01", "09-01", ["2026-07-01", "2027-01-01"], ["2026-06-30", "2026-09-02"]),
        ("", "2026-07-01", ["1999-01-01"], ["2026-07-02"]),
    ],
)
def test_spans(first: str, last: str, inside: list[str], outside: list[str]) -> None:
    found = span(first, last)
    assert all(found.has(date.fromisoformat(d)) for d in inside)
    assert not any(found.has(date.fromisoformat(d)) for d in outside)


@pytest.mark.parametrize(
    ("first", "last"), [("2026-07-02", "2026-07-01"), ("2026-02-30", ""), ("", "*-01"), ("1066-10-14", ""), ("x", "")]
)
def test_what_is_no_span_is_refused(first: str, last: str) -> None:
    with pytest.raises(ValueError):
        span(first, last)


def test_the_structs_say_what_they_hold() -> None:
    assert day_range("07-14") == DayRange(YearDay(7, 14), YearDay(7, 14))
    assert span("07-14", "") == DateSpan(YearDay(7, 14), None)
