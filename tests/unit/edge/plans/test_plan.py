"""The plan of examples/street through two years, against a naive reading of it with another library's sun."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import ephem
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.plans.load import load
from edge.plans.local import Location, bounds, to_us
from edge.plans.plan import MAX_DEVICES, MAX_NIGHTS, Plan, Setting, tonight
from wire.device import Device

STREET = Path(__file__).parents[4] / "examples" / "street" / "plan.toml"
DIJON = Location(lat=47.322, lon=5.041, time_zone="Europe/Paris", country="FR")
PARIS = ZoneInfo("Europe/Paris")
LAMP = Device(id="lamp-1", kind="streetlight", profile="lx-1")
CROSSING = Device(id="lamp-003", kind="streetlight", profile="lx-1", tags=("north", "school"))
BIN = Device(id="bin-1", kind="bin", profile="bn-1", tags=("school",))
MINUTE_US, DAY_US = 60_000_000, 86_400_000_000
FROM_US, TO_US = (to_us(datetime(y, 1, 1, tzinfo=PARIS)) for y in (2026, 2028))
MARGIN_US = 15_000_000  # what the two libraries may differ by at Dijon (test_sun.py finds 6 s)


@pytest.fixture(scope="module")
def street() -> Plan:
    return load(STREET.read_text(), DIJON, source=str(STREET))


def civil(height: str, first: date, n: int) -> tuple[list[int], list[int]]:
    """All moments of n days at which the sun sinks below a height, and at which it comes back, by PyEphem."""
    place = ephem.Observer()
    place.lat, place.lon, place.pressure, place.horizon = str(DIJON.lat), str(DIJON.lon), 0, height
    down: list[int] = []
    up: list[int] = []
    for i in range(n):
        noon = datetime(first.year, first.month, first.day, 12, tzinfo=UTC) + timedelta(days=i)
        place.date = ephem.Date(noon.replace(tzinfo=None))
        for found, find in ((down, place.next_setting), (up, place.next_rising)):
            found.append(to_us(find(ephem.Sun(), use_center=True).datetime().replace(tzinfo=UTC)))
    return down, up


FREE = set(  # public holidays of 2026 to the first of 2028
    map(
        date.fromisoformat,
        [
            "2026-01-01", "2026-04-06", "2026-05-01", "2026-05-08", "2026-05-14", "2026-05-25", "2026-07-14",
            "2026-08-15", "2026-11-01", "2026-11-11", "2026-12-25", "2027-01-01", "2027-03-29", "2027-05-01",
            "2027-05-08", "2027-05-06", "2027-05-17", "2027-07-14", "2027-08-15", "2027-11-01", "2027-11-11",
            "2027-12-25", "2028-01-01",
        ],
    )
)  # fmt: skip


def naive(evening: date, clock: time) -> float:
    """What the file says of the street at a time of a night, read by hand."""
    if (evening.month, evening.day) in {(7, 14), (12, 24), (12, 25), (12, 31)}:
        return 100
    late = evening.weekday() in {4, 5} or evening + timedelta(days=1) in FREE
    steps = [(time(0, 30), 60), (time(2, 30), 30), (time(6, 30), 70)] if late else []
    steps = steps or [(time(22, 30), 60), (time(0, 30), 30), (time(5), 70)]
    level = 100
    for at, step in sorted(steps, key=lambda s: (s[0] < time(12), s[0])):
        if (clock < time(12), clock) >= (at < time(12), at):
            level = step
    return level


@pytest.mark.slow
def test_two_years_minute_by_minute_are_what_the_file_says(street: Plan) -> None:
    """On at night, off by day, one setting at any time, on the two nights when the clock changes too."""
    downs, ups = civil("-6", date(2025, 12, 30), 735)
    compared = 0
    for time_us in range(FROM_US, TO_US, MINUTE_US):
        found = street.at(LAMP, time_us)
        assert found is not None
        assert found.since_us <= time_us < found.until_us
        i = bisect_right(downs, time_us + 5 * MINUTE_US + MARGIN_US)
        on, off = downs[i - 1] - 5 * MINUTE_US, ups[i - 1]
        if min(abs(time_us - on), abs(time_us - off)) <= MARGIN_US:
            continue  # the two libraries need not agree on the second
        local = datetime.fromtimestamp(time_us // 1_000_000, PARIS)
        evening = local.date() if local.hour >= 12 else local.date() - timedelta(days=1)
        # In the second of two equal hours all steps of the first have been.
        clock = time(2, 59, 59) if local.fold else local.time()
        assert found.value == (naive(evening, clock) if on <= time_us < off else 0), local
        compared += 1
    assert compared > 2 * 365 * 1440 * 0.99


@pytest.mark.parametrize("device", [LAMP, CROSSING], ids=lambda d: d.id)
@pytest.mark.slow
def test_the_settings_of_two_years_have_no_holes_and_no_overlaps(street: Plan, device: Device) -> None:
    found = street.changes(device, FROM_US, TO_US)
    assert found[0].since_us <= FROM_US
    assert found[-1].until_us >= TO_US
    for before, after in pairwise(found):
        assert before.until_us == after.since_us
        assert before.since_us < before.until_us
    assert {s.point for s in found} == {"dim_level"}
    assert {type(s.value) for s in found} == {float}


def test_both_years_have_a_night_of_23_and_one_of_25_hours(street: Plan) -> None:
    hours = [
        round((end - start) / 3_600_000_000)
        for start, end in (bounds(date(2026, 1, 1) + timedelta(days=i), street.zone) for i in range(730))
    ]
    assert (hours.count(23), hours.count(25), hours.count(24)) == (2, 2, 726)


@given(time_us=st.integers(FROM_US, TO_US - 1), hours=st.integers(1, 100), part=st.floats(0, 1), school=st.booleans())
def test_changes_and_at_agree(street: Plan, time_us: int, hours: int, part: float, school: bool) -> None:
    device = CROSSING if school else LAMP
    end = time_us + hours * 3_600_000_000
    found = street.changes(device, time_us, end)
    between = time_us + int(part * (end - time_us - 1))
    assert [s for s in found if s.since_us <= between < s.until_us] == [street.at(device, between)]
    assert all(s.until_us > time_us and s.since_us < end for s in found)
    assert [street.at(device, s.since_us) for s in found] == found
    assert [street.at(device, s.until_us - 1) for s in found] == found


def test_a_stretch_begins_with_what_holds_at_its_first_moment_and_ends_before_its_last(street: Plan) -> None:
    whole = street.changes(LAMP, FROM_US, FROM_US + 3 * DAY_US)
    assert street.changes(LAMP, whole[4].since_us, whole[6].since_us) == whole[4:6]
    assert street.changes(LAMP, whole[4].since_us - 1, whole[6].since_us + 1) == whole[3:7]


@given(time_us=st.integers(FROM_US, TO_US - 1), school=st.booleans())
def test_a_photocell_only_adds_light_and_only_near_the_night_or_where_allowed(
    street: Plan, time_us: int, school: bool
) -> None:
    device = CROSSING if school else LAMP
    plain, lit = street.at(device, time_us), street.at(device, time_us, dark=True)
    assert plain is not None
    assert lit is not None
    assert street.at(device, time_us, dark=False) == plain, "light at night is no reason to turn off"
    if plain.value:
        assert lit.value == plain.value
    elif lit.value and lit.program != "crossing":
        near = [street.at(device, time_us + s * 31 * MINUTE_US) for s in (-1, 1)]
        assert any(n is not None and n.value for n in near), "no earlier and no later than 30 minutes"


def test_a_setting_reaches_over_noon_to_where_the_lamp_does_something_else(street: Plan) -> None:
    """By day the lamp is off until dusk: noon, where the plan's nights meet, is nothing that happens to it."""
    morning, afternoon = (to_us(datetime(2026, 11, 24, h, tzinfo=PARIS)) for h in (9, 15))
    found = street.at(LAMP, morning)
    assert found is not None
    ends = datetime.fromtimestamp(found.until_us / 1e6, PARIS)
    assert (found.value, f"{ends:%H:%M}") == (0, "17:25")
    assert street.at(LAMP, afternoon) == found
    friday = street.at(LAMP, to_us(datetime(2026, 11, 27, 9, tzinfo=PARIS)))
    assert friday is not None
    assert datetime.fromtimestamp(friday.until_us / 1e6, PARIS).hour == 12, "from noon on another program is run"


def test_what_lasts_a_whole_night_ends_with_it() -> None:
    always = STREET.read_text().replace('active = [{ on = "dusk-5"', "active = [] #")
    plan = load(always, DIJON)
    found = plan.at(LAMP, to_us(datetime(2026, 7, 14, 15, tzinfo=PARIS)))
    assert found is not None
    assert (found.since_us, found.until_us) == bounds(date(2026, 7, 14), PARIS)


def test_a_storm_lights_the_crossing_and_not_the_street(street: Plan) -> None:
    noon = to_us(datetime(2026, 11, 24, 12, 30, tzinfo=PARIS))
    assert [s.value for d in (CROSSING, LAMP) if (s := street.at(d, noon, dark=True))] == [100, 0]
    assert [s.value for d in (CROSSING, LAMP) if (s := street.at(d, noon, dark=None))] == [0, 0]


@pytest.mark.parametrize(
    ("when", "program"),
    [
        ("2026-07-14 23:00", "feast"),
        ("2026-07-15 03:00", "feast"),  # the night belongs to its evening
        ("2026-07-13 23:00", "late"),  # the eve of a public holiday
        ("2026-05-14 23:00", "street"),  # Ascension, a Thursday
        ("2026-05-13 23:00", "late"),
        ("2026-11-27 23:00", "late"),  # a Friday
        ("2026-11-29 23:00", "street"),
        ("2026-12-31 23:59", "feast"),
    ],
)
def test_the_calendar_of_the_street(street: Plan, when: str, program: str) -> None:
    found = street.at(LAMP, to_us(datetime.fromisoformat(when).replace(tzinfo=PARIS)))
    assert found is not None
    assert found.program == program


def test_the_school_crossing_has_light_before_school_and_not_at_weekends(street: Plan) -> None:
    def at(when: str) -> Setting | None:
        return street.at(CROSSING, to_us(datetime.fromisoformat(when).replace(tzinfo=PARIS)))

    monday, saturday = at("2026-11-30 07:45"), at("2026-11-28 07:45")
    assert monday is not None
    assert saturday is not None
    assert (monday.program, monday.value) == ("crossing", 100)
    assert saturday.program == "street"


def test_a_device_that_no_assignment_selects_is_left_alone(street: Plan) -> None:
    assert street.at(BIN, FROM_US) is None
    assert street.changes(BIN, FROM_US, TO_US) == []
    assert street.groups([LAMP, BIN, CROSSING]) == {"street": [LAMP], "crossing": [CROSSING]}


def test_a_device_that_changes_is_looked_up_again(street: Plan) -> None:
    assert street.follows(LAMP) == "street"
    assert street.follows(Device(id=LAMP.id, kind="bin", profile="bn-1")) is None
    assert street.follows(LAMP) == "street"


@pytest.mark.slow
def test_what_is_kept_is_bounded(street: Plan) -> None:
    for i in range(MAX_DEVICES + 10):
        street.follows(Device(id=f"d{i}", kind="bin", profile="bn-1"))
    street.changes(LAMP, FROM_US, FROM_US + (MAX_NIGHTS + 50) * DAY_US)
    assert len(street._followed) <= MAX_DEVICES
    assert len(street._nights) <= MAX_NIGHTS


@pytest.mark.parametrize("time_us", [-(2**62), 0, 2**52, 2**62])
def test_a_clock_that_is_out_of_its_mind_still_gets_an_answer(street: Plan, time_us: int) -> None:
    assert street.at(LAMP, time_us) is not None
    assert street.changes(LAMP, time_us, time_us) == []


def test_asking_again_does_not_ask_the_sun(street: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = street.at(LAMP, FROM_US)

    def never(*_: object) -> float:
        raise AssertionError("the sun was asked again")

    monkeypatch.setattr(street.sun, "elevation_deg", never)
    for minute in range(600):
        found = street.at(LAMP, FROM_US + minute * 1_000_000)
        assert found == expected


@pytest.mark.parametrize(
    ("when", "evening"),
    [
        ("2026-11-23 13:00", "2026-11-23"),
        ("2026-11-23 22:00", "2026-11-23"),
        ("2026-11-24 03:00", "2026-11-23"),
        ("2026-11-24 09:00", "2026-11-24"),
    ],
)
def test_tonight_is_the_night_that_is_running_or_the_one_to_come(street: Plan, when: str, evening: str) -> None:
    assert tonight(street, to_us(datetime.fromisoformat(when).replace(tzinfo=PARIS))).isoformat() == evening


def test_a_plan_lives_through_the_polar_year() -> None:
    place = Location(lat=69.649, lon=18.955, time_zone="Europe/Oslo", country="NO")
    plan = load(STREET.read_text().replace('country = "FR"', ""), place)
    value: Callable[[datetime], object] = lambda t: (s := plan.at(LAMP, to_us(t))) and s.value  # noqa: E731
    assert value(datetime(2026, 6, 21, 0, 30, tzinfo=plan.zone)) == 0, "midnight sun"
    assert value(datetime(2026, 12, 21, 18, tzinfo=plan.zone)) == 100
    assert value(datetime(2026, 12, 21, 12, 30, tzinfo=plan.zone)) == 0, "civil twilight at noon"
