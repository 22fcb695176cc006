"""A plan's text: everything that is wrong is told at once, with key and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.tables import Problem
from edge.plans import load as offered
from edge.plans.load import MAX_PROBLEMS, PlanError, load, load_file, read
from edge.plans.local import Location
from edge.plans.tables import MAX_ASSIGNMENTS, MAX_CALENDARS, MAX_PROGRAMS, MAX_RULES, MAX_STEPS, MAX_TEXT_BYTES
from wire.device import Device, Point, Roster

STREET = Path(__file__).parents[4] / "examples" / "street" / "plan.toml"
DIJON = Location(lat=47.322, lon=5.041, time_zone="Europe/Paris")
HEAD = 'name = "p"\nversion = 1\n'
PROGRAM = '[program.a]\nactive = [{ on = "dusk", off = "dawn" }]\nlevel = 100\n'
CALENDAR = '[calendar.c]\ndefault = "a"\n'
ASSIGN = '[[assign]]\ncalendar = "c"\non = { kind = "streetlight" }\n'
GOOD = HEAD + PROGRAM + CALENDAR + ASSIGN
LAMP = Device(id="lamp-1", kind="streetlight", profile="lx-1")
RULE = 'default = "a"\n[[calendar.c.rule]]\nprogram = "a"\n'
BLUE = '"a"\n[[calendar.c.rule]]\nprogram = "b"\n[program.b]\nactive = []\nlevel = 1\npoint = "blue"\n'
DIM = Point(name="dim_level", type="float", unit="%", low=0, high=100, writable=True)


def told(text: str | bytes, place: Location = DIJON, roster: Roster | None = None) -> dict[str, str]:
    with pytest.raises(PlanError) as caught:
        load(text, place, roster=roster)
    assert {p.file for p in caught.value.problems} == {"bundle"}
    assert str(caught.value).splitlines() == [str(p) for p in caught.value.problems]
    found: dict[str, str] = {}
    for problem in caught.value.problems:
        found[problem.key] = f"{found.get(problem.key, '')} {problem.text}".strip()
    return found


def test_a_sound_text_is_a_plan() -> None:
    plan = load(GOOD, DIJON)
    assert (plan.name, plan.version, plan.follows(LAMP)) == ("p", 1, "c")
    assert offered is load
    assert load(GOOD.replace("version = 1", 'version = "2026-11"'), DIJON).version == "2026-11"


def test_everything_wrong_is_told_at_once() -> None:
    found = told(
        HEAD
        + """
        nmae = "x"
        [holidays]
        country = "FRA"
        [program.a]
        active = [{ on = "dusk", off = "22:00" }, { on = "dawn", off = "dusk" }, { on = "25:00", off = "moonset" }]
        level = 101
        steps = [{ at = "22:30", level = 1.5 }, { at = "22:30", level = 5, op = "max" }, { at = "soon", level = 5 }]
        [calendar.c]
        default = "b"
        [[calendar.c.rule]]
        program = "A"
        days = ["lundi"]
        from = "2026-02-30"
        [[calendar.c.rule]]
        program = "a"
        days = ["mon"]
        dates = ["07-14"]
        [[assign]]
        calendar = "d"
        on = {}
        """
    )
    assert {k: v.split(";")[0] for k, v in found.items()} == {
        "nmae": 'no such key (did you mean "name"?)',
        "program.a.active[0]": "on and off must both be clock times or both be by the sun",
        "program.a.active[1]": "on must be by dusk or sunset, off by dawn or sunrise",
        "program.a.active[2]": 'on is "25:00"',
        "program.a.level": "must be a whole number from 0 to 100, not 101",
        "program.a.steps[0].level": "must be a whole number from 0 to 100, not 1.5",
        "program.a.steps[1]": "op is for steps by the sun (dusk, dawn, sunset, sunrise)",
        "program.a.steps[2]": 'at is "soon"',
        "calendar.c.default": 'there is no program "b"',
        "calendar.c.rule at line 13.program": 'there is no program "A"',
        "calendar.c.rule at line 13": 'days is "lundi"',
        "calendar.c.rule at line 17": "has more than one of days, dates, holiday",
        "assign[0].calendar": 'there is no calendar "d"',
        "assign[0].on": "selects by nothing",
    }
    assert 'off is "moonset"' in found["program.a.active[2]"], "both ends"
    assert 'from is "2026-02-30", a day that does not exist' in found["calendar.c.rule at line 13"]


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        ("level = 100", 'level = 100\nsteps = [{ at = "01:00", level = 1 }, { at = "01:00:00", level = 2 }]',
         "program.a", "01:00, 01:00:00 twice"),
        ("level = 100", 'level = 100\npoint = "Dim Level"', "program.a.point",
         'small letters, digits and _: write "dim_level"'),
        ('off = "dawn"', 'off = "dawn", photocell_before_min = 121', "program.a.active[0].photocell_before_min", "120"),
        ('on = "dusk", off = "dawn"', 'on = "20:00", off = "06:00", photocell_after_min = 5', "program.a.active[0]",
         "by the sun only"),
        ('default = "a"', RULE + 'nth = ["1"]', "calendar.c.rule at line 8",
         "nth needs days"),
        ('default = "a"', RULE + 'holiday = "day"', "holidays.country",
         'country = "FR"'),
        ('default = "a"', RULE + 'holiday = "day"\n[holidays]\ncountry = "FR"\nsubdivision = "21"',
         "holidays", "there are: 57"),
        ('"a"\n', BLUE, "calendar.c",
         "different points (blue, dim_level)"),
        (PROGRAM, "[program]\n", "program", "must not be empty"),
        (CALENDAR, "[calendar]\n", "calendar", "must not be empty"),
        (ASSIGN, "", "assign", "is missing"),
        ('name = "p"', 'name = "\\u001b[2J"', "name", "without control characters"),
        ("[program.a]", '[program."a b"]', 'program."a b"', 'write "a-b"'),
    ],
)  # fmt: skip
def test_what_is_refused(old: str, new: str, key: str, says: str) -> None:
    assert old in GOOD
    assert says in told(GOOD.replace(old, new))[key]


def test_what_is_no_text_of_a_plan() -> None:
    assert "is not TOML" in told("a = ")[""]
    assert "line 2" in told("a = 1\nb = ,\n")[""]
    assert "UTF-8" in told(b"\xff")[""]
    assert "UTF-8" in told("\ud800")[""]
    assert "nested deeper" in told("a = " + "[" * 20_000)[""]
    assert str(MAX_TEXT_BYTES) in told("#" * (MAX_TEXT_BYTES + 1))[""]
    assert load(GOOD + "#" * (MAX_TEXT_BYTES - len(GOOD)), DIJON)


def test_a_site_without_a_known_time_zone_is_told() -> None:
    assert "Europe/Paris" in told(GOOD, Location(lat=0, lon=0, time_zone="Mars/Phobos"))[""]


def test_the_bounds() -> None:
    def programs(n: int) -> str:
        return "".join(PROGRAM.replace("program.a", f"program.a{i}") for i in range(n - 1))

    def calendars(n: int) -> str:
        return "".join(CALENDAR.replace("calendar.c", f"calendar.c{i}") for i in range(n - 1))

    def steps(n: int) -> str:
        many = ",".join(f'{{ at = "{i // 60:02}:{i % 60:02}", level = 1 }}' for i in range(n))
        return GOOD.replace("level = 100", f"level = 100\nsteps = [{many}]")

    rule = '[[calendar.c.rule]]\nprogram = "a"\ndays = ["mon"]\n'
    for n, text, key in [
        (MAX_PROGRAMS, lambda n: GOOD + programs(n), "program"),
        (MAX_CALENDARS, lambda n: GOOD + calendars(n), "calendar"),
        (MAX_RULES, lambda n: GOOD + rule * n, "calendar.c.rule"),
        (MAX_ASSIGNMENTS, lambda n: GOOD + ASSIGN * (n - 1), "assign"),
        (MAX_STEPS, steps, "program.a.steps"),
    ]:
        assert load(text(n), DIJON)
        assert f"{n}" in told(text(n + 1))[key]
    half = MAX_RULES // 2 + 1
    two = GOOD + rule * half + '[calendar.d]\ndefault = "a"\n' + rule.replace("calendar.c", "calendar.d") * half
    assert "together" in told(two)["calendar"]


def test_a_thousand_mistakes_are_told_in_a_hundred_lines() -> None:
    with pytest.raises(PlanError) as caught:
        load(GOOD + '\n[[assign]]\ncalendar = "x"\non = { kind = "k" }' * 150, DIJON)
    assert len(caught.value.problems) == MAX_PROBLEMS + 1
    assert "and 50 more" in str(caught.value)


def test_a_plan_is_checked_against_the_devices_of_the_node() -> None:
    other = Device(id="lamp-2", kind="streetlight", profile="lx-2")
    bin_ = Device(id="bin-1", kind="bin", profile="bn-1")
    good = Roster(devices=(LAMP, bin_), profiles={"lx-1": (DIM,), "bn-1": ()})
    assert load(GOOD, DIJON, roster=good)
    missing = Roster(
        devices=(LAMP, other, other),
        profiles={"lx-1": (DIM,), "lx-2": (Point(name="dim_levle", type="float", writable=True),)},
    )
    text = told(GOOD, roster=missing)["assign[0].on"]
    assert text == 'selects "lamp-2", whose profile lx-2 has no point "dim_level" (did you mean "dim_levle"?)'
    for point in (Point(name="dim_level", type="float"), Point(name="dim_level", type="text", writable=True)):
        fixed = Roster(devices=(LAMP,), profiles={"lx-1": (point,)})
        assert "must be writable and a number" in told(GOOD, roster=fixed)["assign[0].on"]


def of_file(folder: Path, text: str, roster: Roster) -> list[str]:
    (folder / "plan.toml").write_text(text)
    problems: list[Problem] = []
    load_file(folder / "plan.toml", DIJON, problems=problems, roster=roster)
    return [f"{p.key}: {p.text}" for p in problems]


def test_the_nodes_own_file_selects_devices_and_a_bundle_need_not(tmp_path: Path) -> None:
    roster = Roster(devices=(LAMP,), profiles={"lx-1": (DIM,)})
    wrong = GOOD.replace('kind = "streetlight"', 'kind = "streetlamp"')
    found = of_file(tmp_path, wrong, roster)
    assert found == ['assign[0].on.kind: no device has the kind "streetlamp" (did you mean "streetlight"?)']
    none = GOOD.replace('kind = "streetlight"', 'kind = "streetlight", id = "lamp-1", profile = "lx-*", tag = "x"')
    assert of_file(tmp_path, none, roster) == ['assign[0].on.tag: no device has the tag "x"; no device has a tag']
    assert of_file(tmp_path, wrong, Roster(devices=(), profiles={})) == [], "there is nothing to select yet"
    assert of_file(tmp_path, GOOD, roster) == []
    assert load(wrong, DIJON, roster=roster).groups(roster.devices) == {}


def test_no_mistake_hides_another() -> None:
    """Each of these stands in another table, and one of them is no form at all."""
    roster = Roster(devices=(LAMP,), profiles={"lx-1": (Point(name="dim_levle", type="float", writable=True),)})
    text = GOOD.replace("level = 100", 'level = "60%"').replace('default = "a"', RULE + 'holiday = "day"\ndays = "mon"')
    found = told(text + '[calendar.d]\ndefault = "x"\n[holidays]\nsubdivision = "21"', roster=roster)
    assert list(found) == [
        "program.a.level", "calendar.c.rule at line 8.days", "calendar.d.default", "holidays.country", "assign[0].on",
    ]  # fmt: skip
    assert found["program.a.level"].endswith('not "60%"; write 60')
    assert 'did you mean "dim_levle"?' in found["assign[0].on"]


def test_a_rule_of_a_calendar_is_told_by_its_name() -> None:
    named = GOOD.replace('default = "a"', RULE + 'name = "14 juillet"\ndates = ["14-07"]')
    assert told(named) == {'calendar.c.rule "14 juillet"': 'dates is "14-07"; the month comes first: write "07-14"'}
    inline = GOOD.replace('default = "a"', 'default = "a"\nrule = [{ program = "a" }, { program = "b" }]')
    assert list(told(inline)) == ["calendar.c.rule 2.program"]


def test_a_profile_of_which_nothing_can_be_set_is_told_so() -> None:
    roster = Roster(devices=(LAMP,), profiles={"lx-1": ()})
    text = told(GOOD, roster=roster)["assign[0].on"]
    assert text.endswith('no point "dim_level"; nothing of it can be set: select other devices')


def test_a_file_is_read_or_the_reason_told(tmp_path: Path) -> None:
    problems: list[Problem] = []
    assert load_file(STREET, DIJON, problems=problems) is not None
    assert problems == []
    assert load_file(tmp_path / "none.toml", DIJON, problems=problems) is None
    large = tmp_path / "large.toml"
    large.write_text("#" * (MAX_TEXT_BYTES * 2))
    assert load_file(large, DIJON, problems=problems) is None
    assert [p.file for p in problems] == [str(tmp_path / "none.toml"), str(large)]
    assert "cannot be read" in problems[0].text


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200)))
def test_no_input_stops_it(data: str | bytes) -> None:
    problems: list[Problem] = []
    assert read(data, DIJON, source="bundle", problems=problems) is None, "none of these has a program"
    assert problems


trees = st.recursive(
    st.one_of(st.integers(-5, 200), st.text(max_size=5), st.booleans(), st.sampled_from(["a", "c", "dusk"])),
    lambda t: st.one_of(
        st.lists(t, max_size=3), st.dictionaries(st.sampled_from(["a", "c", "rule", "on", "kind"]), t, max_size=3)
    ),
    max_leaves=10,
)


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(c if c.isascii() and c.isalnum() else "_" for c in value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    return str(value)


@given(st.dictionaries(st.sampled_from(["name", "version", "program", "calendar", "assign", "holidays"]), trees))
def test_tables_of_any_shape_are_refused_and_stop_nothing(tables: dict[str, object]) -> None:
    with pytest.raises(PlanError):
        load("\n".join(f"{k} = {toml(v)}" for k, v in tables.items()), DIJON)
