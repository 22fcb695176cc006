"""Who decides, as it is told: whoever takes every entry knows what each array says, and a flood costs few entries."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from edge.control import telling
from edge.control.arbitration import Held
from edge.control.arrays import Key, PriorityArrays
from edge.control.telling import BURST, EVERY_S, WHOLE_S, Telling
from support.examples import many
from wire.device import Point
from wire.entries import Decisions, Level
from wire.orders import LEVELS
from wire.sample import Clock, Value

UTC0 = 1_800_000_000_000_000
DIM = Point(name="dim_level", type="float", unit="%", low=0, high=100, writable=True, safe=70.0)
RELAY = Point(name="relay", type="bool", writable=True)
LAMPS = [f"lamp-{n:03}" for n in range(100)]


class Told:
    """A node's arrays, a clock, and what an aggregator makes of what is told."""

    def __init__(self, points: dict[Key, Point]) -> None:
        self.now_s, self.synced = 0.0, True
        self.in_force = ("winter 7", "rules 12: 1")
        self.commits: list[tuple[Decisions, ...]] = []
        self.known: dict[Key, tuple[Level | None, Value]] = {}
        self.control = PriorityArrays(points, 1)
        self.telling = Telling(
            self.control,
            now=lambda: (UTC0 + round(self.now_s * 1e6), Clock(7, synced=self.synced)),
            monotonic=lambda: self.now_s,
            put=self._put,
            in_force=lambda: self.in_force,
        )

    def _put(self, *entries: Any) -> None:
        self.commits.append(entries)
        for entry in entries:
            for decision in entry.decided:
                self.known |= {(d, decision.point): (decision.level, decision.value) for d in decision.devices}

    def true(self) -> dict[Key, tuple[Level | None, Value]]:
        tops = {key: self.control.top(key) for key in self.control.points}
        return {
            key: (None, None) if top is None else (top[0], None if top[1].blinks else top[1].value)
            for key, top in tops.items()
        }

    def pass_s(self, seconds: float) -> None:
        """As the node does: looked at when something is due."""
        until_s = self.now_s + seconds
        while (due_s := self.telling.due_s()) < until_s - self.now_s:
            self.now_s += due_s + 0.02
            self.telling.look()
        self.now_s = max(self.now_s, until_s)


def lamps() -> Told:
    return Told({(lamp, "dim_level"): DIM for lamp in LAMPS})


def test_at_dusk_a_street_is_one_entry_with_a_row() -> None:
    told = lamps()
    told.telling.look()
    (first,) = told.commits.pop()
    assert [(d.level, len(d.devices)) for d in first.decided] == [(None, 100)]
    for lamp in LAMPS:
        told.control.hold((lamp, "dim_level"), "plan", Held(value=40.0, by="street", until_us=UTC0 + 9))
    told.telling.look()
    ((entry,),) = told.commits
    (row,) = entry.decided
    assert (row.level, row.value, row.by, row.until_us, row.devices) == ("plan", 40.0, "street", UTC0 + 9, tuple(LAMPS))
    assert (entry.plan, entry.rules, entry.boot) == ("winter 7", "rules 12: 1", None)


def test_what_flaps_is_told_a_few_times_and_then_now_and_then_as_it_is() -> None:
    told = lamps()
    told.telling.look()
    told.commits.clear()
    for second in range(3_600):
        key = (LAMPS[second % 100], "dim_level")
        told.control.hold(key, "rule", Held(value=float(second % 7), by="crossing"))
        told.telling.look()
        told.pass_s(1.0)
    assert len(told.commits) <= BURST + 3_600 / EVERY_S
    told.pass_s(EVERY_S + 1)
    assert told.known == told.true()


def test_what_came_and_went_while_it_was_held_back_is_not_told() -> None:
    told = lamps()
    key = (LAMPS[0], "dim_level")
    for n in range(BURST + 5):
        told.control.hold(key, "rule", Held(value=float(n), by="r"))
        told.telling.look()
    last = told.known[key]
    told.control.hold(key, "rule", Held(value=last[1], by="r"))
    told.commits.clear()
    told.pass_s(10 * EVERY_S)
    assert told.commits == []


def test_what_blinks_is_told_once() -> None:
    told = lamps()
    key = (LAMPS[0], "dim_level")
    told.telling.look()
    told.commits.clear()
    for n in range(20):
        told.control.hold(key, "technician", Held(value=float(100 * (n % 2)), by="jean", blinks=True))
        told.telling.look()
    ((entry,),) = told.commits
    assert [(d.blinks, d.value, d.level) for d in entry.decided] == [(True, None, "technician")]


def test_another_plan_is_told_though_no_value_is_another() -> None:
    told = lamps()
    told.telling.look()
    told.commits.clear()
    told.in_force = ("winter 8", "rules 12: 1")
    told.telling.look()
    told.telling.look()
    ((entry,),) = told.commits
    assert (entry.plan, entry.decided) == ("winter 8", ())


def test_all_is_told_again_for_whoever_did_not_hear_it() -> None:
    told = lamps()
    told.control.hold((LAMPS[3], "dim_level"), "plan", Held(value=40.0, by="street"))
    told.telling.look()
    for again in (told.telling.again, lambda: told.pass_s(WHOLE_S + 1)):
        told.known.clear()
        again()
        told.telling.look()
        assert told.known == told.true()


def test_an_estimated_time_says_of_which_boot() -> None:
    told = lamps()
    told.synced = False
    told.telling.look()
    assert told.commits[0][0].boot == 7


def test_many_points_are_several_entries_of_one_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "AN_ENTRY", 30)
    told = lamps()
    told.telling.look()
    (commit,) = told.commits
    assert [sum(len(d.devices) for d in entry.decided) for entry in commit] == [30, 30, 30, 10]
    assert told.known == told.true()


def test_true_one_and_one_are_not_the_same() -> None:
    told = Told({("a", "p"): DIM, ("b", "p"): DIM, ("c", "p"): RELAY})
    for device, value in (("a", 1.0), ("b", 1), ("c", True)):
        told.control.hold((device, "p"), "rule", Held(value=value, by="r"))
    told.telling.look()
    assert {k: repr(v[1]) for k, v in told.known.items()} == {
        ("a", "p"): "1.0", ("b", "p"): "1", ("c", "p"): "True",
    }  # fmt: skip


KEYS: list[Key] = [("a", "dim_level"), ("b", "dim_level"), ("b", "relay")]


class Tellings(RuleBasedStateMachine):
    """Whatever happens: once it is quiet for as long as an entry may be held back, all is known, and no more entries
    were made than may be."""

    @initialize()
    def begin(self) -> None:
        self.told = Told({key: DIM if key[1] == "dim_level" else RELAY for key in KEYS})
        self.told.telling.look()
        self.mono = 0

    @rule(key=st.sampled_from(KEYS), level=st.sampled_from([lv for lv in LEVELS if lv != "default"]),
          value=st.integers(0, 3), lasts=st.none() | st.integers(1, 5), blinks=st.booleans())  # fmt: skip
    def hold(self, key: Key, level: Level, value: int, lasts: int | None, blinks: bool) -> None:
        ends = None if lasts is None else self.mono + lasts
        self.told.control.hold(key, level, Held(value=value, by="x", ends_us=ends, blinks=blinks))
        self.told.telling.look()

    @rule(key=st.sampled_from(KEYS), level=st.sampled_from([lv for lv in LEVELS if lv != "default"]))
    def release(self, key: Key, level: Level) -> None:
        self.told.control.release(key, level)
        self.told.telling.look()

    @rule(seconds=st.integers(1, 30))
    def time_passes(self, seconds: int) -> None:
        self.mono += 1
        self.told.control.expire(self.mono)
        self.told.telling.look()
        self.told.pass_s(seconds)
        assert len(self.told.commits) <= 1 + BURST + self.told.now_s / EVERY_S

    @rule()
    def it_is_quiet(self) -> None:
        self.told.pass_s(EVERY_S + 1)
        assert self.told.known == self.told.true()


Tellings.TestCase.settings = settings(max_examples=many(60), stateful_step_count=40, deadline=None)
TestTellings = Tellings.TestCase
