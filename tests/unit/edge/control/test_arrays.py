"""The arrays of a node against a naive model, over restarts: what is kept is what is in memory."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge.control.arbitration import Held
from edge.control.arrays import KEPT, PREFIX, Key, PriorityArrays
from support.examples import many
from wire.device import Point
from wire.entries import Level
from wire.orders import LEVELS

UTC0 = 1_800_000_000_000_000
LAMP: Key = ("lamp/1", "dim_level")
DOOR: Key = ("door", "lock")
GONE: Key = ("gone", "x")
POINTS = {
    LAMP: Point(name="dim_level", type="int", unit="%", low=0, high=100, writable=True, safe=70),
    DOOR: Point(name="lock", type="int", writable=True),
}
keys = st.sampled_from([LAMP, DOOR])
levels = st.sampled_from([lv for lv in LEVELS if lv != "default"])


class Card:
    """What is kept."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def take(self, changes: dict[str, bytes | None]) -> None:
        for name, body in changes.items():
            assert name.startswith(PREFIX)
            if body is None:
                self.kept.pop(name, None)
            else:
                self.kept[name] = body


class Arrays(RuleBasedStateMachine):
    """`truth` is a list of (key, level, value, monotonic end, UTC end)."""

    @initialize()
    def begin(self) -> None:
        self.mono, self.utc, self.boot = 1_000, UTC0, 1
        self.card, self.control = Card(), PriorityArrays(POINTS, 1)
        self.truth: list[tuple[Key, Level, int, int | None, int | None]] = []
        self.touched: set[Key] = set()
        self.count = 0

    @rule(key=keys, level=levels, lasts=st.none() | st.integers(1, 30), timed=st.booleans())
    def hold(self, key: Key, level: Level, lasts: int | None, timed: bool) -> None:
        self.count = (self.count + 1) % 100
        ends = None if lasts is None else self.mono + lasts
        until = None if lasts is None or not timed else self.utc + lasts
        before, kept = self.control.hold(
            key, level, Held(value=self.count, by="x", order=f"o{self.count}", ends_us=ends, until_us=until)
        )
        self.card.take(kept)
        was = [one for one in self.truth if one[:2] == (key, level)]
        assert (None if before is None else before.value) == (was[0][2] if was else None)
        self.truth = [one for one in self.truth if one not in was]
        self.truth.append((key, level, self.count, ends, until))
        self.touched.add(key)

    @rule(key=keys, level=levels)
    def release(self, key: Key, level: Level) -> None:
        before, kept = self.control.release(key, level)
        self.card.take(kept)
        was = [one for one in self.truth if one[:2] == (key, level)]
        assert (None if before is None else before.value) == (was[0][2] if was else None)
        self.truth = [one for one in self.truth if one not in was]

    @rule(us=st.integers(0, 20))
    def wait(self, us: int) -> None:
        self.mono += us
        self.utc += us
        ended, kept = self.control.expire(self.mono)
        self.card.take(kept)
        over = [one for one in self.truth if one[3] is not None and one[3] <= self.mono]
        assert {(e.key, e.level, e.held.value) for e in ended} == {one[:3] for one in over}
        self.truth = [one for one in self.truth if one not in over]

    @rule(us=st.integers(0, 20), reboots=st.booleans(), known=st.booleans())
    def restart(self, us: int, reboots: bool, known: bool) -> None:
        self.mono, self.utc = (5 if reboots else self.mono + us), self.utc + us
        self.boot += reboots
        self.control = PriorityArrays(POINTS, self.boot)
        dropped, changed = self.control.restore(self.card.kept, self.mono, self.utc if known else None)
        self.card.take(changed)
        held: list[tuple[Key, Level, int, int | None, int | None]] = []
        lost: set[tuple[Key, Level, int]] = set()
        for key, level, value, ends, until in self.truth:
            if level not in KEPT:
                continue
            if ends is not None and reboots:
                ends = self.mono + until - self.utc if known and until is not None else 0  # noqa: PLW2901
            if ends is not None and ends <= self.mono:
                lost.add((key, level, value))
            else:
                held.append((key, level, value, ends, until))
        assert {(d.key, d.level, d.held.value) for d in dropped} == lost
        self.truth = held
        # What only the plan has ever held may be left as it is: the plan comes again by itself.
        self.touched = {k for k in self.touched if any(n.endswith(f"/{k[1]}/{k[0]}") for n in self.card.kept)}

    @invariant()
    def the_highest_wins_and_the_safe_value_lies_below_what_was_ever_held(self) -> None:
        for key in POINTS:
            mine = sorted((LEVELS.index(one[1]), one[2]) for one in self.truth if one[0] == key)
            if key == LAMP and key in self.touched:
                mine.append((LEVELS.index("default"), 70))
            assert [(LEVELS.index(lv), h.value) for lv, h in self.control.array(key)] == mine
            top = self.control.top(key)
            assert (None if top is None else top[1].value) == (mine[0][1] if mine else None)
            assert (key in set(self.control.held())) == bool(mine)
        assert self.control.due_us() == min((one[3] for one in self.truth if one[3] is not None), default=None)

    @invariant()
    def what_is_kept_is_what_is_in_memory(self) -> None:
        slots = [msgspec.msgpack.decode(body) for body in self.card.kept.values()]
        kept = {
            (s["device"], s["point"], s["level"], s["value"], s["ends_us"]) for s in slots if s["level"] != "default"
        }
        assert kept == {(*key, level, value, ends) for key, level, value, ends, _ in self.truth if level in KEPT}

    def teardown(self) -> None:
        """A restart of the process alone changes nothing that is kept."""
        if hasattr(self, "card"):
            again = PriorityArrays(POINTS, self.boot)
            dropped, changed = again.restore(self.card.kept, self.mono, None)
            assert (dropped, changed) == ([], {})


TestArrays = Arrays.TestCase
TestArrays.settings = settings(max_examples=many(150), stateful_step_count=30, deadline=None)
TestArrays.pytestmark = pytest.mark.slow


def kept_of(level: Level = "hypervisor", value: object = 40, points: dict[Key, Point] = POINTS) -> dict[str, bytes]:
    control = PriorityArrays(points, 1)
    _, kept = control.hold(LAMP, level, Held(value=value, by="x", order="o1", ends_us=50, until_us=UTC0 + 50))  # type: ignore[arg-type]
    return {name: body for name, body in kept.items() if body is not None}


def test_a_lamp_is_not_left_as_an_order_had_it_that_ended_while_the_node_was_down() -> None:
    control = PriorityArrays(POINTS, 1)
    dropped, changed = control.restore(kept_of(), 50, None)
    assert [d.held.order for d in dropped] == ["o1"]
    assert changed == {"slot/hypervisor/dim_level/lamp/1": None}
    assert list(control.held()) == [LAMP]
    assert control.top(LAMP) == ("default", Held(value=70, by=""))


def test_a_lamp_is_not_left_so_either_when_it_ended_just_before() -> None:
    """Ended and off the card, and killed before the lamp was told."""
    card, control = Card(), PriorityArrays(POINTS, 1)
    card.take(control.hold(LAMP, "rule", Held(value=0, by="x", ends_us=50))[1])
    card.take(control.expire(50)[1])
    again = PriorityArrays(POINTS, 2)
    assert again.restore(card.kept, 5, None) == ([], {})
    assert list(again.held()) == [LAMP]


def test_a_slot_kept_before_there_were_marks_is_given_one() -> None:
    kept = {n: b for n, b in kept_of().items() if "default" not in n}
    control = PriorityArrays(POINTS, 1)
    _, changed = control.restore(kept, 5, None)
    assert set(changed) == {"slot/default/dim_level/lamp/1"}
    control = PriorityArrays(POINTS, 1)
    dropped, changed = control.restore(kept, 50, None)
    assert len(dropped) == 1
    assert set(changed) == {"slot/hypervisor/dim_level/lamp/1", "slot/default/dim_level/lamp/1"}
    assert control.top(LAMP) == ("default", Held(value=70, by="")), "also where its value has ended since"


def test_what_the_plan_holds_is_marked_until_something_kept_is() -> None:
    control = PriorityArrays(POINTS, 1)
    mark = {"slot/default/dim_level/lamp/1"}
    assert set(control.hold(LAMP, "plan", Held(value=1, by="p"))[1]) == mark
    assert set(control.hold(LAMP, "plan", Held(value=2, by="p"))[1]) == mark, "the first may not have been kept"
    assert mark < set(control.hold(LAMP, "rule", Held(value=1, by="r"))[1])
    assert set(control.hold(LAMP, "rule", Held(value=2, by="r"))[1]) == {"slot/rule/dim_level/lamp/1"}


@pytest.mark.parametrize(
    "points",
    [
        {DOOR: POINTS[DOOR]},
        {LAMP: msgspec.structs.replace(POINTS[LAMP], high=30)},
        {LAMP: msgspec.structs.replace(POINTS[LAMP], type="text")},
    ],
    ids=["the point is gone", "its range is smaller", "its type is another"],
)
def test_what_the_site_file_does_not_allow_any_more_is_let_go(points: dict[Key, Point]) -> None:
    control = PriorityArrays(points, 1)
    dropped, changed = control.restore(kept_of(), 5, None)
    assert [d.held.order for d in dropped] == ["o1"]
    assert changed["slot/hypervisor/dim_level/lamp/1"] is None
    assert (LAMP in points) == (LAMP in control.held())


def test_what_cannot_be_read_is_let_go_and_the_rest_stays(caplog: pytest.LogCaptureFixture) -> None:
    control = PriorityArrays(POINTS, 1)
    kept = {**kept_of(), "slot/rule/x/y": b"\xc1", "slot/rule/x/z": b"\x80"}
    dropped, changed = control.restore(kept, 5, None)
    assert (dropped, changed) == ([], {"slot/rule/x/y": None, "slot/rule/x/z": None})
    assert control.top(LAMP) is not None
    assert "slot/rule/x/y" in caplog.text


def test_a_point_that_there_is_not_cannot_be_held_and_leaves_no_trace() -> None:
    control = PriorityArrays(POINTS, 1)
    with pytest.raises(KeyError):
        control.hold(GONE, "rule", Held(value=1, by="x"))
    assert list(control.held()) == []
    assert control.release(GONE, "rule") == (None, {})
    assert control.top(GONE) is None
    with pytest.raises(OverflowError):
        control.hold(DOOR, "rule", Held(value=10**30, by="x"))
    assert control.top(DOOR) is None
