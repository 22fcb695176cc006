from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.plans.local import bounds, in_night, moment, night_of, to_datetime, to_us, zone

PARIS = ZoneInfo("Europe/Paris")
SPRING, AUTUMN = date(2026, 3, 28), date(2026, 10, 24)  # the evenings before the clock changes
ZONES = ["Europe/Paris", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "UTC"]


def utc(*at: int) -> int:
    return to_us(datetime(*at, tzinfo=UTC))  # type: ignore[misc]


@pytest.mark.parametrize(("night", "hours"), [(SPRING, 23), (AUTUMN, 25), (date(2026, 6, 1), 24)])
def test_a_night_runs_from_noon_to_noon(night: date, hours: int) -> None:
    start, end = bounds(night, PARIS)
    assert end - start == hours * 3_600_000_000
    assert to_datetime(start, PARIS).replace(tzinfo=None) == datetime(night.year, night.month, night.day, 12)  # noqa: DTZ001 - a clock's face


def test_a_time_in_the_gap_is_the_moment_after_it() -> None:
    after = utc(2026, 3, 29, 1)
    for second in (2 * 3600, 2 * 3600 + 1, 2 * 3600 + 1800, 3 * 3600 - 1, 3 * 3600):
        assert in_night(SPRING, second, PARIS) == after
    assert in_night(SPRING, 2 * 3600 - 1, PARIS) == after - 1_000_000
    assert to_datetime(after, PARIS).hour == 3


def test_of_a_doubled_time_it_is_the_first() -> None:
    assert in_night(AUTUMN, 2 * 3600 + 1800, PARIS) == utc(2026, 10, 25, 0, 30)
    assert in_night(AUTUMN, 3 * 3600, PARIS) == utc(2026, 10, 25, 2), "two hours after the first two o'clock"


def test_half_an_hour_of_gap_is_a_gap_too() -> None:
    lord_howe = ZoneInfo("Australia/Lord_Howe")
    found = moment(date(2026, 10, 4), 2 * 3600 + 900, lord_howe)
    assert to_datetime(found, lord_howe).strftime("%H:%M") == "02:30"


@given(st.integers(utc(1990, 1, 1), utc(2100, 1, 1)), st.sampled_from(ZONES))
def test_every_moment_is_in_exactly_one_night(time_us: int, name: str) -> None:
    local = ZoneInfo(name)
    night = night_of(time_us, local)
    start, end = bounds(night, local)
    assert start <= time_us < end
    assert bounds(night + timedelta(days=1), local)[0] == end


@given(st.dates(date(1990, 1, 1), date(2100, 1, 1)), st.integers(0, 86_399), st.sampled_from(ZONES))
def test_clock_times_keep_their_order_and_their_night(night: date, second: int, name: str) -> None:
    local = ZoneInfo(name)
    start, end = bounds(night, local)
    found = in_night(night, second, local)
    assert start <= found <= end
    if (second + 1) % 43_200:
        assert found <= in_night(night, second + 1, local)


def test_an_unknown_zone_says_what_to_write() -> None:
    for name in ("Europe/Dijon", "", "../etc/passwd", "Europe"):
        with pytest.raises(ValueError, match="Europe/Paris"):
            zone(name)
