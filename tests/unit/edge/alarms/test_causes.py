"""Causes and consequences: any declarations, chains and rings among them, floods and restarts."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge.alarms.book import AlarmBook
from edge.alarms.causes import Suppression
from edge.alarms.own import FLOOD
from edge.alarms.raised import Raised
from edge.alarms.states import TRANSITIONS
from support.examples import many
from wire.entries import Alarm, AlarmState
from wire.orders import AlarmAct

US = 1_000_000
DEAD_S, SHELF_S, LIMIT = 5, 40, 5
DEVICES, RULES = ("lamp", "bin", "cab"), ("p", "q", "r")
KEYS = st.tuples(st.sampled_from(DEVICES), st.sampled_from(RULES))


def some(names: tuple[str, ...]) -> st.SearchStrategy[frozenset[str] | None]:
    return st.none() | st.frozensets(st.sampled_from(names))


DECLARED = st.dictionaries(
    KEYS, st.lists(st.builds(Suppression, some(RULES), some(DEVICES)), max_size=2).map(tuple), max_size=6
)


class Street(RuleBasedStateMachine):
    """One book that runs through, and one that is opened again now and then: they tell the same."""

    limit = 2_000

    def __init__(self) -> None:
        super().__init__()
        self.now_us = 1_800_000_000 * US
        self.states: dict[str, AlarmState] = {}
        self.times: dict[str, int] = {}
        self.holds: set[tuple[str, str]] = set()

    @initialize(declared=DECLARED)
    def start(self, declared: dict[tuple[str, str], tuple[Suppression, ...]]) -> None:
        self.declared = declared
        self.draws = count(1), count(1)
        self.books = [self.open(0, ()), self.open(1, ())]

    def suppresses(self, device: str, name: str) -> tuple[Suppression, ...]:
        return self.declared.get((device, name), ())

    def open(self, which: int, kept: tuple[Alarm, ...]) -> AlarmBook:
        draw = self.draws[which]
        return AlarmBook(
            node="cab",
            draw_id=lambda: f"x{next(draw)}",
            kept=kept,
            suppresses=self.suppresses,
            dead_time_s=DEAD_S,
            limit=self.limit,
        )

    def both(self, what: str, *given: Any) -> None:
        told, again = ([*getattr(book, what)(*given)] for book in self.books)
        assert told == again, "a restart has changed nothing"
        for alarm in told:
            assert alarm.state in TRANSITIONS[self.states.get(alarm.id)]
            assert self.times.get(alarm.id, 0) <= alarm.time_us <= self.now_us
            assert (alarm.state == "suppressed") <= bool(alarm.cause)
            assert (alarm.until_us is not None) == (alarm.state == "shelved")
            self.states[alarm.id], self.times[alarm.id] = alarm.state, alarm.time_us

    @rule(key=KEYS, respond_s=st.none() | st.integers(1, 60), severity=st.sampled_from(["low", "high", "urgent"]))
    def comes(self, key: tuple[str, str], respond_s: int | None, severity: Any) -> None:
        self.holds.add(key)
        raised = Raised(
            device=key[0],
            rule=key[1],
            severity=severity,
            time_us=self.now_us,
            respond_within_s=respond_s,
            suppresses=self.suppresses(*key),
        )
        self.both("raise_", raised, None)

    @rule(key=KEYS)
    def goes(self, key: tuple[str, str]) -> None:
        self.holds.discard(key)
        self.both("returned", *key, {}, self.now_us, None)

    @rule(data=st.data(), what=st.sampled_from(["acknowledge", "shelve", "unshelve"]))
    def act(self, data: st.DataObject, what: Any) -> None:
        standing = self.books[0].standing()
        if standing:
            self.do(what, data.draw(st.sampled_from(sorted(a.id for a in standing))))

    def do(self, what: Any, alarm: str) -> None:
        act = AlarmAct(
            id="o",
            by="op",
            issued_us=self.now_us,
            expires_us=self.now_us,
            alarm=alarm,
            act=what,
            until_us=self.now_us + SHELF_S * US,
        )
        self.both("act", act, self.now_us, None)

    @rule(seconds=st.integers(1, 30))
    def passes(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now_us += US
            self.both("advance", self.now_us, None)

    @rule()
    def restarts(self) -> None:
        self.books[1] = self.open(1, tuple(self.books[1].standing()))

    @invariant()
    def nothing_is_suppressed_by_itself_or_in_a_ring(self) -> None:
        if not hasattr(self, "books"):
            return
        standing = {a.id: a for a in self.books[0].standing()}
        assert len({(a.device, a.rule) for a in standing.values()}) == len(standing)
        assert set(standing) == {i for i, s in self.states.items() if s != "cleared"}
        for alarm in standing.values():
            assert alarm.rule == FLOOD or alarm.active == ((alarm.device, alarm.rule) in self.holds)
            chain = self.chain(alarm, standing)
            if alarm.state == "suppressed" and alarm.active:
                cause = chain[1]
                gone_s = 0 if cause.active else (self.now_us - cause.time_us) / US
                assert gone_s < DEAD_S, "its cause holds, or has left a moment ago"
                assert any(s.covers(alarm.device, alarm.rule) for s in self.suppresses(cause.device, cause.rule))
                root = chain[-1]
                assert root.state != "suppressed" or not root.active, "somebody is shown why"
            if alarm.state in {"raised", "acknowledged"} and alarm.active and alarm.rule != FLOOD:
                for cause in standing.values():
                    declared = self.suppresses(cause.device, cause.rule)
                    if cause.active and cause is not alarm and any(s.covers(*key_of(alarm)) for s in declared):
                        assert alarm in self.chain(cause, standing), "what is shown has no cause but in a ring"

    def chain(self, alarm: Alarm, standing: dict[str, Alarm]) -> list[Alarm]:
        chain = [alarm]
        while alarm.state == "suppressed" and (found := standing.get(alarm.cause)) is not None:
            alarm = found
            assert alarm not in chain, "a ring"
            chain.append(alarm)
        return chain

    def teardown(self) -> None:
        if not hasattr(self, "books"):
            return
        for device in DEVICES:
            for name in RULES:
                self.goes((device, name))
        self.passes(SHELF_S + DEAD_S)
        for alarm in self.books[0].standing():
            self.do("acknowledge", alarm.id)
        self.passes(DEAD_S)
        assert [b.standing() for b in self.books] == [(), ()]
        assert self.books[0].due_us() is None


TestStreet = Street.TestCase
TestStreet.settings = settings(max_examples=many(100), stateful_step_count=60, deadline=None)
TestStreet.pytestmark = pytest.mark.slow


class FloodedStreet(Street):
    """More than there is room for. What waits is not kept: here nobody restarts."""

    limit = LIMIT

    def restarts(self) -> None:
        """Not here."""

    @rule(key=KEYS)
    def is_forgotten(self, key: tuple[str, str]) -> None:
        self.holds.discard(key)

        def gone(device: str, name: str) -> bool:
            return (device, name) == key

        self.both("forget", gone, self.now_us, None)

    @invariant()
    def everything_that_holds_stands_or_waits(self) -> None:
        if not hasattr(self, "books"):
            return
        standing = {key_of(a): a for a in self.books[0].standing()}
        flood = standing.pop(("cab", FLOOD), None)
        assert len(standing) <= LIMIT
        waiting = self.holds - set(standing)
        if flood is None or not flood.active:
            assert not waiting
        else:
            assert flood.values["waiting"] == len(waiting) > 0
            assert flood.state != "suppressed"
            assert len(standing) >= LIMIT - LIMIT // 4, "while there is room nothing waits"


def key_of(alarm: Alarm) -> tuple[str, str]:
    return alarm.device, alarm.rule


TestFloodedStreet = FloodedStreet.TestCase
TestFloodedStreet.settings = settings(max_examples=many(100), stateful_step_count=60, deadline=None)
TestFloodedStreet.pytestmark = pytest.mark.slow
