"""Buckets are what clocks on the wall show: days of 23 and 25 hours, hours that come twice, odd zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.history import calendar
from cloud.history.calendar import LENGTHS_US, edges, text

PARIS = ZoneInfo("Europe/Paris")
HOUR = 3_600_000_000
ZONES = (
    "UTC", "Europe/Paris", "America/St_Johns", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe",
    "Atlantic/Azores", "America/Sao_Paulo", "America/Havana", "Africa/Casablanca", "Pacific/Apia", "Asia/Gaza",
)  # fmt: skip


def at(given_: str) -> int:
    return int(datetime.fromisoformat(given_).timestamp()) * 1_000_000


def shown(found: list[int], zone: str) -> list[str]:
    return [text(edge, ZoneInfo(zone)) for edge in found]


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-28", 24), ("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)]
)
def test_days_of_23_and_25_hours(day: str, hours: int) -> None:
    noon = at(f"{day}T12:00:00+00:00")
    found = edges("1d", PARIS, noon, noon + 1)
    assert found[1] - found[0] == hours * HOUR
    assert shown(found, "Europe/Paris")[0].startswith(f"{day}T00:00:00+0")
    of_hours = edges("1h", PARIS, found[0], found[1])
    assert len(of_hours) == hours + 1
    assert len({text(e, PARIS) for e in of_hours}) == hours + 1, "the hour that comes twice has two names"


def test_the_hour_that_comes_twice_is_two_buckets() -> None:
    found = edges("1h", PARIS, at("2026-10-25T00:00:00+00:00"), at("2026-10-25T02:00:00+00:00"))
    assert shown(found, "Europe/Paris") == [
        "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00",
    ]  # fmt: skip


def test_an_hour_into_which_clocks_move_by_half_an_hour_is_shorter() -> None:
    moved = at("2026-04-04T15:00:00+00:00")  # 02:00 becomes 01:30
    found = edges("1h", ZoneInfo("Australia/Lord_Howe"), moved - HOUR, moved + HOUR)
    assert [b - a for a, b in pairwise(found)] == [HOUR, HOUR // 2, HOUR]
    assert shown(found, "Australia/Lord_Howe")[1] == "2026-04-05T01:30:00+10:30"


def test_a_midnight_that_does_not_exist_is_when_the_clocks_moved() -> None:
    noon = at("2018-11-04T12:00:00+00:00")
    found = edges("1d", ZoneInfo("America/Sao_Paulo"), noon, noon + 1)
    assert found[1] - found[0] == 23 * HOUR
    assert shown(found, "America/Sao_Paulo")[0] == "2018-11-04T01:00:00-02:00"


def test_what_is_too_long_or_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ValueError, match="before"):
        edges("1h", PARIS, 5, 5)
    with pytest.raises(ValueError, match="longer buckets"):
        edges("1m", PARIS, 0, (calendar.MAX_BUCKETS + 1) * 60_000_000)


def reference(every: str, zone: ZoneInfo, from_us: int, to_us: int) -> list[int]:
    """By looking at the clock on the wall each quarter of an hour: a bucket ends where what it shows is cut anew."""
    length = {"15m": 15, "1h": 60, "1d": 1440}[every]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)

    def shows(time_us: int) -> tuple[object, ...]:
        local = (epoch + timedelta(microseconds=time_us)).astimezone(zone)
        minute = local.hour * 60 + local.minute
        name = (local.date(), minute // length)
        return name if every == "1d" else (*name, local.utcoffset())

    step = 15 * 60_000_000
    first = from_us // step * step
    while shows(first - step) == shows(first):
        first -= step
    found, at_ = [first], first
    while found[-1] < to_us:
        at_ += step
        if shows(at_) != shows(at_ - step):
            found.append(at_)
    return found


@given(
    st.sampled_from(ZONES),
    st.sampled_from(["15m", "1h", "1d"]),
    st.integers(at("2005-01-01T00:00:00+00:00"), at("2030-01-01T00:00:00+00:00")),
    st.integers(1, 40 * HOUR),
)
def test_buckets_are_as_a_clock_on_the_wall_shows_them(
    zone: str, every: calendar.Every, from_us: int, for_us: int
) -> None:
    found = edges(every, ZoneInfo(zone), from_us, from_us + for_us)
    assert found == reference(every, ZoneInfo(zone), from_us, from_us + for_us)
    assert found[0] <= from_us < found[1]
    assert found[-2] < from_us + for_us <= found[-1]
    assert all(b - a <= LENGTHS_US[every] + HOUR for a, b in pairwise(found))
