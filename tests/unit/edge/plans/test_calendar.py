from __future__ import annotations

from datetime import date, timedelta

import pytest

from edge.plans.calendar import Calendar, Choice
from edge.plans.public_holidays import MAX_YEARS, none_known, public_holidays
from edge.plans.tables import CalendarRuleTable, CalendarTable

# Code du travail, art. L3133-1; Easter is on 5 April 2026 and 28 March 2027.
FRANCE = [
    "2026-01-01", "2026-04-06", "2026-05-01", "2026-05-08", "2026-05-14", "2026-05-25", "2026-07-14", "2026-08-15",
    "2026-11-01", "2026-11-11", "2026-12-25",
    "2027-01-01", "2027-03-29", "2027-05-01", "2027-05-08", "2027-05-06", "2027-05-17", "2027-07-14", "2027-08-15",
    "2027-11-01", "2027-11-11", "2027-12-25",
]  # fmt: skip


def calendar(*rules: CalendarRuleTable) -> Calendar:
    return Calendar(CalendarTable(default="usual", rule=rules), public_holidays("FR"))


def test_the_first_rule_that_fits_decides() -> None:
    found = calendar(
        CalendarRuleTable(program="feast", dates=("07-14",)),
        CalendarRuleTable(program="late", days=("tue",)),
        CalendarRuleTable(program="never", days=("tue",)),
    )
    assert found.on(date(2026, 7, 14)) == Choice("feast", 0, "07-14"), "a Tuesday"
    assert found.on(date(2026, 7, 21)) == Choice("late", 1, "tue")
    assert found.on(date(2026, 7, 22)) == Choice("usual", None, "")


def test_public_holidays_and_their_eves() -> None:
    days = calendar(CalendarRuleTable(program="h", holiday="day"))
    eves = calendar(CalendarRuleTable(program="h", holiday="eve"))
    all_days = [date(2026, 1, 1) + timedelta(days=i) for i in range(730)]
    known = {date.fromisoformat(d) for d in FRANCE}
    assert {d for d in all_days if days.on(d).program == "h"} == known
    assert {d + timedelta(days=1) for d in all_days if eves.on(d).program == "h"} == (
        known - {date(2026, 1, 1)} | {date(2028, 1, 1)}
    )
    assert days.on(date(2026, 7, 14)).why == "Fête nationale"


def test_a_condition_and_a_span_must_both_hold() -> None:
    found = calendar(CalendarRuleTable(program="summer", days=("sat-sun",), from_="06-15", until="09-15"))
    assert [found.on(date(2026, 6, d)).program for d in (14, 15, 20)] == ["usual", "usual", "summer"]


def test_a_rule_without_a_condition_is_for_every_night_of_its_span() -> None:
    found = calendar(CalendarRuleTable(program="works", from_="2026-05-01", until="2026-05-03"))
    assert [found.on(date(2026, 5, d)).program for d in (1, 2, 3, 4)] == ["works"] * 3 + ["usual"]
    assert found.on(date(2026, 5, 1)).why == "2026-05-01…2026-05-03"


def test_the_name_of_a_rule_says_why() -> None:
    assert calendar(CalendarRuleTable(program="h", holiday="day", name="free")).on(date(2026, 5, 1)).why == "free"


def test_a_subdivision_has_holidays_of_its_own() -> None:
    good_friday = date(2026, 4, 3)
    assert public_holidays("FR", "57")(good_friday)
    assert not public_holidays("FR")(good_friday)


def test_an_unknown_country_or_subdivision_says_what_to_write() -> None:
    for country, part, says in [("FRA", "", '"FR"'), ("", "", "two letters"), ("FR", "21", "there are: .*57")]:
        with pytest.raises(ValueError, match=says):
            public_holidays(country, part)


def test_years_are_kept_and_bounded() -> None:
    name = public_holidays("FR")
    for year in range(2020, 2020 + MAX_YEARS * 2):
        assert name(date(year, 7, 14)), year
    assert not none_known(date(2026, 7, 14))
