"""The sun, against another library: PyEphem has its own theory of the sun (VSOP87) and its own search."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import ephem
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.plans.local import bounds
from edge.plans.sun import CIVIL_DEG, EVENING, HORIZON_DEG, MAX_KEPT, TURNS, Sun, Turn
from support.examples import many

DAYS = [date(2026, 1, 1) + timedelta(days=i) for i in range(730)]
DIJON = 47.322, 5.041, "Europe/Paris"
TROMSO = 69.649, 18.955, "Europe/Oslo"
PLACES = {
    "Dijon": (*DIJON, 10),
    "Tromsø": (*TROMSO, 120),  # around the first and last sunset of the year the sun grazes the horizon
    "Quito": (0.0, -78.5, "America/Guayaquil", 10),
    "Kiritimati": (1.87, -157.4, "Pacific/Kiritimati", 10),  # 14 hours ahead of UTC, 24 ahead of its sun
    "Urumqi": (43.8, 87.6, "Asia/Shanghai", 10),  # the sun is highest at two in the afternoon
}


def witness(lat: float, lon: float, turn: Turn, from_us: int) -> float | None:
    """When the sun next crosses the height (seconds since 1970), by PyEphem; None: not in the next day."""
    place = ephem.Observer()
    place.lat, place.lon, place.pressure, place.elevation = str(lat), str(lon), 0, 0
    place.horizon = str(HORIZON_DEG if turn in {"sunset", "sunrise"} else CIVIL_DEG)
    place.date = ephem.Date(datetime.fromtimestamp(from_us / 1e6, UTC).replace(tzinfo=None))
    find = place.next_setting if turn in EVENING else place.next_rising
    try:
        found = find(ephem.Sun(), use_center=True)
    except (ephem.AlwaysUpError, ephem.NeverUpError):
        return None
    return found.datetime().replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize("every", [pytest.param(1, id="each day", marks=pytest.mark.slow), 10])
@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("name", PLACES)
def test_two_years_of_turns_are_those_of_another_library(name: str, turn: Turn, every: int) -> None:
    lat, lon, zone, within_s = PLACES[name]
    sun = Sun(lat, lon, ZoneInfo(zone))
    found = 0
    days = DAYS[::every]
    for day in days:
        ours = sun.turn(turn, day)
        noon, next_noon = sun.noon(day), sun.noon(day + timedelta(days=1))
        theirs = witness(lat, lon, turn, noon if turn in EVENING else (noon + next_noon) // 2)
        if isinstance(ours, str):
            half_s = 12 * 3600
            assert theirs is None or theirs - noon / 1e6 > (half_s if turn in EVENING else 2 * half_s), (day, ours)
        else:
            assert theirs is not None, day
            assert abs(ours / 1e6 - theirs) <= within_s, day
            found += 1
    assert found > (0.54 * len(days) if name == "Tromsø" else len(days) - 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PLACES if name != "Tromsø"])
def test_the_four_turns_come_in_order_and_within_their_night(name: str) -> None:
    lat, lon, zone_name, _ = PLACES[name]
    zone = ZoneInfo(zone_name)
    sun = Sun(lat, lon, zone)
    for day in DAYS:
        morning = day + timedelta(days=1)
        start, end = bounds(day, zone)
        turns = [start, sun.sunset(day), sun.dusk(day), sun.dawn(morning), sun.sunrise(morning), end]
        assert turns == sorted(turns)  # type: ignore[type-var]


def test_polar_night_and_midnight_sun_are_told() -> None:
    sun = Sun(*TROMSO[:2], ZoneInfo(TROMSO[2]))
    assert (sun.sunset(date(2026, 12, 21)), sun.sunrise(date(2026, 12, 21))) == ("dark", "dark")
    assert isinstance(sun.dusk(date(2026, 12, 21)), int), "there is twilight around noon"
    assert {sun.turn(t, date(2026, 6, 21)) for t in TURNS} == {"light"}
    assert sun.is_night(1_798_000_000_000_000), "noon of a December day there"
    late = sun.sunset(date(2026, 5, 16))
    assert isinstance(late, int)
    assert datetime.fromtimestamp(late / 1e6, ZoneInfo(TROMSO[2])).date() == date(2026, 5, 17), "after midnight"


@pytest.mark.parametrize("lat", [90.0, -90.0])
def test_at_the_poles_nothing_fails(lat: float) -> None:
    sun = Sun(lat, 0.0)
    assert {sun.sunset(d) for d in DAYS[:365:7]} >= {"light", "dark"}


def test_without_a_zone_dates_are_those_of_the_sun() -> None:
    noon = datetime.fromtimestamp(Sun(0, 179).noon(date(2026, 4, 15)) / 1e6, UTC)
    assert abs(noon - datetime(2026, 4, 15, 0, 4, tzinfo=UTC)) < timedelta(minutes=3)


@settings(max_examples=many(200))
@given(st.floats(-66, 66), st.floats(-180, 180), st.dates(date(2000, 1, 1), date(2110, 1, 1)), st.sampled_from(TURNS))
def test_anywhere_the_sun_crosses_the_height_at_its_turn(lat: float, lon: float, night: date, turn: Turn) -> None:
    sun = Sun(lat, lon)
    found = sun.turn(turn, night)
    if isinstance(found, str):
        assert abs(lat) > 59, "twilight may last all night there"
        return
    minute = 60_000_000
    before, after = sun.elevation_deg(found - minute), sun.elevation_deg(found + minute)
    high = HORIZON_DEG if turn in {"sunset", "sunrise"} else CIVIL_DEG
    assert (before > high > after) if turn in EVENING else (before < high < after)


@pytest.mark.slow
def test_answers_are_kept_and_bounded() -> None:
    sun = Sun(*DIJON[:2], ZoneInfo(DIJON[2]))
    for i in range(MAX_KEPT + 10):
        sun.sunset(date(2000, 1, 1) + timedelta(days=i))
    assert len(sun._kept) <= MAX_KEPT
