"""The alarm book against a naive model, second by second, and the same day on an estimated clock.

The model counts seconds up and down, and knows nothing of times, causes or structs. It follows the rules that
docs/alarms.md tells, in another way than the book.
"""

from __future__ import annotations

from itertools import count
from typing import Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from edge.alarms.acts import Refusal
from edge.alarms.book import AlarmBook
from edge.alarms.causes import Suppression
from edge.alarms.raised import Raised
from edge.alarms.states import TRANSITIONS
from support.examples import many
from wire.entries import Alarm, AlarmState
from wire.orders import AlarmAct

US = 1_000_000
T = 1_800_000_000
RESPOND_S, ESCALATE_S, DEAD_S = 40, 30, 7
DEVICES = st.sampled_from(["lamp", "bin", "door"])
WHAT = st.sampled_from(["acknowledge", "shelve", "unshelve"])

Act = Literal["acknowledge", "shelve", "unshelve"]


class Told(NamedTuple):
    """What both tell."""

    alarm: str
    state: str
    active: bool
    acknowledged: bool
    escalated: bool
    second: int


class Naive:
    """One device and rule."""

    def __init__(self, draw: count[int]) -> None:
        self.draw = draw
        self.told: list[Told] = []
        self.state = "none"

    def begin(self, second: int) -> None:
        self.alarm, self.state = f"a{next(self.draw)}", "raised"
        self.here, self.seen, self.escalated = True, False, False
        self.gone_for = 0  # seconds
        self.gone_at = second
        self.unanswered_for = 0
        self.shelf_left = 0
        self.say(second)

    def say(self, second: int) -> None:
        self.told.append(Told(self.alarm, self.state, self.here, self.seen, self.escalated, second))
        self.gone_for, self.gone_at = 0, second

    def look(self, second: int) -> None:
        """Whatever is due."""
        if self.state == "shelved" and self.shelf_left == 0:
            if self.here:
                self.state = "acknowledged" if self.seen else "raised"
            elif not self.seen:
                self.state = "returned"
            else:
                self.state = "acknowledged" if self.gone_for < DEAD_S else "none"
            self.say_state(second)
        elif self.state in {"raised", "acknowledged"} and not self.here and self.gone_for >= DEAD_S:
            self.state = "returned" if self.state == "raised" else "none"
            self.say_state(self.gone_at)
        if self.state == "raised" and self.here and not self.escalated and self.unanswered_for >= ESCALATE_S:
            self.escalated = True
            self.say(second)

    def say_state(self, second: int) -> None:
        over = self.state == "none"
        if over:
            self.state = "cleared"
        self.say(second)
        if over:
            self.state = "none"

    def tick(self, second: int) -> None:
        if self.state == "none":
            return
        self.unanswered_for += 1
        self.gone_for += 1
        self.shelf_left = max(0, self.shelf_left - 1)
        self.look(second)

    def comes(self, second: int) -> None:
        if self.state == "none":
            self.begin(second)
        elif not self.here:
            if self.state == "shelved" and self.seen and self.gone_for >= DEAD_S:
                self.seen = self.escalated = False
                self.unanswered_for = 0
            self.here = True
            if self.state == "returned":
                self.state = "raised"
                self.say(second)
            self.look(second)

    def goes(self, second: int) -> None:
        if self.state != "none" and self.here:
            self.here, self.gone_for, self.gone_at = False, 0, second

    def act(self, what: Act, shelf_s: int, second: int) -> None:
        if what == "acknowledge" and not self.seen:
            self.seen = True
            self.state = {"raised": "acknowledged", "returned": "none"}.get(self.state, self.state)
            self.say_state(second)
        elif what == "shelve" and not (self.state == "shelved" and self.shelf_left == shelf_s):
            self.state, self.shelf_left = "shelved", shelf_s
            self.say(second)
        elif what == "unshelve" and self.state == "shelved":
            self.shelf_left = 0
            self.look(second)


class Books(RuleBasedStateMachine):
    """The book beside one model for each device; it is woken when it says that it is due, and restarted at will."""

    def __init__(self) -> None:
        super().__init__()
        self.second = 0
        self.draw = count(1)
        self.models = {name: Naive(count(1)) for name in ("lamp", "bin", "door")}
        self.states: dict[str, AlarmState] = {}
        self.times: dict[str, int] = {}
        self.told: dict[str, list[Told]] = {name: [] for name in self.models}
        self.ids: dict[str, str] = {}

    @initialize()
    def start(self) -> None:
        self.book = self.open(())

    def open(self, kept: tuple[Alarm, ...]) -> AlarmBook:
        return AlarmBook(
            node="cab", draw_id=lambda: f"x{next(self.draw)}", kept=kept, dead_time_s=DEAD_S, escalate_at=0.75
        )

    @property
    def now_us(self) -> int:
        return (T + self.second) * US

    def hear(self, told: list[Alarm]) -> None:
        for alarm in told:
            before = self.states.get(alarm.id)
            assert alarm.state in TRANSITIONS[before]
            assert self.times.get(alarm.id, 0) <= alarm.time_us <= self.now_us
            self.states[alarm.id], self.times[alarm.id] = alarm.state, alarm.time_us
            told_so_far = self.told[alarm.device]
            if alarm.id not in self.ids:
                self.ids[alarm.id] = f"a{len({t.alarm for t in told_so_far}) + 1}"
            name = self.ids[alarm.id]
            told_so_far.append(
                Told(name, alarm.state, alarm.active, alarm.acknowledged, alarm.escalated, alarm.time_us // US - T)
            )

    @rule(device=DEVICES)
    def comes(self, device: str) -> None:
        raised = Raised(
            device=device, rule="r", severity="high", time_us=self.now_us, respond_within_s=RESPOND_S, values={}
        )
        self.hear(self.book.raise_(raised, None))
        self.models[device].comes(self.second)
        self.agree()

    @rule(device=DEVICES)
    def goes(self, device: str) -> None:
        self.hear(self.book.returned(device, "r", {}, self.now_us, None))
        self.models[device].goes(self.second)
        self.agree()

    @rule(device=DEVICES, what=WHAT, shelf_s=st.integers(1, 60), twice=st.booleans())
    def act(self, device: str, what: Act, shelf_s: int, twice: bool) -> None:
        standing = {a.device: a.id for a in self.book.standing()}
        if device not in standing:
            return
        act = AlarmAct(
            id="o",
            by="op",
            issued_us=self.now_us,
            expires_us=self.now_us + US,
            alarm=standing[device],
            act=what,
            until_us=self.now_us + shelf_s * US,
        )
        self.hear(self.book.act(act, self.now_us, None))
        self.models[device].act(what, shelf_s, self.second)
        if twice and (device in {a.device for a in self.book.standing()} or what != "shelve"):
            assert self.book.act(act, self.now_us, None) == [], "done twice changes nothing"
        self.agree()

    @rule(seconds=st.integers(1, 15))
    def passes(self, seconds: int) -> None:
        for _ in range(seconds):
            self.second += 1
            due = self.book.due_us()
            if due is not None and due <= self.now_us:
                self.hear(self.book.advance(self.now_us, None))
                after = self.book.due_us()
                assert after is None or after > self.now_us, "it does not keep its caller awake"
            for model in self.models.values():
                model.tick(self.second)
            self.agree()

    @precondition(lambda self: self.states)
    @rule()
    def restarts(self) -> None:
        self.book = self.open(tuple(self.book.standing()))

    def agree(self) -> None:
        for device, model in self.models.items():
            assert self.told[device] == model.told
        standing = self.book.standing()
        assert len({(a.device, a.rule) for a in standing}) == len(standing)
        held = {a.device: (a.state, a.active, a.acknowledged, a.escalated) for a in standing}
        assert held == {d: (m.state, m.here, m.seen, m.escalated) for d, m in self.models.items() if m.state != "none"}
        assert {a.id for a in standing} == {i for i, s in self.states.items() if s != "cleared"}

    def teardown(self) -> None:
        if not hasattr(self, "book"):
            return
        for device in self.models:
            self.goes(device)
        self.passes(60 + DEAD_S)
        for alarm in self.book.standing():
            self.act(alarm.device, "acknowledge", 1, twice=True)
        self.passes(DEAD_S)
        assert self.book.standing() == ()
        assert self.book.due_us() is None


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=many(100), stateful_step_count=60, deadline=None)
TestBooks.pytestmark = pytest.mark.slow


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("comes"), DEVICES),
        st.tuples(st.just("goes"), DEVICES),
        st.tuples(st.sampled_from(["acknowledge", "shelve", "unshelve"]), DEVICES),
        st.tuples(st.just("passes"), st.integers(1, 40)),
    ),
    max_size=40,
)
FIXED_AT = st.integers(0, 40)
DOWN = (Suppression(frozenset({"r"}), frozenset({"bin", "lamp"})),)


def day(steps: list[tuple[str, str | int]], *, off_us: int, fixed_at: int) -> list[Alarm]:
    """A day that is told with true times, by a clock that is off by `off_us` until it is fixed. The door explains
    the others."""
    draw = count(1)
    book = AlarmBook(node="cab", draw_id=lambda: f"x{next(draw)}", dead_time_s=DEAD_S)
    true_us, told = T * US, list[Alarm]()
    boot: int | None = 7
    for n, (what, which) in enumerate(steps):
        if n == fixed_at and boot is not None:
            book.shift(off_us, boot)
            off_us, boot = 0, None
        for us in range(US, (which if isinstance(which, int) else 0) * US + 1, US):
            told += true(book.advance(true_us + us - off_us, boot), off_us)
        if isinstance(which, int):
            true_us += which * US
            continue
        now_us = true_us - off_us
        if what == "comes":
            suppresses = DOWN if which == "door" else ()
            raised = Raised(
                device=which,
                rule="r",
                severity="low",
                time_us=now_us,
                respond_within_s=RESPOND_S,
                suppresses=suppresses,
            )
            told += true(book.raise_(raised, boot), off_us)
        elif what == "goes":
            told += true(book.returned(which, "r", {}, now_us, boot), off_us)
        else:
            ids = {a.device: a.id for a in book.standing()}
            act = AlarmAct(
                id="o",
                by="op",
                issued_us=true_us,
                expires_us=true_us,
                alarm=ids.get(which, "x0"),
                act=what,  # type: ignore[arg-type] - one of three
                until_us=true_us + 30 * US,
            )
            try:
                told += true(book.act(act, now_us, boot), off_us)
            except Refusal:
                assert which not in ids
    return told


def true(told: list[Alarm], off_us: int) -> list[Alarm]:
    """As whoever has heard the clock fix reads it."""

    def moved(at_us: int | None) -> int | None:
        return None if at_us is None else at_us + off_us

    return [
        Alarm(
            id=a.id,
            device=a.device,
            rule=a.rule,
            severity=a.severity,
            state=a.state,
            raised_us=a.raised_us + (off_us if a.boot is not None else 0),
            time_us=a.time_us + (off_us if a.boot is not None else 0),
            respond_by_us=moved(a.respond_by_us) if a.boot is not None else a.respond_by_us,
            until_us=moved(a.until_us) if a.boot is not None else a.until_us,
            active=a.active,
            acknowledged=a.acknowledged,
            escalated=a.escalated,
            cause=a.cause,
            by=a.by,
        )
        for a in told
    ]


@given(STEPS, st.integers(-3_600, 30 * 86_400), FIXED_AT)
@settings(max_examples=many(300), deadline=None)
def test_a_day_by_an_estimated_clock_is_the_same_day(
    steps: list[tuple[str, str | int]], off_s: int, fixed_at: int
) -> None:
    assert day(steps, off_us=off_s * US, fixed_at=fixed_at) == day(steps, off_us=0, fixed_at=fixed_at)
