"""One night: order, ties, layers, periods, the sun that does not come, and the two nights when the clock changes."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.plans.local import bounds, to_datetime
from edge.plans.program import Program, laid
from edge.plans.sun import Sun
from edge.plans.tables import MAX_PERIODS, MAX_STEPS, PeriodTable, ProgramTable, StepTable

PARIS, OSLO = ZoneInfo("Europe/Paris"), ZoneInfo("Europe/Oslo")
DIJON, TROMSO = Sun(47.322, 5.041, PARIS), Sun(69.649, 18.955, OSLO)
WINTER, SUMMER = date(2026, 1, 15), date(2026, 6, 21)
DUSK = PeriodTable(on="dusk", off="dawn")
CLOCK = PeriodTable(on="20:00", off="06:00")


def program(*steps: tuple[str, int] | StepTable, active: tuple[PeriodTable, ...] = (CLOCK,), **keys: int) -> Program:
    tables = [s if isinstance(s, StepTable) else StepTable(at=s[0], level=s[1]) for s in steps]
    return Program(ProgramTable(active=active, level=keys.pop("level", 100), steps=tuple(tables), **keys))  # type: ignore[arg-type]


def seen(
    found: Program, night: date = WINTER, *, sun: Sun = DIJON, zone: ZoneInfo = PARIS, dark: bool = False
) -> list[tuple[str, int]]:
    spans = found.night(night, sun, zone, dark=dark)
    return [(to_datetime(s.since_us, zone).strftime("%H:%M"), s.level) for s in spans]


def test_a_night_is_off_on_stepped_and_off_again() -> None:
    assert seen(program(("22:30", 60), ("05:00", 70))) == [
        ("12:00", 0), ("20:00", 100), ("22:30", 60), ("05:00", 70), ("06:00", 0),
    ]  # fmt: skip


def test_steps_are_in_the_order_of_the_night_however_they_are_written() -> None:
    assert seen(program(("05:00", 70), ("22:30", 60))) == seen(program(("22:30", 60), ("05:00", 70)))


def test_a_step_outside_the_night_switches_nothing() -> None:
    """One before `on` is what the lamp comes on with, one after `off` is never seen, the next night begins anew."""
    assert seen(program(("19:00", 80), ("06:30", 30))) == [("12:00", 0), ("20:00", 80), ("06:00", 0)]
    assert seen(program(("20:00", 80), ("06:00", 30))) == [("12:00", 0), ("20:00", 80), ("06:00", 0)]


def test_at_the_same_moment_the_sun_comes_after_the_clock_and_what_is_written_later_last() -> None:
    dusk = to_datetime(DIJON.turn("dusk", WINTER), PARIS)  # type: ignore[arg-type]
    clock = dusk.strftime("%H:%M:%S")
    assert seen(program(("dusk", 40), (clock, 90), active=()))[1][1] == 40
    assert seen(program((clock, 90), ("dusk", 40), active=()))[1][1] == 40
    # Both are before noon, which is where they begin to count.
    sooner = program(("sunset-300", 10), ("sunset-330", 20), active=())
    assert seen(sooner)[0] == ("12:00", 20)


def test_a_step_by_the_sun_holds_until_the_next_step_of_any_kind() -> None:
    found = seen(program(("dusk+60", 80), ("23:00", 50), ("dawn-60", 90), active=(DUSK,)))
    assert [level for _, level in found] == [0, 100, 80, 50, 90, 0]


def test_a_layer_lies_over_the_clock_until_the_next_step_by_the_sun() -> None:
    layer = StepTable(at="dusk+60", level=60, op="min")
    found = seen(program(layer, ("23:00", 80), ("00:30", 30), ("05:00", 70), ("dawn-60", 90), active=(DUSK,)))
    assert [level for _, level in found] == [0, 100, 60, 30, 60, 90, 0]
    over = program(StepTable(at="dusk+60", level=80, op="set"), ("23:00", 50), active=(DUSK,))
    assert [level for _, level in seen(over)] == [0, 100, 80, 0], "TALQ: set hides the clock's steps"


@pytest.mark.parametrize(
    ("op", "level"), [("set", 60), ("max", 80), ("min", 60), ("add", 100), ("sub", 20), ("mul", 48), (None, 60)]
)
def test_what_a_layer_does(op: str, level: int) -> None:
    assert laid(op, 60, 80) == level  # type: ignore[arg-type]


@given(st.sampled_from(["set", "max", "min", "add", "sub", "mul"]), st.integers(0, 100), st.integers(0, 100))
def test_a_layer_stays_a_level(op: str, level: int, base: int) -> None:
    assert 0 <= laid(op, level, base) <= 100  # type: ignore[arg-type]


def test_several_periods_and_a_level_for_the_day() -> None:
    periods = (PeriodTable(on="05:00", off="07:00"), PeriodTable(on="18:00", off="23:00"))
    assert seen(program(active=periods, day_level=5)) == [
        ("12:00", 5), ("18:00", 100), ("23:00", 5), ("05:00", 100), ("07:00", 5),
    ]  # fmt: skip


def test_periods_that_overlap_or_touch_are_one() -> None:
    periods = (
        PeriodTable(on="20:00", off="23:00"),
        PeriodTable(on="22:00", off="01:00"),
        PeriodTable(on="01:00", off="02:00"),
    )
    assert seen(program(active=periods)) == [("12:00", 0), ("20:00", 100), ("02:00", 0)]


def test_a_period_across_noon_is_the_beginning_and_the_end_of_the_night() -> None:
    assert seen(program(active=(PeriodTable(on="08:00", off="14:00"),))) == [
        ("12:00", 100),
        ("14:00", 0),
        ("08:00", 100),
    ]


def test_a_period_with_equal_ends_and_a_program_without_periods_are_always_on() -> None:
    assert seen(program(active=(PeriodTable(on="20:00", off="20:00"),))) == [("12:00", 100)]
    assert seen(program(active=())) == [("12:00", 100)]
    assert seen(program(active=(PeriodTable(on="20:00", off="12:00"),))) == [("12:00", 0), ("20:00", 100)]


def test_a_night_too_short_for_its_offsets_has_no_light() -> None:
    late = PeriodTable(on="sunset+240", off="sunrise-300")
    assert seen(program(active=(late,)), SUMMER) == [("12:00", 0)]
    assert len(seen(program(active=(late,)), WINTER)) == 3


def test_where_the_sun_does_not_set_periods_and_steps_by_it_do_not_come() -> None:
    found = program(("sunset+30", 50), ("23:00", 60), active=(DUSK, PeriodTable(on="22:00", off="00:00")))
    assert seen(found, SUMMER, sun=TROMSO, zone=OSLO) == [("12:00", 0), ("22:00", 100), ("23:00", 60), ("00:00", 0)]


def test_where_the_sun_does_not_rise_periods_by_it_last_to_both_noons() -> None:
    found = program(
        ("sunset+30", 50), ("sunrise-30", 90), ("23:00", 60), active=(PeriodTable(on="sunset", off="sunrise"),)
    )
    assert seen(found, date(2026, 12, 21), sun=TROMSO, zone=OSLO) == [("12:00", 50), ("23:00", 60)]


@pytest.mark.parametrize(
    ("night", "expected"),
    [
        (date(2026, 3, 28), [("01:30", 90), ("03:00", 20)]),
        (date(2026, 10, 24), [("01:30", 90), ("02:10", 10), ("02:30", 20)]),
        (date(2026, 10, 25), [("01:30", 90), ("02:10", 10), ("02:30", 20)]),
    ],
)
def test_the_nights_when_the_clock_changes(night: date, expected: list[tuple[str, int]]) -> None:
    """Steps in the gap come right after it, the last by the clock wins; of a doubled hour it is the first."""
    found = program(("01:30", 90), ("02:10", 10), ("02:30", 20), active=(DUSK,))
    assert seen(found, night)[2:-1] == expected
    spans = found.night(night, DIJON, PARIS)
    assert to_datetime(spans[-2].since_us, PARIS).fold == 0


def test_a_photocell_moves_both_ends_by_the_stated_minutes_and_no_more() -> None:
    period = PeriodTable(on="dusk", off="dawn", photocell_before_min=30, photocell_after_min=20)
    found = program(("22:30", 60), active=(period,))
    minute = 60_000_000
    plain = found.night(WINTER, DIJON, PARIS)
    dark = found.night(WINTER, DIJON, PARIS, dark=True)
    assert plain[1].since_us - dark[1].since_us == 30 * minute
    assert dark[-1].since_us - plain[-1].since_us == 20 * minute
    assert [s.level for s in dark] == [s.level for s in plain] == [0, 100, 60, 0]


def test_a_photocell_by_day_follows_the_schedule() -> None:
    found = program(("22:30", 60), active=(DUSK,), photocell_by_day=True)
    assert [level for _, level in seen(found, dark=True)] == [100, 60]
    assert [level for _, level in seen(found)] == [0, 100, 60, 0]


times = st.one_of(
    st.integers(0, 1439).map(lambda m: f"{m // 60:02}:{m % 60:02}"),
    st.tuples(st.sampled_from(["sunset", "dusk", "dawn", "sunrise"]), st.integers(-360, 360)).map(
        lambda t: f"{t[0]}{t[1]:+d}" if t[1] else t[0]
    ),
)
clock_periods = st.tuples(st.integers(0, 1439), st.integers(0, 1439)).map(
    lambda t: PeriodTable(on=f"{t[0] // 60:02}:{t[0] % 60:02}", off=f"{t[1] // 60:02}:{t[1] % 60:02}")
)
sun_periods = st.builds(
    lambda on, a, off, b, before, after: PeriodTable(
        on=f"{on}{a:+d}", off=f"{off}{b:+d}", photocell_before_min=before, photocell_after_min=after
    ),
    st.sampled_from(["sunset", "dusk"]), st.integers(-360, 360), st.sampled_from(["dawn", "sunrise"]),
    st.integers(-360, 360), st.integers(0, 120), st.integers(0, 120),
)  # fmt: skip


@st.composite
def programs(draw: st.DrawFn) -> ProgramTable:
    steps = draw(st.lists(times, max_size=12, unique=True))
    ops = st.sampled_from([None, "set", "max", "min", "add", "sub", "mul"])
    return ProgramTable(
        active=tuple(draw(st.lists(st.one_of(clock_periods, sun_periods), max_size=MAX_PERIODS))),
        level=draw(st.integers(0, 100)),
        steps=tuple(
            StepTable(at=at, level=draw(st.integers(0, 100)), op=None if ":" in at else draw(ops)) for at in steps
        ),
        day_level=draw(st.integers(0, 100)),
        photocell_by_day=draw(st.booleans()),
    )


@given(
    programs(),
    st.dates(date(2025, 1, 1), date(2028, 1, 1)),
    st.sampled_from([(DIJON, PARIS), (TROMSO, OSLO)]),
    st.lists(st.floats(0, 0.999999), max_size=10),
)
def test_a_night_has_no_holes_and_a_photocell_only_adds_light(
    table: ProgramTable, night: date, place: tuple[Sun, ZoneInfo], at: list[float]
) -> None:
    sun, zone = place
    found = Program(table)
    start, end = bounds(night, zone)
    plain, dark = found.night(night, sun, zone), found.night(night, sun, zone, dark=True)
    for spans in (plain, dark):
        assert (spans[0].since_us, spans[-1].until_us) == (start, end)
        assert all(a.until_us == b.since_us for a, b in pairwise(spans))
        assert all(s.since_us < s.until_us and 0 <= s.level <= 100 for s in spans)
        assert len(spans) <= 2 * (MAX_STEPS + 2 * MAX_PERIODS) + 1
    for part in at:
        moment = start + int(part * (end - start))
        by_plan = next(s for s in plain if s.since_us <= moment < s.until_us)
        by_cell = next(s for s in dark if s.since_us <= moment < s.until_us)
        assert by_cell.on or not by_plan.on
        if by_plan.on:
            assert by_cell.level == by_plan.level, "at night a photocell changes nothing"


def test_nights_follow_each_other_without_a_hole() -> None:
    found = program(("22:30", 60), active=(DUSK,))
    night, last = date(2026, 1, 1), None
    for i in range(730):
        spans = found.night(night + timedelta(days=i), DIJON, PARIS)
        assert last in {None, spans[0].since_us}
        last = spans[-1].until_us
