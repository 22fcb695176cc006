from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from edge.rules.effects import Effect, Hold, MarkEffect, Raise, Release, Return
from edge.rules.engine import HEAP_SLACK, Engine
from edge.rules.seen import MAX_TOGETHER
from wire.sample import Value

if TYPE_CHECKING:
    from conftest import Street
else:
    Street = Any

S = 1_000_000
TAIL = 'alarm = { severity = "low", text = { en = "x" } }\n'


def rule(when: str, more: str = "", on: str = 'kind = "bin"', tail: str = TAIL) -> str:
    return f"[[rule]]\nname = \"r\"\non = {{ {on} }}\nwhen = '''{when}'''\n{tail}{more}\n"


def told(effects: list[Effect]) -> list[tuple[str, str, float]]:
    return [(type(e).__name__, e.cause if isinstance(e, Hold | Release) else e.device, e.time_us / S) for e in effects]


def fed(street: Street, engine: Engine, *steps: tuple[float, dict[str, Any]], device: str = "bin-1") -> list[Effect]:
    found: list[Effect] = []
    for at_s, values in steps:
        found += engine.take(street.sample(device, at_s, **values), round(at_s * S))
    return found


def levels(*pairs: tuple[float, float]) -> list[tuple[float, dict[str, Any]]]:
    return [(at, {"fill_level": level}) for at, level in pairs]


def test_an_alarm_is_raised_once_and_returns(street: Street) -> None:
    engine = street.engine(rule("fill_level > 90.0"))
    effects = fed(street, engine, *levels((1, 50.0), (2, 91.0), (3, 95.0), (4, 90.0), (5, 10.0), (6, 99.0)))
    assert told(effects) == [("Raise", "bin-1", 2), ("Return", "bin-1", 4), ("Raise", "bin-1", 6)]
    assert effects[0].values == {"fill_level": 91.0}  # type: ignore[union-attr]


def test_devices_are_apart_and_others_are_not_looked_at(street: Street) -> None:
    engine = street.engine(rule("fill_level > 90.0"))
    assert told(fed(street, engine, *levels((1, 95.0)), device="bin-2")) == [("Raise", "bin-2", 1)]
    assert told(fed(street, engine, *levels((2, 95.0)), device="bin-1")) == [("Raise", "bin-1", 2)]
    assert fed(street, engine, (3, {"lamp_on": True}), device="lamp-1") == []
    assert engine.explain("lamp-1", 3 * S) == []


def test_a_condition_must_hold_for_its_time_and_is_stamped_when_it_was_due(street: Street) -> None:
    engine = street.engine(rule("fill_level > 90.0", "for_s = 60"))
    assert fed(street, engine, *levels((0, 95.0), (30, 80.0), (40, 95.0), (99, 95.0))) == []
    assert engine.due_us() is not None
    assert told(engine.advance(500 * S)) == [("Raise", "bin-1", 100)]
    assert told(fed(street, engine, *levels((501, 1.0)))) == [("Return", "bin-1", 501)]


def test_a_sooner_moment_goes_before_a_later_one(street: Street) -> None:
    engine = street.engine(rule("fill_level > 90.0 || silent", "for_s = 60", 'id = "bin-1"'))
    engine.advance(0)
    fed(street, engine, *levels((100, 95.0)))
    assert engine.due_us() == 160 * S, "and not when it would be silent"
    assert told(engine.advance(7000 * S)) == [("Raise", "bin-1", 160)]


def test_what_fell_due_comes_before_the_sample_that_ends_it(street: Street) -> None:
    engine = street.engine(rule("fill_level > 90.0", "for_s = 60"))
    effects = fed(street, engine, *levels((0, 95.0), (60, 1.0)))
    assert told(effects) == [("Raise", "bin-1", 60), ("Return", "bin-1", 60)]


def test_clear_ends_it_and_nothing_else_does(street: Street) -> None:
    engine = street.engine(rule("fill_level > 90.0", 'clear = "fill_level < 70.0"'))
    effects = fed(street, engine, *levels((1, 91.0), (2, 80.0), (3, 95.0), (4, 70.0), (5, 69.0), (6, 80.0)))
    assert told(effects) == [("Raise", "bin-1", 1), ("Return", "bin-1", 5)]


def test_a_clear_that_overlaps_does_not_flutter(street: Street) -> None:
    engine = street.engine(rule("fill_level > 90.0", 'clear = "fill_level < 95.0"'))
    assert told(fed(street, engine, *levels((1, 91.0), (2, 94.0), (3, 92.0)))) == [("Raise", "bin-1", 1)]


def test_beginnings_keep_their_distance(street: Street) -> None:
    engine = street.engine(rule("fill_level > 90.0", "min_interval_s = 100"))
    effects = fed(street, engine, *levels((0, 95.0), (10, 1.0), (20, 95.0), (30, 1.0), (40, 95.0)))
    assert told(effects) == [("Raise", "bin-1", 0), ("Return", "bin-1", 10)]
    assert told(engine.advance(200 * S)) == [("Raise", "bin-1", 100)], "it was true again all the time"


# ---- what is not known --------------------------------------------------------------------------------------------


def test_bad_null_missing_and_wrong_are_unknown_and_change_nothing(street: Street) -> None:
    engine = street.engine(rule("fill_level > 90.0"))
    assert fed(street, engine, (0, {"tilted": True})) == []
    assert told(fed(street, engine, *levels((1, 95.0)))) == [("Raise", "bin-1", 1)]
    assert fed(street, engine, (2, {"bad": ["fill_level"]}), (3, {"fill_level": None}), (4, {"fill_level": "x"})) == []
    (now,) = engine.explain("bin-1", 4 * S)
    assert (now.state, now.decided, now.why) == ("true", None, "fill_level has no value")
    assert told(fed(street, engine, *levels((5, 5.0)))) == [("Return", "bin-1", 5)]


def test_an_uncertain_value_counts_unless_quality_is_asked(street: Street) -> None:
    doubt = (1, {"fill_level": 99.0, "uncertain": ["fill_level"]})
    assert told(fed(street, street.engine(rule("fill_level > 90.0")), doubt)) == [("Raise", "bin-1", 1)]
    strict = street.engine(rule("fill_level > 90.0 && quality.fill_level == 'good'"))
    assert fed(street, strict, doubt) == []
    assert told(fed(street, strict, *levels((2, 99.0)))) == [("Raise", "bin-1", 2)]


@pytest.mark.parametrize(
    ("when", "values", "decided"),
    [
        ("tilted || fill_level > 90.0", {"tilted": True}, True),
        ("fill_level > 90.0 || tilted", {"tilted": True}, True),
        ("tilted && fill_level > 90.0", {"tilted": False}, False),
        ("fill_level > 90.0 && tilted", {"tilted": False}, False),
        ("tilted || fill_level > 90.0", {"tilted": False}, None),
        ("tilted && fill_level > 90.0", {"tilted": True}, None),
        ("!(fill_level > 90.0)", {"tilted": True}, None),
        ("quality.fill_level == 'bad'", {"bad": ["fill_level"]}, True),
        ("quality.fill_level == 'bad'", {"tilted": True}, None),
        ("has(quality.fill_level)", {"tilted": True}, False),
        ("!has(age_s.fill_level) && tilted", {"tilted": True}, True),
        ("temperature / (fill_level - 5.0) > 1.0", {"temperature": 0.0, "fill_level": 5.0}, None),
        ("n / (n - 5) > 1", {"n": 5}, None),
        ("fill_level > 90.0", {"fill_level": 91}, True),  # a whole number is a fine value where fractions are held
    ],
)
def test_three_values(street: Street, when: str, values: dict[str, Any], decided: bool | None) -> None:
    engine = street.engine(rule(when))
    fed(street, engine, (1, values))
    assert engine.explain("bin-1", S)[0].decided is decided


def test_a_value_grows_stale(street: Street) -> None:
    day = {0: True, 7300: False}

    def ambient(at_us: int) -> Mapping[str, Value]:
        return {"night": [v for at, v in day.items() if at * S <= at_us][-1]}

    engine = street.engine(rule("!night && tilted"), ambient)
    fed(street, engine, (0, {"tilted": True}))
    assert engine.advance(9000 * S) == [], "it was tilted two hours ago, and nobody knows about now"
    assert told(fed(street, engine, (9001, {"tilted": True}))) == [("Raise", "bin-1", 9001)]


def test_a_point_that_reports_by_exception_stays_fresh_until_its_heartbeat(street: Street) -> None:
    def ambient(at_us: int) -> Mapping[str, Value]:
        return {"night": at_us < 7300 * S}

    engine = street.engine(rule("!night && tilted"), ambient, {"bin-1": {"tilted": 3600}})
    fed(street, engine, (0, {"tilted": True}))
    assert told(engine.advance(9000 * S)) == [("Raise", "bin-1", 7320)], "on the next full minute"


def test_nothing_begins_on_what_is_not_known(street: Street) -> None:
    engine = street.engine(rule("fill_level > 90.0", "for_s = 60"))
    fed(street, engine, *levels((0, 95.0)), (30, {"bad": ["fill_level"]}))
    assert engine.advance(100 * S) == []
    assert told(fed(street, engine, *levels((110, 95.0)))) == [("Raise", "bin-1", 110)]


# ---- age and silence ----------------------------------------------------------------------------------------------


def test_age_is_told_when_it_is_reached(street: Street) -> None:
    engine = street.engine(rule("age_s.fill_level >= 600.0"))
    fed(street, engine, *levels((0, 1.0), (100, 1.0)), (200, {"bad": ["fill_level"]}), (300, {"tilted": True}))
    assert told(engine.advance(5000 * S)) == [("Raise", "bin-1", 700)], "a bad reading is no value"
    assert told(fed(street, engine, *levels((5001, 1.0)))) == [("Return", "bin-1", 5001)]


def test_more_than_an_age_is_a_microsecond_later(street: Street) -> None:
    engine = street.engine(rule("age_s.fill_level > 600.0"))
    fed(street, engine, *levels((0, 1.0)))
    assert [e.time_us for e in engine.advance(5000 * S)] == [600 * S + 1]


def test_a_device_is_silent_after_its_profile_or_the_rule(street: Street) -> None:
    engine = street.engine(rule("silent"))
    engine.advance(0)
    assert told(fed(street, engine, *levels((100, 1.0)))) == []
    assert told(engine.advance(7199 * S)) == []
    assert told(engine.advance(7500 * S)) == [("Raise", "bin-2", 7200), ("Raise", "bin-1", 7300)]
    assert fed(street, engine, (7600, {"bad": ["fill_level", "lid"]})) == [], "bad readings are no sign of life"
    assert told(fed(street, engine, (7700, {"tilted": False, "bad": ["lid"]}))) == [("Return", "bin-1", 7700)]
    own = street.engine(rule("silent", "silent_s = 60", on='id = "bin-1"'))
    own.advance(0)
    assert told(own.advance(100 * S)) == [("Raise", "bin-1", 60)]


def test_a_device_that_reports_by_exception_may_be_quiet_for_a_heartbeat(street: Street) -> None:
    points = {p.name for p in street.roster.profiles["bn-1"]}
    engine = street.engine(rule("silent", on='id = "bin-1"'), heartbeats_s={"bin-1": dict.fromkeys(points, 3600)})
    engine.advance(0)
    assert told(engine.advance(20_000 * S)) == [("Raise", "bin-1", 10_800)]


# ---- late samples -------------------------------------------------------------------------------------------------


def test_what_comes_too_late_is_remembered_and_decides_nothing(street: Street) -> None:
    window = '\nwindow.n_seen = { count = "fill_level", over_s = 86400 }'
    engine = street.engine(rule("fill_level > 90.0 && n_seen > 0", window))
    old = street.sample("bin-1", 0, fill_level=99.0)
    assert engine.take(old, 7201 * S, 7201 * S) == []
    fresh = street.sample("bin-1", 7202, fill_level=95.0)
    assert [e.values for e in engine.take(fresh, 7202 * S)] == [{"fill_level": 95.0, "n_seen": 2}]  # type: ignore[union-attr]


def test_a_late_value_never_replaces_a_newer_one(street: Street) -> None:
    engine = street.engine(rule("fill_level > 90.0"))
    fed(street, engine, *levels((100, 10.0)))
    assert engine.take(street.sample("bin-1", 50, fill_level=99.0), 101 * S, 51 * S) == []
    assert told(engine.take(street.sample("bin-1", 101, fill_level=99.0), 103 * S, 2 * S)) == [("Raise", "bin-1", 103)]


def test_where_nothing_is_declared_five_minutes_are_late(street: Street) -> None:
    engine = street.engine(rule("answers > 1", on='kind = "meter"'))
    sample = street.sample("meter-1", 0, answers=9)
    assert engine.take(sample, 301 * S, 301 * S) == []
    assert told(engine.take(street.sample("meter-1", 2, answers=9), 302 * S, 300 * S)) == [("Raise", "meter-1", 302)]


# ---- windows ------------------------------------------------------------------------------------------------------


def test_a_window_forgets_by_itself(street: Street) -> None:
    engine = street.engine(rule("worst > 50.0", '\nwindow.worst = { max = "fill_level", over_s = 60 }'))
    effects = fed(street, engine, *levels((0, 10.0), (10, 60.0), (50, 20.0)))
    assert told(effects) == [("Raise", "bin-1", 10)]
    assert told(engine.advance(400 * S)) == [("Return", "bin-1", 71)], "its bucket ends at 11 s"


# ---- commands -----------------------------------------------------------------------------------------------------

DIM = '[rule.command]\npoint = "dim_level"\nvalue = 100\nhold_s = 120\n'
LAMPS = 'kind = "streetlight"'


def test_a_command_is_held_while_the_rule_is_true_and_its_time_longer(street: Street) -> None:
    engine = street.engine(rule("passages > 0", DIM, LAMPS, ""))
    effects = fed(street, engine, (0, {"passages": 1}), device="lamp-1")
    assert effects == [
        Hold(rule="r", cause="lamp-1", device="lamp-1", point="dim_level", value=100.0, hold_s=120, time_us=0)
    ]
    assert told(engine.advance(130 * S)) == [("Hold", "lamp-1", 60), ("Hold", "lamp-1", 120)]
    assert told(fed(street, engine, (140, {"passages": 0}), device="lamp-1")) == [("Hold", "lamp-1", 140)]
    assert engine.advance(10_000 * S) == []


def test_a_command_is_not_held_on_what_is_not_known(street: Street) -> None:
    engine = street.engine(rule("passages > 0", DIM, LAMPS, ""))
    fed(street, engine, (0, {"passages": 1}), (1, {"bad": ["passages"]}), device="lamp-1")
    assert engine.advance(1000 * S) == [], "the lamp goes back to its plan by itself"
    assert told(fed(street, engine, (1001, {"passages": 1}), device="lamp-1")) == [("Hold", "lamp-1", 1001)]


def test_a_command_is_released_when_the_last_who_asked_is_over(street: Street) -> None:
    more = 'command = { point = "dim_level", value = 100, hold_s = 120, release = true, on = { id = "lamp-*" } }\n'
    engine = street.engine(rule("passages > 0", more, LAMPS, ""))
    fed(street, engine, (0, {"passages": 1}), device="lamp-1")
    fed(street, engine, (1, {"passages": 1}), device="lamp-2")
    assert fed(street, engine, (2, {"passages": 0}), device="lamp-1") == []
    effects = fed(street, engine, (3, {"passages": 0}), device="lamp-2")
    assert [(type(e), e.device) for e in effects] == [(Release, "lamp-1"), (Release, "lamp-2")]


# ---- words and marks ----------------------------------------------------------------------------------------------


def test_an_alarm_says_what_it_saw_in_both_languages(street: Street) -> None:
    tail = (
        'tag = "bins"\n[rule.alarm]\nseverity = "high"\nrespond_within_s = 3600\n'
        'text = { en = "{fill_level} %, {temperature} C, {n}", fr = "{fill_level} pour cent" }\n'
    )
    engine = street.engine(rule("fill_level > 90.0", tail, tail=""))
    effects = fed(street, engine, (1, {"fill_level": 95.25, "n": 7}))
    raised, mark = effects
    assert isinstance(raised, Raise)
    assert raised.detail == "95.25 %, … C, 7 / 95.25 pour cent"
    assert raised.text["fr"] == "95.25 pour cent"
    assert (raised.severity, raised.respond_within_s) == ("high", 3600)
    assert raised.values == {"fill_level": 95.25, "n": 7}
    assert mark == MarkEffect(rule="r", device="bin-1", tag="bins", values=raised.values, time_us=S)


def test_the_world_is_looked_at_on_the_full_minute(street: Street) -> None:
    asked: list[int] = []

    def ambient(at_us: int) -> Mapping[str, Value]:
        asked.append(at_us // S)
        return {"night": at_us >= 300 * S}

    engine = street.engine(rule("night", on='id = "bin-1"'), ambient)
    assert engine.advance(59 * S) == []
    assert told(engine.advance(1000 * S)) == [("Raise", "bin-1", 300)]
    assert asked == list(range(0, 1000, 60))
    engine.resume(5000 * S + 1)
    assert engine.advance(5001 * S) == []
    assert asked[-1] == 4980, "the full minute, and not one for each that was slept through"
    assert engine.due_us() == 5040 * S


def test_after_a_restart_what_was_true_is_not_told_and_deaf_time_does_not_count(street: Street) -> None:
    both = rule("fill_level > 90.0", "for_s = 60") + rule("silent").replace('"r"', '"s"')
    engine = street.engine(both)
    fed(street, engine, *levels((0, 95.0), (100, 95.0)))
    fed(street, engine, *levels((100, 95.0)), device="bin-2")
    engine.resume(50_000 * S)
    effects = engine.advance(50_000 * S)
    assert told(effects) == [], "nobody listened: neither silence nor 60 s are known to have passed"
    assert told(fed(street, engine, *levels((50_010, 95.0)), device="bin-2")) == [("Raise", "bin-2", 50_010)]
    assert told(engine.advance(60_000 * S)) == [("Raise", "bin-1", 57_200), ("Raise", "bin-2", 57_210)]
    assert isinstance(fed(street, engine, *levels((60_001, 1.0)))[0], Return)


def test_deaf_time_is_no_age(street: Street) -> None:
    engine = street.engine(rule("age_s.fill_level >= 600.0"))
    fed(street, engine, *levels((0, 1.0)), (100, {"tilted": True}))
    engine.resume(50_000 * S)
    assert told(engine.advance(60_000 * S)) == [("Raise", "bin-1", 50_500)], "100 s before, 500 s after"


def test_an_alarm_that_still_stands_is_assumed_where_history_is_too_short(street: Street) -> None:
    engine = street.engine(rule("fill_level > 90.0", 'clear = "fill_level < 70.0"'))
    fed(street, engine, *levels((100, 80.0)))
    assert engine.assume("r", "bin-1", 50 * S)
    assert not engine.assume("q", "bin-1", 50 * S)
    assert not engine.assume("r", "lamp-1", 50 * S)
    assert engine.explain("bin-1", 100 * S)[0].since_us == 50 * S
    assert fed(street, engine, *levels((101, 95.0), (102, 80.0))) == [], "told already"
    assert told(fed(street, engine, *levels((103, 60.0)))) == [("Return", "bin-1", 103)]


def test_explain_changes_nothing(street: Street) -> None:
    text = rule("worst > 50.0", 'for_s = 30\nwindow.worst = { max = "fill_level", over_s = 60 }')
    asked, left = street.engine(text), street.engine(text)
    for engine in (asked, left):
        fed(street, engine, *levels((0, 60.0)))
    (now,) = asked.explain("bin-1", 10_000 * S)
    assert (now.state, now.since_us, now.begins_us, now.decided) == ("waiting", 0, 30 * S, None)
    assert asked.advance(10_000 * S) == left.advance(10_000 * S) != []


def test_timers_are_bounded(street: Street) -> None:
    text = rule("fill_level > 90.0", "for_s = 5") + rule("silent").replace('"r"', '"s"')
    engine = street.engine(text)
    for i in range(20_000):
        fed(street, engine, *levels((i * 3, 95.0 if i // 3 % 2 else 1.0)))
    assert len(engine._heap) <= HEAP_SLACK * len(engine._watches) + 65
    assert all(len(h.together) <= MAX_TOGETHER for h in engine._heard.values())


def test_time_that_goes_back_is_held(street: Street) -> None:
    engine = street.engine(rule("fill_level > 90.0"))
    fed(street, engine, *levels((100, 1.0)))
    assert told(engine.take(street.sample("bin-1", 100, fill_level=95.0), 7 * S)) == [("Raise", "bin-1", 100)]


def test_a_mean_is_not_known_before_most_of_its_stretch_is(street: Street) -> None:
    """Twelve seconds of a full bin are no quarter of an hour of one."""
    engine = street.engine(rule("level > 90.0", '\nwindow.level = { mean = "fill_level", over_s = 900 }'))
    for at_s in range(0, 660, 30):
        assert engine.take(street.sample("bin-1", at_s, fill_level=95.0), at_s * S) == [], at_s
    (explained,) = engine.explain("bin-1", 660 * S)
    assert (explained.decided, explained.why) == (None, "level has no value")
    found = [e for s in range(660, 960, 30) for e in engine.take(street.sample("bin-1", s, fill_level=95.0), s * S)]
    assert len(found) == 1


def test_that_nothing_came_is_known_when_the_stretch_has_passed(street: Street) -> None:
    engine = street.engine(rule("seen < 2", '\nwindow.seen = { count = "fill_level", over_s = 900 }'))
    assert engine.advance(0) == []
    (explained,) = engine.explain("bin-1", 0)
    assert (explained.decided, explained.why) == (None, "too little is known yet of the stretch of seen")
    assert engine.take(street.sample("bin-1", 12, fill_level=1.0), 12 * S) == []
    found = engine.advance(900 * S)
    assert [(e.device, e.time_us) for e in found] == [("bin-1", 675 * S), ("bin-2", 675 * S)], "three quarters of it"


def test_five_have_come_as_soon_as_five_have_come(street: Street) -> None:
    engine = street.engine(rule("seen >= 5", '\nwindow.seen = { count = "fill_level", over_s = 86400 }'))
    found = [engine.take(street.sample("bin-1", i, fill_level=1.0), i * S) for i in range(5)]
    assert [len(f) for f in found] == [0, 0, 0, 0, 1]
