from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from drivers.profile_files import SHIPPED, load_profiles
from drivers.tables import Problem
from edge.acting.alarming import Alarming
from edge.acting.mishaps import Mishaps
from edge.acting.ruling import Ruling, suppressions
from edge.control.arrays import Key, PriorityArrays
from edge.control.order_contract import Declined
from edge.control.orders import OrderBook
from edge.control.trusted import TrustedTime
from edge.outbox.group_commit import GroupCommit
from edge.outbox.memory import MemoryOutbox
from edge.rules.effects import Hold
from edge.rules.engine import Engine
from edge.rules.load import load_texts
from edge.rules.rule import Rules, Suppressed
from support.leaping import leap
from wire.batch import Lane
from wire.columns import Columns
from wire.device import Device, Roster
from wire.entries import Alarm, Entry
from wire.orders import AlarmAct, Bundle
from wire.sample import Clock, Sample, Value

UTC0 = 1_790_000_000_000_000
S = 1_000_000

LAMPS = """
[[rule]]
name = "first"
on = { id = "lamp-1" }
when = "active_power > 10.0"
command = { on = { id = "lamp-2" }, point = "dim_level", value = 60, hold_s = 100 }

[[rule]]
name = "second"
on = { id = "bin-1" }
when = "fill_level > 90.0"
command = { on = { id = "lamp-2" }, point = "dim_level", value = 90, hold_s = 20, release = true }
"""
FULL = """
[[rule]]
name = "full"
on = { id = "bin-1" }
when = "fill_level > 90.0"
alarm = { severity = "high", text = { en = "Full" } }
"""


def roster() -> Roster:
    problems: list[Problem] = []
    profiles = load_profiles([SHIPPED], problems)
    assert not problems
    ids = {"lamp-1": "lx-1", "lamp-2": "lx-1", "bin-1": "bn-1"}
    return Roster(
        devices=tuple(Device(id=i, kind=profiles[p].kind, profile=p) for i, p in ids.items()),
        profiles={p: tuple(profiles[p].points.values()) for p in sorted(set(ids.values()))},
    )


ROSTER = roster()
WRITABLE = {(d.id, p.name): p for d in ROSTER.devices for p in ROSTER.profiles[d.profile] if p.writable}


class NoActs:
    def act(self, act: AlarmAct) -> Any:
        raise Declined(act.alarm)

    def adopt(self, bundle: Bundle) -> Any:
        raise Declined(bundle.version)


class Cabinet:
    """Rules, arrays, alarms and the desk, with a clock that is turned by hand."""

    def __init__(self, text: str, kept: Mapping[str, bytes] | None = None, *, mono_us: int = 500 * S) -> None:
        self.mono_us, self.ahead_us = mono_us, UTC0 - mono_us
        self.axis0_us = self.ahead_us
        self.synced = True
        self.kept: dict[str, bytes] = dict(kept or {})
        self.told: list[Entry] = []
        self.puts = 0
        self.woken: list[Key] = []
        self.mishaps = Mishaps()
        self.control = PriorityArrays(WRITABLE, 1)
        self.keep(self.control.restore(self.kept, self.mono_us, UTC0)[1])
        self.alarming = Alarming(
            node="cab",
            kept={k: b for k, b in self.kept.items() if k.startswith("alarm/")},
            suppresses=lambda _d, _r: (),
            draw_id=lambda: f"a{len(self.told)}",
            now=self.now,
            put=self.put,
        )
        rules = self.rules(text)
        self.ruling = Ruling(
            self.engine(rules),
            rules,
            alarming=self.alarming,
            control=self.control,
            now=self.now,
            axis_us=lambda: self.axis0_us + self.mono_us,
            monotonic_us=lambda: self.mono_us,
            put=self.put,
            wake=self.wake,
            mishaps=self.mishaps,
        )
        self.desk = OrderBook(
            control=self.control,
            acts=NoActs(),
            trusted=TrustedTime(self.now, lambda: self.mono_us),
            now=self.now,
            monotonic_us=lambda: self.mono_us,
            insist=self.insist,
            wake=self.wake,
            freed=self.ruling.ended,
        )

    def rules(self, text: str) -> Rules:
        problems: list[Problem] = []
        found = load_texts({Path("rules.toml"): text}, ROSTER, problems)
        assert not problems, problems
        return found

    def engine(self, rules: Rules) -> Engine:
        return Engine(rules, ROSTER.devices, ROSTER.profiles, lambda _us: {})

    def now(self) -> tuple[int, Clock]:
        return self.mono_us + self.ahead_us, Clock(1, synced=self.synced)

    def keep(self, kept: Mapping[str, bytes | None]) -> None:
        for key, body in kept.items():
            self.kept.pop(key, None)
            if body is not None:
                self.kept[key] = body

    def put(self, *entries: Entry, kept: Mapping[str, bytes | None]) -> None:
        self.puts += 1
        self.told += entries
        self.keep(kept)

    def insist(self, *entries: Entry, kept: Mapping[str, bytes | None]) -> Any:
        self.put(*entries, kept=kept)

    def wake(self, key: Key, after: asyncio.Future[None] | None = None) -> None:
        assert after is None, "only an order waits for the card"
        self.woken.append(key)

    def wait(self, seconds: float) -> None:
        self.mono_us += round(seconds * S)
        self.ruling.advance()
        self.desk.advance()
        self.alarming.advance()

    def say(self, device: str, **values: Value) -> bool:
        return self.ruling.take(Sample(device, self.now()[0], Clock(1, synced=self.synced), values))

    def level(self) -> tuple[str, Value, str] | None:
        top = self.control.top(("lamp-2", "dim_level"))
        return None if top is None else (top[0], top[1].value, top[1].by)


SAFE = ("default", 100.0, "")


def test_the_last_asker_wins_and_the_one_before_has_the_rest_of_its_time() -> None:
    cabinet = Cabinet(LAMPS)
    cabinet.say("lamp-1", active_power=50.0)
    assert cabinet.level() == ("rule", 60, "first")
    cabinet.say("lamp-1", active_power=0.0)  # its value stays for its 100 s, and is asked for no more
    cabinet.wait(30)
    cabinet.say("bin-1", fill_level=95.0)
    assert cabinet.level() == ("rule", 90, "second")
    cabinet.wait(15)
    cabinet.say("bin-1", fill_level=10.0)
    assert cabinet.level() == ("rule", 60, "first")
    cabinet.wait(54)
    assert cabinet.level() == ("rule", 60, "first")
    cabinet.wait(1.1)
    assert cabinet.level() == SAFE
    assert not [k for k in cabinet.kept if k.startswith("slot/rule/")]


def test_a_hold_that_ends_by_itself_falls_to_the_one_before_only_while_that_lasts() -> None:
    cabinet = Cabinet(LAMPS)
    cabinet.say("lamp-1", active_power=50.0)
    cabinet.say("lamp-1", active_power=0.0)
    cabinet.wait(75)
    cabinet.say("bin-1", fill_level=95.0)
    cabinet.say("bin-1", fill_level=None)  # unknown: nothing is renewed on what is not known
    cabinet.woken.clear()
    cabinet.wait(20.5)
    assert cabinet.level() == ("rule", 60, "first")
    assert ("lamp-2", "dim_level") in cabinet.woken
    cabinet.say("bin-1", fill_level=95.0)
    assert cabinet.level() == ("rule", 90, "second"), "it is still true, and is asked for again"
    cabinet.say("bin-1", fill_level=None)
    cabinet.wait(21)
    assert cabinet.level() == SAFE, "the first has ended in the meantime"


def test_a_released_rule_that_was_not_on_top_changes_nothing() -> None:
    cabinet = Cabinet(LAMPS)
    cabinet.say("bin-1", fill_level=95.0)
    cabinet.say("lamp-1", active_power=50.0)
    puts = cabinet.puts
    cabinet.say("bin-1", fill_level=10.0)
    assert cabinet.level() == ("rule", 60, "first")
    assert cabinet.puts == puts, "not even a commit"


def test_two_rules_that_are_both_true_do_not_take_turns() -> None:
    cabinet = Cabinet(LAMPS.replace("hold_s = 20", "hold_s = 24"))  # they are not renewed at the same time
    cabinet.say("lamp-1", active_power=50.0)
    cabinet.say("bin-1", fill_level=95.0)
    for _ in range(300):  # each is renewed again and again
        cabinet.wait(1)
        cabinet.say("lamp-1", active_power=50.0)
        cabinet.say("bin-1", fill_level=95.0)
        assert cabinet.level() == ("rule", 90, "second")
    cabinet.say("bin-1", fill_level=10.0)
    assert cabinet.level() == ("rule", 60, "first")


def test_a_rule_whose_hold_is_over_has_its_turn_again_when_it_asks_anew() -> None:
    cabinet = Cabinet(LAMPS)
    cabinet.say("bin-1", fill_level=95.0)
    cabinet.say("lamp-1", active_power=50.0)
    assert cabinet.level() == ("rule", 60, "first")
    cabinet.say("bin-1", fill_level=10.0)
    cabinet.say("bin-1", fill_level=95.0)
    assert cabinet.level() == ("rule", 90, "second"), "it was given back"
    cabinet = Cabinet(LAMPS)
    cabinet.say("lamp-1", active_power=50.0)
    cabinet.say("lamp-1", active_power=None)
    cabinet.wait(90)
    cabinet.say("bin-1", fill_level=95.0)
    cabinet.say("bin-1", fill_level=None)
    cabinet.wait(11)
    assert cabinet.level() == ("rule", 90, "second")
    cabinet.say("lamp-1", active_power=50.0)
    assert cabinet.level() == ("rule", 60, "first"), "it had ended below the other"


def test_a_hold_that_comes_when_it_is_over_is_not_done() -> None:
    cabinet = Cabinet(LAMPS)
    cabinet.say("bin-1", fill_level=95.0)
    cabinet.say("bin-1", fill_level=10.0)
    assert cabinet.level() == SAFE
    cabinet.axis0_us += 3600 * S  # nothing ran for an hour after it was due
    cabinet.ruling._do(  # pyright: ignore[reportPrivateUsage] - the engine stamps it so after a long sleep
        [Hold(rule="second", cause="bin-1", device="lamp-2", point="dim_level", value=90, hold_s=20,
              time_us=cabinet.axis0_us + cabinet.mono_us - 1000 * S)]
    )  # fmt: skip
    assert cabinet.level() == SAFE


def test_after_a_restart_what_a_rule_holds_goes_on_and_ends_in_time() -> None:
    before = Cabinet(LAMPS)
    before.say("lamp-1", active_power=50.0)
    again = Cabinet(LAMPS, before.kept, mono_us=before.mono_us)
    assert again.level() == ("rule", 60, "first")
    again.wait(99)
    assert again.level() == ("rule", 60, "first")
    again.wait(2)
    assert again.level() == SAFE


@pytest.mark.parametrize(
    "other",
    [
        LAMPS.replace('"first"', '"third"'),
        LAMPS.replace('on = { id = "lamp-2" }, point = "dim_level", value = 60', 'point = "dim_level", value = 60'),
        LAMPS.replace("value = 60", "value = 61"),
    ],
    ids=["the rule is gone", "it sets another lamp", "it sets another value"],
)
def test_rules_that_would_not_hold_it_so_let_it_go(other: str) -> None:
    before = Cabinet(LAMPS)
    before.say("lamp-1", active_power=50.0)
    again = Cabinet(other, before.kept, mono_us=before.mono_us)
    assert again.level() == SAFE, "after a restart with other files"
    assert not [k for k in again.kept if k.startswith("slot/rule/")]
    rules = before.rules(other)
    before.woken.clear()
    before.ruling.follow(before.engine(rules), rules)
    assert before.level() == SAFE, "and by a bundle"
    assert before.woken == [("lamp-2", "dim_level")]


def test_the_same_rules_again_leave_it_held() -> None:
    cabinet = Cabinet(LAMPS)
    cabinet.say("lamp-1", active_power=50.0)
    rules = cabinet.rules(LAMPS + FULL)
    cabinet.ruling.follow(cabinet.engine(rules), rules)
    assert cabinet.level() == ("rule", 60, "first")


def test_a_hold_for_a_point_that_is_not_there_takes_nothing_else_along(caplog: pytest.LogCaptureFixture) -> None:
    cabinet = Cabinet(LAMPS + FULL)
    cabinet.control.points = {}
    for fill in (95.0, 10.0, 95.0):
        cabinet.say("bin-1", fill_level=fill)
    assert [e.rule for e in cabinet.told if isinstance(e, Alarm)][:1] == ["full"]
    assert cabinet.mishaps.count == 2
    assert len([r for r in caplog.records if "no writable point dim_level of lamp-2" in r.message]) == 1, "logged once"
    assert cabinet.level() is None


def test_an_engine_that_breaks_does_not_reach_whoever_brings_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    cabinet = Cabinet(FULL)
    good = Engine.take

    def breaks(self: Engine, sample: Sample, at_us: int, late_us: int = 0) -> Any:
        if sample.values["fill_level"] == 13.0:
            raise ZeroDivisionError
        return good(self, sample, at_us, late_us)

    monkeypatch.setattr(Engine, "take", breaks)
    assert cabinet.say("bin-1", fill_level=13.0) is False
    assert cabinet.mishaps.count == 1
    assert cabinet.say("bin-1", fill_level=95.0) is True
    assert [e.rule for e in cabinet.told if isinstance(e, Alarm)] == ["full"]


def test_whether_something_followed_is_told() -> None:
    cabinet = Cabinet(FULL)
    assert cabinet.say("lamp-1", active_power=1.0) is False, "no rule watches it"
    assert cabinet.say("bin-1", fill_level=10.0) is False
    assert cabinet.say("bin-1", fill_level=95.0) is True


def test_when_true_time_is_found_what_is_held_keeps_its_length() -> None:
    cabinet = Cabinet(LAMPS)
    cabinet.synced = False
    cabinet.say("lamp-1", active_power=50.0)
    cabinet.say("bin-1", fill_level=95.0)
    cabinet.ahead_us += 86_400 * S
    cabinet.synced = True
    cabinet.ruling.corrected()
    (_, held) = cabinet.control.top(("lamp-2", "dim_level")) or (None, None)
    assert held is not None
    assert held.until_us == cabinet.now()[0] + 20 * S
    # Whatever boots now counts its end from UTC: it ends when it would have.
    other = PriorityArrays(WRITABLE, 2)
    other.restore(cabinet.kept, 7, cabinet.now()[0])
    assert other.due_us() == 7 + 20 * S
    cabinet.say("bin-1", fill_level=10.0)
    top = cabinet.control.top(("lamp-2", "dim_level"))
    assert top is not None
    assert (top[1].by, top[1].until_us) == ("first", cabinet.now()[0] + 100 * S), "so does what is below"
    kept = dict(cabinet.kept)
    cabinet.ruling.corrected()
    assert cabinet.kept == kept, "a second time there is nothing to mend"


def test_an_alarm_that_stands_is_true_for_rules_that_have_just_begun() -> None:
    cabinet = Cabinet(FULL)
    cabinet.say("bin-1", fill_level=95.0)
    rules = cabinet.rules(FULL)
    engine = cabinet.engine(rules)
    cabinet.ruling.assume(engine)
    cabinet.ruling.follow(engine, rules)
    cabinet.say("bin-1", fill_level=10.0)
    cabinet.wait(11)
    assert [a.state for a in cabinet.alarming.standing()] == ["returned"]


def test_an_alarm_explains_no_more_than_an_alarm_may() -> None:
    (rule,) = Cabinet(FULL).rules(FULL).rules
    many = frozenset(f"d{i}" for i in range(1500))

    def explaining(*suppressed: Suppressed) -> Rules:
        assert rule.alarming is not None
        return Rules((replace(rule, alarming=replace(rule.alarming, suppresses=suppressed)),))

    together = suppressions(explaining(*(Suppressed(rule=f"r{i}", devices=many) for i in range(40))), "full")
    assert [(len(s.rules or ()), len(s.devices or ())) for s in together] == [(40, 1500)]
    apart = explaining(*(Suppressed(rule=f"r{i}", devices=frozenset({f"d{i}"})) for i in range(40)))
    assert len(suppressions(apart, "full")) == 16
    assert len(suppressions(explaining(
        Suppressed(rule="a", devices=many), Suppressed(rule="b", devices=many | {"x"})), "full")) == 1  # fmt: skip
    assert suppressions(apart, "nobody") == ()


class Card(MemoryOutbox):
    def __init__(self) -> None:
        super().__init__(node="cab")
        self.appended: list[tuple[list[Any], list[Any], dict[str, bytes | None]]] = []

    async def append(self, lanes: Any, receipts: Any = (), kept: Any = None) -> None:
        await super().append(lanes, receipts, kept or {})
        self.appended.append((list(lanes[Lane.URGENT]), list(lanes[Lane.BULK]), dict(kept or {})))


def test_an_alarm_and_the_sample_that_raised_it_are_one_commit() -> None:
    card, cabinet = Card(), Cabinet(FULL)

    async def live() -> None:
        commit = GroupCommit(card, interval_s=5, committed=lambda _urgent, _live: None)
        alarming = Alarming(node="cab", kept={}, suppresses=lambda _d, _r: (), draw_id=lambda: "a1", now=cabinet.now,
                            put=commit.put)  # fmt: skip
        rules = cabinet.rules(FULL)
        ruling = Ruling(
            cabinet.engine(rules), rules, alarming=alarming, control=cabinet.control, now=cabinet.now,
            axis_us=lambda: cabinet.now()[0], monotonic_us=lambda: cabinet.mono_us, put=commit.put,
            wake=cabinet.wake, mishaps=cabinet.mishaps,
        )  # fmt: skip
        running = asyncio.create_task(commit.run())
        for fill in (10.0, 95.0):
            sample = Sample("bin-1", cabinet.now()[0], Clock(1, synced=True), {"fill_level": fill})
            done = commit.add([sample], None, live=False)
            ruling.take(sample)
            cabinet.mono_us += S
        began = asyncio.get_running_loop().time()
        await done
        assert asyncio.get_running_loop().time() - began < 1, "at once"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    leap(live())
    (urgent, bulk, kept) = card.appended[0]
    assert [(a.rule, a.state) for a in urgent] == [("full", "raised")]
    assert [s.values["fill_level"] for s in bulk] == [10.0, 95.0]
    assert list(kept) == ["alarm/a1"]
    assert len(card.appended) == 1
    assert not isinstance(bulk[0], Columns)
