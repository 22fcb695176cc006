from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.tables import Problem
from edge.rules import rule as bounds
from edge.rules.load import MAX_FILES, load
from edge.rules.rule import MAX_RULES
from support.examples import many

if TYPE_CHECKING:
    from conftest import Street
else:
    Street = Any


def one(when: str = "fill_level > 90.0", on: str = 'kind = "bin"', more: str = 'tag = "x"', name: str = "r") -> str:
    return f'[[rule]]\nname = "{name}"\non = {{ {on} }}\nwhen = """{when}"""\n{more}\n'


LAMP = 'kind = "streetlight"'
ALARM = '[rule.alarm]\nseverity = "low"\n'
HELD = "[rule.command]\nhold_s = 60\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # names
        (one("fill_levl > 90.0"), 'rules.toml:4: rule.r.when: there is no "fill_levl" (did you mean "fill_level"?)'),
        (one(more='tag = "x"\nclear = "fil_level < 1.0"'), 'rules.toml:6: rule.r.clear: there is no "fil_level"'),
        (one("quality.fill_levl == 'bad'"), 'there is no point "fill_levl" (did you mean "fill_level"?)'),
        (one("quality == 'bad'"), "write quality.NAME or age_s.NAME"),
        (one("answers > 1", 'id = "*"'), 'has no point "answers"; narrow the rule: on = { profile = ["lx-1"'),
        # selectors
        (one(on='kind = "bn"'), 'rules.toml:3: rule.r.on.kind: no device has the kind "bn" (did you mean "bin"?)'),
        (one(on='knd = "bin"'), 'rule.r.on.knd: no such key (did you mean "kind"?)'),
        (one(on='id = "bin-9"'), 'no device has the id "bin-9" (did you mean "bin-'),
        (one(on='tag = "park"'), 'no device has the tag "park"'),
        (one(on='id = "lamp-1", kind = "bin"'), "rule.r.on: selects no device: none matches all of these together"),
        (one(on=""), "rule.r.on: selects by nothing; write one of kind, profile, tag, id"),
        # the language
        (one("fill_level > 90.0 and tilted"), 'is not CEL at column 19: mismatched input \'and\'; write && for "and"'),
        (one("fill_level = 90.0"), 'write == for "is equal"'),
        (one("fill_level > 90,5"), "write a number with a point: 90.5"),
        (one("22:30 < hour"), "write hour > 22.5"),
        (one("hour >= 5:15"), "write hour >= 5.25"),
        (one("if tilted then true else false"), "write a ? b : c"),
        (one("not tilted"), 'write ! for "not"'),
        (one("lid.matches('(a+)+')"), "matches() is not allowed"),
        (one("[1, 2].exists(x, x > n)"), "exists() is not allowed: a condition has no loops"),
        (one("timestamp(lid) > timestamp(lid)"), "timestamp() is not allowed"),
        (one("{'a': 1}.a == 1"), "{ … } is not allowed"),
        (one("lid[0] == 'c'"), "x[…] is not allowed"),
        (one("contain(lid, 'c')"), 'contain() is not allowed (did you mean "contains"?)'),
        (one("(" * 200 + "tilted" + ")" * 200), "too deeply nested"),
        (one("tilted" + " || tilted" * 100), "must have at most 1000, not 1006"),
        (one("age_s.fill_level + 1.0 > 600.0"), "write for example age_s.fill_level > 600.0"),
        (one("age_s.fill_level > 600.0 * 2.0"), "an age is compared with a number, and nothing else"),
        # types
        (one("fill_level"), "rule.r.when: gives 0.0, not true or false"),
        (one("fill_level + 1 > 90.0"), "double + int: both must be of one type; write for example: fill_level + 1.0 >"),
        (one("n / 2.5 > 3.0"), "write for example: double(n) / 2.5 > 3.0"),
        (one("active_power / supply_current > 3", LAMP), ": active_power / double(supply_current) > 3"),
        (one("tilted > 1"), "values of types that do not go together; tilted is true or false"),
        (one("tilted && fill_level > 'x'"), "types that do not go together"),
        (one("tilted || n.startsWith('x')"), "startsWith() does not take what it is given"),
        (one("lid == 'opened'"), 'nothing here can be "opened" (did you mean "open"?)'),
        (one("quality.lid == 'god'"), 'nothing here can be "god" (did you mean "good"?)'),
        (one("fill_level > 150.0"), "is never true, whatever the devices say; fill_level goes from 0 to 100 %"),
        (one("weekday == 0"), "weekday goes from 1 (Monday) to 7 (Sunday)"),
        (one("hour > 22.5 && hour < 5.0"),
         "hour begins again at 0 at midnight: write hour > 22.5 || hour < 5.0"),
        (one("night && hour > 22.5 && 5.0 > hour"), "write (hour > 22.5 || 5.0 > hour)"),
        (one("quality.lid == 'good' && quality.lid == 'bad'"), "quality.lid is one of good, uncertain, bad"),
        (one("fill_level >= 0.0"), "is always true, whatever the devices say"),
        (one("true"), "is always true, whatever the devices say; it names nothing"),
        # windows
        (one("w > 1.0", more='tag = "x"\nwindow.w = { mean = "fill_level" }'), "window.w.over_s: is missing"),
        (one("w > 1.0", more='tag = "x"\nwindow.w = { mean = "fill_level", over_s = 90000 }'),
         "window.w.over_s: must be a number from 1 to 86400, not 90000"),
        (one("w > 1.0", more='tag = "x"\nwindow.w = { mean = "fill_levl", over_s = 9 }'),
         'rules.toml:6: rule.r.window.w.mean: there is no point "fill_levl" (did you mean "fill_level"?)'),
        (one("w > 1.0", more='tag = "x"\nwindow.w = { mean = "lid", over_s = 9 }'), "a text has no mean; only count"),
        (one("w > 1.0", more='tag = "x"\nwindow.w = { mean = "n", max = "n", over_s = 9 }'), "exactly one of mean"),
        (one(more='tag = "x"\nwindow.w = { mean = "n", over_s = 9 }'), "window.w: is not used; name it in `when`"),
        (one("lid > 1.0", more='tag = "x"\nwindow.lid = { mean = "n", over_s = 9 }'), "means something already"),
        (one("night", more='tag = "x"\nwindow.night = { mean = "n", over_s = 9 }'), "means something already"),
        (one(more='tag = "x"\nwindow.W = { mean = "n", over_s = 9 }'),
         'window.W: is "W"; small letters, digits and _, a letter first: write "w"'),
        # what it does
        (one(more=""), "rule.r: does nothing; write an alarm, a command or a tag"),
        (one(more=HELD + 'point = "lid"\nvalue = "open"'),
         "rules.toml:7: rule.r.command.point: lid of profile bn-1 is not writable; nothing of it can be set"),
        (one("dark", LAMP, HELD + 'point = "dim_level"\nvalue = 120'),
         "rules.toml:8: rule.r.command.value: dim_level takes 0 to 100 %, not 120"),
        (one("dark", LAMP, HELD + 'point = "dim_level"\nvalue = "full"'), "dim_level takes a number, not 'full'"),
        (one("dark", LAMP, HELD + 'point = "mode"\nvalue = "auto"'), "mode takes automatic, manual, safe, not 'auto'"),
        (one("dark", LAMP, HELD + 'point = "dim_levl"\nvalue = 1'), '"dim_levl" (did you mean "dim_level"?)'),
        (one("dark", LAMP, HELD + 'point = "dim_level"\nvalue = 1\non = { kind = "bin" }'),
         'profile bn-1 has no point "dim_level"; nothing of it can be set'),
        (one("dark", LAMP, '[rule.command]\npoint = "dim_level"\nvalue = 1'), "rule.r.command.hold_s: is missing"),
        (one(more=ALARM + 'text = { en = "{fil_level}" }'), "{fil_level} is nothing that is known here (did you mean"),
        (one(more=ALARM + 'text = "Lampe"'), 'must be a table, not "Lampe"; write text = { en = "…", fr = "Lampe" }'),
        (one(more='tag = "x"\nfor_s = "10 min"'), 'not "10 min"; write 600'),
        (one(name="Lampe éteinte"), 'write "lampe-eteinte"'),
        (one(more=ALARM + "text = { }"), "rule.r.alarm.text: has no words"),
        (one(more=ALARM.replace("low", "lwo") + 'text = { en = "x" }'), 'severity: is "lwo" (did you mean "low"?)'),
        (one(more=ALARM + 'text = { en = "x" }\nsuppresses = ["q"]'), 'suppresses[0]: there is no rule "q"'),
        (one(more=ALARM + 'text = { en = "x" }\nsuppresses = ["r"]'), "a rule cannot suppress itself"),
        (one(name="q") + one(more=ALARM + 'text = { en = "x" }\nsuppresses = ["q"]'), 'the rule "q" raises no alarm'),
        # the rest
        (one(more='tag = "x"\nunits = { fill_level = "1" }'), 'units.fill_level: profile bn-1 has fill_level in "%"'),
        (one(more='tag = "x"\nsilent_s = 60'), "silent_s: has no use here"),
        (one(more='tag = "x"\nfor = 60'), 'rules.toml:6: rule.r.for: no such key (did you mean "for_s"?)'),
        (one(name="R 1"), 'rule.R 1.name: is "R 1"; small letters, digits and "-": write "r-1"'),
        (one() + one(), 'rules.toml:7: rule.r.name: there is another rule "r", at '),
        ("[rules]\n", 'rules.toml: rules: no such table (did you mean "rule"?)'),
        ("[rule]\n", "must be written [[rule]], with two brackets"),
        ("rule = [3]\n", "rules.toml:1: rule: must be a table, not 3"),
        ("[[rule\n", "rules.toml: is not TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_file_line_and_what_to_write(street: Street, text: str, expected: str) -> None:
    found = street.problems(text)
    assert any(expected in problem for problem in found), "\n".join(found)
    assert len(found) == 1 or "window" in text or "\n".join(found).count("rule.r") == len(found)


def keys(found: list[str]) -> list[str]:
    return [p.split(": ")[1] for p in found]


def test_all_problems_are_told_at_once(street: Street) -> None:
    found = street.problems(
        one("fil > 1.0", more='for = 3\nunits = { n = "V" }') + one("lid == 3 && tilted > 2", name="s")
    )
    assert keys(found) == ["rule.r.for", "rule.r.when", "rule.r.units.n", "rule.s.when"]


def test_one_mistake_hides_no_other(street: Street) -> None:
    rest = ALARM.replace("low", "lwo") + 'text = { en = "{fol}" }\n' + HELD + 'point = "lid"\nvalue = "x"\n'
    wrong = one("fil > 1.0 && matches(lid, 'x') && foo(lid)", more='clear = "lid ==="\nunits = { n = "V" }\n' + rest)
    expected = [
        "rule.r.alarm.severity", "rule.r.when", "rule.r.when", "rule.r.when", "rule.r.clear", "rule.r.units.n",
        "rule.r.command.point", "rule.r.alarm.text.en",
    ]  # fmt: skip
    assert keys(street.problems(wrong)) == expected
    misspelt = street.problems(wrong.replace('kind = "bin"', 'kind = "bim"'))
    assert keys(misspelt) == [expected[0], "rule.r.on.kind", *expected[1:]], "as if it were the nearest"
    unknown = street.problems(wrong.replace('kind = "bin"', 'kidn = "bin"'))
    assert keys(unknown)[:2] == ["rule.r.on.kidn", "rule.r.alarm.severity"]
    assert "rule.r.clear: is not CEL" in "".join(unknown), "no names without devices, but the language is looked at"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('name = "r"', "", "rule.name"),
        ("when", "whn", "rule.r.whn"),
        ("hold_s = 60\n", "", "rule.r.command.hold_s"),
        ('point = "dim_levl"\n', "", "rule.r.command.point"),
        ("window.w = {", "window.w = { mean = 3,", "rule.r.window.w.mean"),
        ('suppresses = ["q"', 'suppresses = [3, "q"', "rule.r.alarm.suppresses[0]"),
    ],
)
def test_what_is_missing_or_of_a_wrong_form_hides_no_other(street: Street, old: str, new: str, key: str) -> None:
    more = (
        'units = { passages = "V" }\nwindow.w = { max = "passages", over_s = 60 }\n'
        + ALARM + 'text = { en = "x" }\nsuppresses = ["q"]\n' + HELD + 'point = "dim_levl"\nvalue = 1'
    )  # fmt: skip
    text = one("w > 5.0 && dark", LAMP, more)
    before, after = street.problems(text), street.problems(text.replace(old, new, 1))
    assert len(before) == 3
    assert any(key + ":" in p for p in after), "\n".join(after)
    told_again = {p.partition(": rule")[2].partition(": ")[2] for p in before} & {
        p.partition(": rule")[2].partition(": ")[2] for p in after
    }
    assert len(told_again) >= (2 if "point" in old else 3), "\n".join(after)


@pytest.mark.parametrize(
    ("when", "clear", "says"),
    [
        ("fill_level > 90.0", "fill_level > 70.0",
         'is false at fill_level = 0 too, where when is false: the rule would not end there; did you mean "fill'),
        ("fill_level < 10.0", "30.0 >= fill_level", "at fill_level = 100 too, where when is false"),
        ("fill_level > 90.0 && quality.fill_level == 'good'", "fill_level > 70.0", 'did you mean "fill_level < 70.0"?'),
        ("temperature > 70.0 || fill_level > 99.0", "temperature > 50.0", 'did you mean "temperature < 50.0"?'),
        ("tilted", "tilted", "is false where tilted is false too, where when is false: the rule would not end there"),
        ("tilted", " tilted ", 'did you mean "!tilted"?'),
        ("age_s.n > 600.0", "age_s.n > 300.0", "at age_s.n = 0 too"),
    ],
)  # fmt: skip
def test_a_clear_the_wrong_way_round_is_told(street: Street, when: str, clear: str, says: str) -> None:
    (found,) = street.problems(one(when, more=f'tag = "x"\nclear = "{clear}"'))
    assert says in found


@pytest.mark.parametrize(
    ("when", "clear"),
    [
        ("fill_level > 90.0", "fill_level < 70.0"),
        ("fill_level > 90.0", "fill_level <= 90.0"),
        ("fill_level > 90.0", "fill_level < 95.0"),
        ("fill_level < 10.0", "fill_level > 30.0"),
        ("temperature < -5.0", "temperature > 0.0 && temperature < 60.0"),  # back in its band
        ("temperature < -5.0 || temperature > 60.0", "temperature > 0.0 && temperature < 50.0"),
        ("temperature < -5.0 || temperature > 60.0", "temperature < 50.0"),
        ("tilted", "!tilted"),
        ("tilted && fill_level > 50.0", "!tilted || fill_level < 40.0"),
        ("tilted && fill_level > 50.0", "tilted && fill_level < 40.0"),
        ("lid == 'open'", "lid == 'closed'"),
        ("lid == 'open' && night", "lid == 'closed' || !night"),
        ("hour > 22.0", "hour > 6.0 && hour < 20.0"),
        ("night && tilted", "!night"),
        ("sun_elevation > 5.0 && tilted", "sun_elevation < 0.0 || !tilted"),
        ("silent", "!silent"),
        ("quality.n == 'bad'", "quality.n == 'good'"),
        ("age_s.n > 600.0", "age_s.n < 60.0"),
        ("fill_level > 90.0", "tilted"),
        ("fill_level > 90.0", "fill_level > 70.0 && false || fill_level < 50.0"),
        ("n > 5", "n == 0"),
        ("n > 5 && fill_level > 20.0", "n < 3 || fill_level < 10.0"),
        ("tilted ? fill_level > 80.0 : fill_level > 90.0", "fill_level < 70.0"),
    ],
)
def test_a_clear_that_can_be_reached_is_taken(street: Street, when: str, clear: str) -> None:
    assert street.problems(one(when, more=f'tag = "x"\nclear = "{clear}"')) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=many(60))
@given(begin=st.integers(1, 99), end=st.integers(1, 99), up=st.booleans())
def test_of_two_thresholds_exactly_those_that_point_apart_are_taken(
    street: Street, begin: int, end: int, up: bool
) -> None:
    this, other = (">", "<") if up else ("<", ">")
    good = one(f"fill_level {this} {begin}.0", more=f'tag = "x"\nclear = "fill_level {other} {end}.0"')
    assert street.problems(good) == []
    assert "did you mean" in street.problems(good.replace(f"{other} {end}", f"{this} {end}"))[0]


@pytest.mark.parametrize(
    "when",
    [
        "fill_level > 90",  # comparisons go across int and double
        "n > 2.5",
        "n * 2 > 5 && n % 2 == 0",
        "lid in ['open', 'closed'] && tilted",
        "lid.startsWith('op') || lid.contains('los') || size(lid) > 5 || lid.endsWith('n')",
        "has(quality.lid) && !(quality.lid == 'bad')",
        "600.0 < age_s.lid && (age_s.n <= 1e3 || !(age_s.tilted >= 5))",
        "tilted ? fill_level > 90.0 : fill_level > 95.0",
        "silent // of all of it\n || false",
        "double(n) / fill_level > 1.5",
        "int(fill_level) / 2 > n - 1",
        "weekday in [6, 7] && hour >= 22.5 && sun_elevation < -6.0 && night",
        "-temperature > 5.0 || temperature - 5.0 > 60.0",
        "lid != 'open'",
    ],
)
def test_what_is_sound_is_taken(street: Street, when: str) -> None:
    assert street.problems(one(when)) == []


def test_selectors_take_lists_and_patterns(street: Street) -> None:
    def watched(on: str) -> tuple[str, ...]:
        return street.rules(one("silent", on)).rules[0].devices

    assert watched('id = "bin-*"') == ("bin-1", "bin-2")
    assert watched('id = ["bin-1", "lamp-?"]') == ("lamp-1", "lamp-2", "bin-1")
    assert watched('kind = "bin", tag = "school"') == ("bin-1",)
    assert watched('profile = ["tm-3", "aq-2"]') == ("meter-1", "air-1")
    assert len(watched('id = "*"')) == 6


def test_a_value_is_made_fit_for_its_point(street: Street) -> None:
    holding = street.rules(one("dark", LAMP, HELD + 'point = "dim_level"\nvalue = 40')).rules[0].holding
    assert holding is not None
    assert (holding.value, type(holding.value), holding.devices) == (40.0, float, ())


def test_suppression_can_be_narrowed(street: Street) -> None:
    text = one("silent", 'id = "*"', ALARM + 'text = { en = "x" }', "quiet") + one(
        more=ALARM + 'text = { en = "x" }\nsuppresses = [{ rule = "quiet", on = { kind = "bin" } }]'
    )
    rules = street.rules(text)
    assert rules.suppressed_by("r", "bin-2") == ["quiet"]
    assert rules.suppressed_by("r", "lamp-1") == []
    assert rules.suppressed_by("quiet", "bin-2") == []
    assert rules.suppressed_by("no such rule", "bin-2") == ()
    assert 'suppresses[0].on.kind: no device has the kind "bim"' in "".join(
        street.problems(text.replace('on = { kind = "bin" } }]', 'on = { kind = "bim" } }]'))
    )


def test_the_number_of_rules_files_watches_and_windows_is_bounded(
    street: Street, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = "".join(one("tilted", name=f"r{i}") for i in range(MAX_RULES + 1))
    assert street.problems(many) == [f"rules.toml:{5 * MAX_RULES + 1}: rule: 201 rules; a node has at most 200"]
    found: list[Problem] = []
    street.file.write_text("")
    load([street.file] * (MAX_FILES + 1), street.roster, found)
    assert [str(p) for p in found] == ["rules: 51 files; a node has at most 50"]
    monkeypatch.setattr("edge.rules.load.MAX_WATCHES", 1)
    monkeypatch.setattr("edge.rules.load.MAX_WINDOWS", 1)
    told = street.problems(one("w > 1", more='tag = "x"\nwindow.w = { count = "n", over_s = 9 }'))
    assert told == [
        "rules.toml:1: rule.r: 2 devices watched over all rules; a node has at most 1: select fewer devices",
        "rules.toml:1: rule.r: 2 windows kept over all rules; a node has at most 1: select fewer devices",
    ]
    assert bounds.MAX_WATCHES > MAX_RULES


def test_files_are_read_together(street: Street, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(one(name="q"))
    street.file.write_text(one(more=ALARM + 'text = { en = "x" }'))
    found: list[Problem] = []
    rules = load([other, street.file, tmp_path / "none.toml"], street.roster, found)
    assert [r.name for r in rules.rules] == ["q", "r"]
    assert [str(p) for p in found] == [f"{tmp_path}/none.toml: cannot be read: No such file or directory"]


TOKENS = """
fill_level tilted n lid quality.lid age_s.n silent night hour > < == != && || ! ? : + - * / % ( ) [ ] { } , . in
has double int size startsWith 'open' 90.0 1 1e999 -1 0x1F 9223372036854775808 true null matches \\"\\"\\" // \\\\ é
"""
words = st.sampled_from(TOKENS.split())


@pytest.mark.slow
@settings(
    max_examples=many(200),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(parts=st.lists(words, max_size=14), glue=st.sampled_from(["", " "]))
def test_no_condition_stops_it(street: Street, parts: list[str], glue: str) -> None:
    """Whatever is written, it is taken or told; what is taken decides something or nothing, and never raises."""
    text = glue.join(parts)  # the last of TOKENS are written as TOML wants them
    if street.problems(one(text or " ")):
        return
    engine = street.engine(one(text))
    engine.take(street.sample("bin-1", 1, fill_level=0.0, n=2**63, tilted=True, lid="open"), 1_000_000)
    assert engine.explain("bin-1", 1_000_000)[0].decided in (True, False, None)


KEYS = [
    "name", "on", "when", "clear", "for_s", "window", "units", "alarm", "command", "tag", "kind", "id", "mean",
    "over_s", "severity", "text", "en", "suppresses", "rule",
]  # fmt: skip
trees = st.recursive(
    st.one_of(st.integers(-5, 200), st.booleans(), st.sampled_from(["r", "bin", "tilted", "n > 5", "low", "{n}", "w"])),
    lambda t: st.one_of(st.lists(t, max_size=3), st.dictionaries(st.sampled_from([*KEYS, "a b"]), t, max_size=4)),
    max_leaves=12,
)
right: dict[str, object] = {"name": "r", "on": {"kind": "bin"}, "when": "tilted", "tag": "x"}


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


@pytest.mark.slow
@settings(
    max_examples=many(200),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(tables=st.lists(st.dictionaries(st.sampled_from(KEYS), trees, max_size=6), min_size=1, max_size=2))
def test_no_table_stops_it(street: Street, tables: list[dict[str, object]]) -> None:
    """Tables of any shape, laid over one that is right: they are told, or they are rules."""
    texts = ["[[rule]]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in (right | t).items()) for t in tables]
    found = street.problems("\n".join(texts))
    if not found:
        assert len(street.rules("\n".join(texts)).rules) == len(tables)
    assert all(p.startswith("rules.toml:") for p in found)
