"""A plan is TALQ control programs, calendars and groups, and back, without loss.

The shapes are those of the TALQ 2.7.1 data model, of which the repository holds no copy: where the file is at hand
(LAMPLIGHTER_STANDARDS, or `shared/standards` beside the repository) what is made is checked against its schemas. What
TALQ has no word for travels under the key `x-lamplighter`, and the tests say exactly what that is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.plans.load import load
from edge.plans.local import Location
from edge.plans.public_holidays import public_holidays
from edge.plans.tables import (
    AssignTable,
    CalendarRuleTable,
    CalendarTable,
    PeriodTable,
    PlanTable,
    ProgramTable,
    StepTable,
)
from edge.plans.times import ClockTime, SunTime, told
from edge.selector import Selector
from unit.edge.plans.talq_shapes import (
    NOON,
    Json,
    X,
    assign_to,
    calendar_to,
    clock,
    plan_from,
    plan_to,
    program_from,
    program_to,
    rules_from,
)

ROOT = Path(__file__).parents[4]
STANDARDS = Path(os.environ.get("LAMPLIGHTER_STANDARDS") or ROOT.parent / "shared" / "standards")
DATA_MODEL = STANDARDS / "talq" / "talq-data-model-2-7-1-online.json"
STREET = ROOT / "examples" / "street" / "plan.toml"


@pytest.fixture(scope="module")
def street() -> PlanTable:
    place = Location(lat=47.322, lon=5.041, time_zone="Europe/Paris", country="FR")
    return load(STREET.read_text(), place, source=str(STREET)).table


@pytest.fixture(scope="module")
def check() -> Callable[[str, Json], None]:
    """Check an object against the schema of a TALQ class, and all that its discriminators name."""
    if not DATA_MODEL.is_file():
        pytest.skip(f"{DATA_MODEL} is not there: get the TALQ 2.7.1 data model, and set LAMPLIGHTER_STANDARDS")
    model = json.loads(DATA_MODEL.read_text())

    def find(kind: str, made: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{kind}", "components": model["components"]}
        jsonschema.Draft4Validator(schema, format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER).validate(made)

    def walk(kind: str, made: Json) -> None:
        find(kind, made)
        for period in made.get("activePeriods", ()):
            find(period["name"], period)
        for rule in made.get("rules", ()):
            if "condition" in rule:
                find(rule["condition"]["type"], rule["condition"])
        for control in (*made.get("fixedTimeControls", ()), *made.get("astroClockTimeControls", ())):
            find("LevelState", control["command"]["state"])

    return walk


def test_the_example_goes_to_talq_and_back_without_loss(street: PlanTable) -> None:
    made = json.loads(json.dumps(plan_to(street)))
    assert plan_from(made) == street


def test_the_example_is_what_the_schemas_of_talq_say(street: PlanTable, check: Callable[[str, Json], None]) -> None:
    made = plan_to(street)
    checked = 0
    for kind, objects in made.items():
        for each in objects if kind != X else ():
            check(kind, each)
            checked += 1
    assert checked == 4 + 2 + 2 + 2
    broken = plan_to(street)["ControlProgramOne"][0]
    broken["fixedTimeControls"][0]["command"]["state"]["value"] = 101
    with pytest.raises(jsonschema.ValidationError):
        check("ControlProgramOne", broken)


def test_only_what_talq_has_no_word_for_is_an_extension(street: PlanTable) -> None:
    """Civil twilight, steps that yield to the clock, names, public holidays as such, and selectors."""
    found: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key == X:
                    found.update(inner)
                else:
                    walk(inner)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    made = plan_to(street)
    made.pop(X)
    walk(made)
    assert found == {"on", "off", "yields", "name", "rule", "holiday", "from", "until", "selector"}


def test_a_control_room_that_knows_no_public_holidays_reads_the_dates(street: PlanTable) -> None:
    calendar = next(c for c in plan_to(street)["Calendar"] if c["id"] == "street")
    eves = [r["startDate"] for r in calendar["rules"] if r.get(X, {}).get("holiday") == "eve"]
    assert eves[:3] == ["2026-04-05", "2026-04-30", "2026-05-07"]


words = st.sampled_from(["sunset", "dusk", "dawn", "sunrise"])
clocks = st.integers(0, 86_399).filter(lambda s: s != 43_200).map(lambda s: told(ClockTime(s)))
offsets = st.integers(-360, 360)
suns = st.builds(lambda w, m: told(SunTime(w, m)), words, offsets)
levels, margins = st.integers(0, 100), st.integers(0, 120)


@st.composite
def programs(draw: st.DrawFn) -> ProgramTable:
    periods = st.one_of(
        st.builds(PeriodTable, on=clocks, off=clocks),
        st.builds(
            PeriodTable,
            on=st.builds(lambda w, m: told(SunTime(w, m)), st.sampled_from(["sunset", "dusk"]), offsets),
            off=st.builds(lambda w, m: told(SunTime(w, m)), st.sampled_from(["sunrise", "dawn"]), offsets),
            photocell_before_min=margins,
            photocell_after_min=margins,
        ),
    )
    by_clock = draw(st.lists(clocks, max_size=5, unique=True))
    by_clock.sort(key=lambda t: (clock(t) < NOON, clock(t)))
    by_sun = draw(st.lists(suns, max_size=5, unique=True))
    ops = st.sampled_from([None, "set", "max", "min", "add", "sub", "mul"])
    return ProgramTable(
        active=tuple(draw(st.lists(periods, max_size=8))),
        level=draw(levels),
        steps=(
            *(StepTable(at=t, level=draw(levels)) for t in by_clock),
            *(StepTable(at=t, level=draw(levels), op=draw(ops)) for t in by_sun),
        ),
        day_level=draw(levels),
        photocell_by_day=draw(st.booleans()),
    )


@given(program=programs())
def test_any_program_goes_to_talq_and_back(program: ProgramTable, check: Callable[[str, Json], None]) -> None:
    made = program_to("p", program)
    check("ControlProgramOne", made)
    assert program_from(json.loads(json.dumps(made))) == program


RULES = [
    CalendarRuleTable(program="p", days=("mon-fri", "sun")),
    CalendarRuleTable(program="p", days=("fri",), nth=("1", "last")),
    CalendarRuleTable(program="p", dates=("07-14", "12-24..12-31", "*-01", "*-10..*-12"), name="dates"),
    CalendarRuleTable(program="p", dates=("07-14",), from_="2026-01-01", until="2027-12-31"),
    CalendarRuleTable(program="p", days=("sat-sun",), from_="06-15", until="09-15"),
    CalendarRuleTable(program="p", from_="2026-06-21", until="2026-06-21"),
    CalendarRuleTable(program="p"),
    CalendarRuleTable(program="p", holiday="day", name="free"),
    CalendarRuleTable(program="p", holiday="eve", from_="03-01"),
    CalendarRuleTable(program="q", holiday="eve"),
]


def test_every_kind_of_rule_goes_to_talq_and_back(check: Callable[[str, Json], None]) -> None:
    calendar = CalendarTable(default="p", rule=tuple(RULES))
    made = calendar_to("c", calendar, public_holidays("FR"))
    check("Calendar", made)
    assert tuple(rules_from(json.loads(json.dumps(made["rules"])))) == tuple(RULES)


def test_a_group_of_devices_needs_no_extension() -> None:
    group, _ = assign_to(0, AssignTable(calendar="c", on=Selector(id=("lamp-1", "lamp-9"))), set())
    assert X not in group
    assert [m["address"] for m in group["members"]] == ["lamp-1", "lamp-9"]
