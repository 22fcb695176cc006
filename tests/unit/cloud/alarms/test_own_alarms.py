"""The aggregator's own alarms: legal steps only, one alarm for a city that is silent, and nothing raised twice."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.alarms.own_alarms import OUTAGE, OUTAGE_NODES, RECENT_US, Occurrence, acted, id_of, state_of, step
from cloud.alarms.own_texts import as_told, span
from cloud.times import SECOND_US
from support.examples import many
from wire.entries import Alarm

NOW_US = 1_790_000_000_000_000
LEGAL = {  # ISA-18.2, with shelving and suppression reached from, and left to, any state that then holds
    "none": {"raised", "suppressed"},
    "raised": {"acknowledged", "returned", "shelved", "suppressed", "cleared"},
    "acknowledged": {"cleared", "shelved", "suppressed"},
    "returned": {"raised", "cleared", "shelved", "suppressed"},
    "shelved": {"raised", "acknowledged", "returned", "cleared", "suppressed"},
    "suppressed": {"raised", "acknowledged", "cleared", "shelved"},
    "cleared": {"raised", "suppressed"},
}


class City:
    """The alarms over time, as the keeper holds them."""

    def __init__(self, nodes: int) -> None:
        self.now_us = NOW_US
        self.heard = {f"cab-{i}": NOW_US for i in range(nodes)}
        self.silent: set[str] = set()
        self.quiet: set[str] = set()
        self.alarms: dict[str, Alarm] = {}

    def step(self, *occurred: Occurrence) -> dict[str, Alarm]:
        silent = {n: self.heard[n] for n in sorted(self.silent)}
        changes = step(self.alarms, silent, self.quiet, self.heard, occurred, self.now_us)
        self.take(changes)
        return changes

    def act(self, name: str, act: Any, until_us: int | None = None) -> None:
        self.take({name: acted(self.alarms[name], act, "room", self.now_us, until_us, "")})

    def take(self, changes: dict[str, Alarm]) -> None:
        for name, alarm in changes.items():
            assert alarm.state == state_of(alarm)
            before = self.alarms[name].state if name in self.alarms else "none"
            assert alarm.state == before or alarm.state in LEGAL[before], (before, alarm)
            if alarm.state == "cleared":
                self.alarms.pop(name, None)
            else:
                self.alarms[name] = alarm

    def hear(self, *nodes: str) -> None:
        for node in nodes:
            self.silent.discard(node)
            self.quiet.discard(node)
            self.heard[node] = self.now_us

    def states(self) -> dict[str, str]:
        return {name.removeprefix("aggregator:"): a.state for name, a in sorted(self.alarms.items())}


def test_a_silent_node_is_told_once_and_returns_by_itself() -> None:
    city = City(3)
    city.silent = {"cab-1"}
    (alarm,) = city.step().values()
    assert (alarm.id, alarm.device, alarm.severity, alarm.state) == (
        id_of("silent", "cab-1"),
        "cab-1",
        "high",
        "raised",
    )
    assert alarm.text == {
        "en": "cab-1 has been silent since 2026-09-21 14:13:20 UTC",
        "fr": "cab-1 est muet depuis le 2026-09-21 14:13:20 UTC",
    }
    assert alarm.detail == alarm.text["en"]
    city.now_us += 90 * SECOND_US
    assert city.step() == {}
    city.hear("cab-1")
    (alarm,) = city.step().values()
    assert (alarm.state, alarm.active) == ("returned", False)
    assert (
        alarm.detail == alarm.text["en"] == "cab-1 was silent from 2026-09-21 14:13:20 UTC to 2026-09-21 14:14:50 UTC"
    )
    assert alarm.text["fr"] == "cab-1 a été muet du 2026-09-21 14:13:20 UTC au 2026-09-21 14:14:50 UTC"
    assert city.step() == {}
    city.silent = {"cab-1"}
    assert [a.state for a in city.step().values()] == ["raised"]
    city.act(alarm.id, "acknowledge")
    assert city.states() == {"silent:cab-1": "acknowledged"}
    city.hear("cab-1")
    assert [a.state for a in city.step().values()] == ["cleared"]
    assert city.alarms == {}


def test_a_note_stays_when_the_words_change() -> None:
    city = City(3)
    city.silent = {"cab-1"}
    city.step()
    name = id_of("silent", "cab-1")
    city.take({name: acted(city.alarms[name], "shelve", "room", city.now_us, city.now_us + SECOND_US, "crew is out")})
    city.hear("cab-1")
    (alarm,) = city.step().values()
    assert (alarm.detail, " was silent from " in alarm.text["en"]) == ("crew is out", True)


def test_a_shelved_alarm_comes_back_when_its_time_is_over() -> None:
    city = City(3)
    city.silent = {"cab-1"}
    city.step()
    city.act(id_of("silent", "cab-1"), "shelve", city.now_us + 60 * SECOND_US)
    assert city.states() == {"silent:cab-1": "shelved"}
    city.now_us += 59 * SECOND_US
    assert city.step() == {}
    city.now_us += SECOND_US
    assert [a.state for a in city.step().values()] == ["raised"]
    city.act(id_of("silent", "cab-1"), "shelve", city.now_us + 60 * SECOND_US)
    city.hear("cab-1")
    assert [a.state for a in city.step().values()] == ["shelved"]
    city.act(id_of("silent", "cab-1"), "unshelve")
    assert city.states() == {"silent:cab-1": "returned"}


def test_what_was_lost_adds_up_until_somebody_knows() -> None:
    city = City(1)
    full, died = as_told("disk full"), as_told("card died")
    city.step(Occurrence("cab-0", "missing", full, 17), Occurrence("cab-0", "missing", full, 3))
    city.step(Occurrence("cab-0", "fork", span(NOW_US, NOW_US + SECOND_US)), Occurrence("cab-0", "missing", died))
    alarm = city.alarms[id_of("missing", "cab-0")]
    assert (alarm.values, alarm.state) == ({"times": 3, "lost": 20}, "raised")
    assert alarm.detail == "readings of cab-0 are lost: 20 samples that are known; last reason: card died"
    assert alarm.text["fr"].endswith("20 échantillons connus ; dernière cause : card died")
    assert city.alarms[id_of("fork", "cab-0")].detail == (
        "cab-0 went back to an older state of its card: readings from 2026-09-21 14:13:20 UTC to"
        " 2026-09-21 14:13:21 UTC may be held twice"
    )
    for rule in ("missing", "fork"):
        city.act(id_of(rule, "cab-0"), "acknowledge")
    assert city.alarms == {}
    city.step(Occurrence("cab-0", "missing", as_told("again"), 1))
    assert city.alarms[id_of("missing", "cab-0")].values == {"times": 1, "lost": 1}


def test_a_city_that_is_silent_is_one_alarm() -> None:
    city = City(18)
    nodes = list(city.heard)
    city.silent = set(nodes[: OUTAGE_NODES - 1])
    city.step()
    assert OUTAGE not in city.alarms
    city.silent = set(nodes[:OUTAGE_NODES])
    changes = city.step()
    outage = changes[OUTAGE]
    assert (outage.severity, outage.state, outage.values) == ("urgent", "raised", {"nodes": 10})
    suppressed = [a for a in city.alarms.values() if a.state == "suppressed"]
    assert (len(suppressed), {a.cause for a in suppressed}) == (10, {OUTAGE})
    city.silent = set(nodes[:14])
    city.now_us += 2 * RECENT_US  # nobody was heard of late any more: it stands
    city.step()
    assert city.alarms[OUTAGE].values == {"nodes": 14}
    assert city.alarms[OUTAGE].detail.startswith(
        "up to 14 nodes have been silent at once since 2026-09-21 14:13:20 UTC:"
    )
    assert city.step() == {}
    city.hear(*nodes[:6])
    assert {a.state for a in city.step().values()} == {"cleared"}
    assert city.alarms[OUTAGE].state == "raised"
    city.hear(nodes[6])
    changes = city.step()
    assert (changes[OUTAGE].state, changes[OUTAGE].active) == ("returned", False)
    assert changes[OUTAGE].detail.startswith(
        "up to 14 nodes were silent at once from 2026-09-21 14:13:20 UTC to 2026-09-21 16:13:20 UTC:"
    )
    assert {n: a.state for n, a in city.alarms.items() if n != OUTAGE} == {
        id_of("silent", n): "raised" for n in nodes[7:14]
    }


def test_nodes_that_fall_silent_one_after_the_other_are_one_alarm_too() -> None:
    city = City(40)
    nodes = list(city.heard)
    city.quiet = set(nodes)
    assert city.step() == {}, "nobody is silent yet"
    raised: list[str] = []
    for node in nodes:  # each was heard a little later than the one before
        city.quiet.discard(node)
        city.silent.add(node)
        raised += [a.rule for a in city.step().values() if a.state == "raised"]
    assert raised == ["city-outage"]
    assert (city.alarms[OUTAGE].values, len(city.alarms)) == ({"nodes": 40}, 41)
    city.hear(*nodes[:20])
    assert city.step()[OUTAGE].state == "returned"


def test_who_was_silent_long_before_has_no_part_in_an_outage() -> None:
    city = City(45)
    nodes = list(city.heard)
    dead, living = nodes[:30], nodes[30:]
    city.silent = set(dead)
    city.heard |= dict.fromkeys(dead, city.now_us - 30 * RECENT_US)
    city.step()
    assert OUTAGE not in city.alarms
    city.silent |= set(living[:12])
    city.step()
    assert city.alarms[OUTAGE].values == {"nodes": 12}
    assert {city.alarms[id_of("silent", n)].state for n in dead} == {"raised"}
    city.silent.add(living[12])  # falls silent while it stands
    city.step()
    assert city.alarms[id_of("silent", living[12])].state == "suppressed"
    city.hear(*living)
    changes = city.step()
    assert changes[OUTAGE].state == "returned"
    assert set(city.alarms) == {OUTAGE} | {id_of("silent", n) for n in dead}


def test_half_of_the_city_is_no_outage() -> None:
    city = City(20)
    city.silent = set(list(city.heard)[:10])
    city.step()
    assert OUTAGE not in city.alarms
    city.heard = {n: us - (RECENT_US + 1 if n == "cab-19" else 0) for n, us in city.heard.items()}
    city.step()  # 10 of 19
    assert OUTAGE in city.alarms


ACTS = st.tuples(st.sampled_from(["acknowledge", "shelve", "unshelve"]), st.integers(0, 40))
MOVES = st.one_of(
    st.tuples(st.just("silent"), st.sets(st.integers(0, 14), max_size=15)),
    st.tuples(st.just("heard"), st.sets(st.integers(0, 14), max_size=15)),
    st.tuples(st.just("act"), ACTS),
    st.tuples(st.just("lost"), st.integers(0, 14)),
    st.tuples(st.just("wait"), st.integers(1, 7_000)),
)


@settings(max_examples=many(150), deadline=None)
@given(st.lists(MOVES, max_size=30))
def test_no_state_is_reached_by_an_illegal_step(moves: list[tuple[str, Any]]) -> None:
    city = City(15)
    for move, what in moves:
        if move == "silent":
            city.silent |= {f"cab-{i}" for i in what}
        elif move == "heard":
            city.hear(*(f"cab-{i}" for i in what))
        elif move == "wait":
            city.now_us += what * SECOND_US
        elif move == "act" and city.alarms:
            names = sorted(city.alarms)
            until_us = city.now_us + 1_000 * SECOND_US if what[0] == "shelve" else None
            city.act(names[what[1] % len(names)], what[0], until_us)
        city.step(*([Occurrence(f"cab-{what}", "missing", as_told("lost"), 1)] if move == "lost" else []))
        assert city.step() == {}, "a second look finds nothing new"
        for alarm in city.alarms.values():  # what the words say is so
            if alarm.rule in {"silent", "city-outage"}:
                assert (" since " in alarm.text["en"], " depuis " in alarm.text["fr"]) == (alarm.active, alarm.active)
        holding = {a.device for a in city.alarms.values() if a.rule == "silent" and a.active}
        assert holding == city.silent
        outage = city.alarms.get(OUTAGE)
        suppressed = [a for a in city.alarms.values() if a.state == "suppressed"]
        assert not suppressed or (outage is not None and outage.active)
