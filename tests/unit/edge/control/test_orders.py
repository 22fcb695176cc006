"""Orders against a lamp, a card that can lag, restarts and clocks that jump.

The oracles know nothing of the desk: what was written to the lamp and when, what the card had by then, and which
results are durable. The array is worked out anew from those results.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from drivers.errors import Unreachable
from edge.control import order_records
from edge.control.actuators import Actuator, Actuators
from edge.control.arbitration import Held
from edge.control.arrays import Ended, Key, PriorityArrays
from edge.control.order_contract import Declined
from edge.control.order_records import DAY_US, MAX_LAST_US, HowFar, Kept
from edge.control.orders import AHEAD_US, RETELL_US, OrderBook
from edge.control.trusted import TrustedTime
from support.examples import many
from support.leaping import LeapingLoop
from support.stubborn import LAMP, StubbornLamp, actuator
from wire.device import Point
from wire.entries import Alarm, Entry, Result
from wire.orders import FINAL, LEVELS, AlarmAct, Bundle, Command, Order, Relinquish
from wire.sample import Clock, Value

UTC0 = 1_800_000_000_000_000
SECOND = 1_000_000
SAFE, PLAN = 70, 40
WIDE = Point(name="level", type="int", low=0, high=1_000_000, writable=True, safe=SAFE)


class World:
    """A lamp, a card and a node that can be killed. Everything outside the node goes on when it is."""

    def __init__(self, *, plan: bool = False) -> None:
        self.runner = asyncio.Runner(loop_factory=LeapingLoop)
        self.loop = self.runner.get_loop()
        self.card: dict[str, bytes] = {}
        self.results: list[Result] = []  # durable
        self.waiting: list[tuple[tuple[Entry, ...], Kept, asyncio.Future[None]]] = []
        self.boot, self.booted_us = 1, 0
        self.synced, self.ahead_us = True, 0
        self.plan = plan
        self.acts: list[str] = []
        self.wrong: list[str] = []
        self.write_check: Callable[[Value], None] = lambda _value: None
        self.run(self._make_lamp)
        self.start()

    # ---- time

    def utc(self) -> int:
        """True time."""
        return UTC0 + self.mono_of_world()

    def mono_of_world(self) -> int:
        return round(self.loop.time() * 1e6)

    def mono(self) -> int:
        return self.mono_of_world() - self.booted_us

    def now(self) -> tuple[int, Clock]:
        return self.utc() + self.ahead_us, Clock(self.boot, synced=self.synced)

    def run(self, call: Callable[[], Any], seconds: float = 0.0) -> Any:
        async def go() -> Any:
            found = call()
            await asyncio.sleep(seconds)
            return found

        return self.runner.run(go())

    # ---- the node

    def _make_lamp(self) -> None:
        self.lamp = StubbornLamp()
        write = self.lamp.write

        async def checked(*args: Any) -> None:
            self.write_check(args[2])
            await write(*args)

        self.lamp.write = checked  # type: ignore[method-assign]

    def start(self) -> None:
        self.run(self._start)

    def _start(self) -> None:
        self.control = PriorityArrays({LAMP: WIDE}, self.boot)
        self.trusted = TrustedTime(self.now, self.mono)
        how = actuator()
        how = Actuator(how.device, WIDE, WIDE, polled=True, writing=how.writing)
        slots = {n: b for n, b in self.card.items() if n.startswith("slot/")}
        known = {n: b for n, b in self.card.items() if n.startswith("order/")}
        dropped, changed = self.control.restore(slots, self.mono(), self.trusted.now_us())
        self.desk = OrderBook(
            control=self.control,
            acts=self,
            trusted=self.trusted,
            now=self.now,
            monotonic_us=self.mono,
            insist=self.insist,
            wake=lambda key, after=None: self.actuators.wake(key, after),
        )
        self.actuators = Actuators({LAMP: how}, self.control, lambda _: self.lamp, self.desk, monotonic_us=self.mono)
        self.insist(kept=changed)
        self.desk.restore(known, dropped)
        if self.plan:
            self.control.hold(LAMP, "plan", Held(value=PLAN, by="p"))
        for key in self.control.held():
            self.actuators.wake(key)

    def insist(self, *entries: Entry, kept: Kept) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self.loop.create_future()
        self.waiting.append((entries, kept, future))
        return future

    def commit(self) -> None:
        waiting, self.waiting = self.waiting, []
        for entries, kept, future in waiting:
            self.results += [e for e in entries if isinstance(e, Result)]
            for name, body in kept.items():
                if body is None:
                    self.card.pop(name, None)
                else:
                    self.card[name] = body
            if not future.done():
                future.set_result(None)

    def kill(self, *, reboots: bool = False) -> None:
        self.runner.run(self.actuators.close())
        self.waiting.clear()
        if reboots:
            self.boot, self.booted_us = self.boot + 1, self.mono_of_world() - 5 * SECOND
        self.start()

    def take(self, order: Order, seconds: float = 0.0, *, hear: bool = True, on_site: bool = False) -> None:
        def go() -> None:
            if hear:
                self.trusted.hear(self.utc())
            self.desk.take(order, on_site=on_site)

        self.run(go, seconds)

    def calm(self, seconds: float = 30.0) -> None:
        """Commit and let go on until nothing changes."""
        step_s = 5 if seconds > 100 else 0.5
        for _ in range(round(seconds / step_s)):
            self.run(self.desk.advance, step_s)
            self.run(self.commit)

    def close(self) -> None:
        self.runner.run(self.actuators.close())
        self.runner.close()

    # ---- Acts

    def act(self, act: AlarmAct) -> tuple[list[Alarm], Kept]:
        if act.alarm == "none":
            raise Declined("there is no such alarm")
        self.acts.append(act.id)
        return [], {"alarm/a": act.id.encode()}

    def adopt(self, bundle: Bundle) -> tuple[Kept, str]:
        if bundle.text == "broken":
            raise RuntimeError("a bug of ours")
        self.acts.append(bundle.id)
        return {"bundle/plan": bundle.version.encode()}, "1 of 1 devices"

    # ---- orders

    def command(self, name: str, value: Any, lasts_s: float = 60, **more: Any) -> Command:
        now = self.utc()
        given = {"issued_us": now, "expires_us": now + round(lasts_s * 1e6), "by": "ops", **more}
        return Command(**{"id": name, "device": "lamp", "point": "level", "value": value, **given})

    def relinquish(self, name: str, lasts_s: float = 60, **more: Any) -> Relinquish:
        now = self.utc()
        given = {"issued_us": now, "expires_us": now + round(lasts_s * 1e6), "by": "ops", **more}
        return Relinquish(**{"id": name, "device": "lamp", "point": "level", **given})

    def stages(self, name: str) -> list[str]:
        return [r.stage for r in self.results if r.order == name]

    def said(self, name: str) -> str:
        return next(r.detail for r in self.results if r.order == name and r.stage in FINAL)


class Orders(RuleBasedStateMachine):
    """Every order has its own value, so that a write tells which one it was."""

    @initialize(plan=st.booleans())
    def begin(self, plan: bool) -> None:
        self.world = World(plan=plan)
        self.world.write_check = self.check_write
        self.orders: dict[str, Order] = {}
        self.sent: set[str] = set()
        self.ends: dict[str, int] = {}  # of commands that were taken, in true time
        self.lost: set[str] = set()  # let go by a boot that could not say whether they had ended
        self.wrong: list[str] = []
        self.number, self.kills = 1000, 0

    def check_write(self, value: Value) -> None:
        world = self.world
        order = next((o for o in self.orders.values() if isinstance(o, Command) and o.value == value), None)
        if order is None:
            assert value in {SAFE, PLAN}
            return
        finals = {r.stage for r in world.results if r.order == order.id} & FINAL
        finals |= {
            e.stage for es, _, _ in world.waiting for e in es if isinstance(e, Result) and e.order == order.id
        } & FINAL
        if f"order/{order.id}" not in world.card:
            self.wrong.append(f"{order.id} is told and not on the card")
        if world.utc() >= order.expires_us:
            self.wrong.append(f"{order.id} is told after its end")
        if finals - {"verified"}:
            self.wrong.append(f"{order.id} is told after it was {finals}")
        if world.lamp.level == value:
            self.wrong.append(f"{order.id} is told twice")

    @rule(
        level=st.sampled_from(["emergency", "hypervisor"]),
        lasts=st.integers(-5, 60),
        given=st.integers(-10, 0),
        what=st.sampled_from(["command", "command", "command", "relinquish", "act"]),
        later=st.sampled_from([None, None, 0.0, 0.015, 2.0]),
    )
    def give(self, level: Any, lasts: int, given: int, what: str, later: float | None) -> None:
        """Issued, and perhaps sent and on the card; or that later, or sent before others that were given before."""
        self.number += 1
        name, world = f"o{self.number}", self.world
        more = {"level": level, "issued_us": world.utc() + given * SECOND}
        if what == "command":
            self.orders[name] = world.command(name, self.number, lasts, **more)
        elif what == "relinquish":
            self.orders[name] = world.relinquish(name, lasts, **more)
        else:
            ends = world.utc() + lasts * SECOND
            alarm = "none" if self.number % 2 else "a"
            self.orders[name] = AlarmAct(
                id=name, by="ops", issued_us=world.utc(), expires_us=ends, alarm=alarm, act="acknowledge"
            )
        if given % 4:
            self.send(name)
        if later is not None:
            self.commit(later)

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), wait=st.sampled_from([0.0, 0.005, 0.015, 0.025, 1.0]))
    def send_any(self, data: st.DataObject, wait: float) -> None:
        """For the first time, or again, in any order."""
        self.send(data.draw(st.sampled_from(sorted(self.orders))), wait)

    def send(self, name: str, wait: float = 0.0) -> None:
        world, order = self.world, self.orders[name]
        before = world.desk.counts["accepted"]
        world.take(order)
        self.sent.add(name)
        if isinstance(order, Command) and world.desk.counts["accepted"] > before:
            trusted = world.trusted.now_us()
            assert trusted is not None
            self.ends[name] = world.utc() + order.expires_us - trusted
            self.lost.discard(name)
        world.run(lambda: None, wait)

    @rule(wait=st.sampled_from([0.0, 0.01, 0.015, 0.02, 0.025, 2.0]))
    def commit(self, wait: float) -> None:
        self.world.run(self.world.commit, wait)

    @rule(seconds=st.integers(1, 30))
    def wait(self, seconds: int) -> None:
        self.world.run(self.world.desk.advance, seconds)

    @rule(mood=st.sampled_from(["well", "deaf", "wilful", "refuses", "bug"]))
    def lamp_is(self, mood: str) -> None:
        lamp = self.world.lamp
        lamp.deaf(deaf=mood == "deaf")
        lamp.becomes = (lambda _: 3) if mood == "wilful" else (lambda value: value)
        lamp.raises = {"refuses": Unreachable("no answer to a write"), "bug": RuntimeError("a bug")}.get(mood)

    @rule()
    def somebody_changes_it(self) -> None:
        self.world.lamp.level = 7
        self.world.run(lambda: self.world.actuators.seen(self.world.lamp.says(7)))

    @rule(reboots=st.booleans(), knows=st.booleans())
    def kill(self, reboots: bool, knows: bool) -> None:
        world = self.world
        world.synced = knows
        self.kills += 1
        at_us = world.utc() + world.ahead_us
        world.kill(reboots=reboots)
        if reboots:
            for name in self.ends:
                order = self.orders[name]
                if not knows or order.expires_us <= at_us:
                    self.lost.add(name)
                else:
                    self.ends[name] = world.utc() + order.expires_us - at_us

    @rule(ahead=st.sampled_from([0, 5, 3 * 86_400]))
    def clock_jumps(self, ahead: int) -> None:
        self.world.ahead_us = ahead * SECOND

    @rule()
    def all_is_well(self) -> None:
        """Then the lamp has what the array says, worked out from the results alone."""
        world = self.world
        self.lamp_is("well")
        world.calm(310 if world.lamp.level != 7 else 320)
        places: dict[str, str] = {}
        for result in world.results:
            order = self.orders[result.order]
            if isinstance(order, Command | Relinquish) and result.stage == "accepted":
                places[order.level] = result.order
            elif isinstance(order, Command) and result.stage == "failed" and places.get(order.level) == result.order:
                del places[order.level]
        wanted: Value = PLAN if world.plan else SAFE if "slot/default/level/lamp" in world.card else None
        for level in reversed(LEVELS):
            name = places.get(level, "")
            order = self.orders.get(name)
            if isinstance(order, Command) and world.utc() < self.ends[name] and name not in self.lost:
                wanted = order.value
        if wanted is not None:
            assert world.lamp.level == wanted

    @invariant()
    def nothing_wrong_was_written(self) -> None:
        if hasattr(self, "wrong"):
            assert self.wrong == []

    @invariant()
    def no_order_has_two_ends(self) -> None:
        if not hasattr(self, "world"):
            return
        finals = defaultdict[str, set[str]](set)
        for result in self.world.results:
            if result.stage in FINAL:
                finals[result.order].add(repr(result))
        assert all(len(found) == 1 for found in finals.values()), finals

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.end()
            finally:
                self.world.close()

    def end(self) -> None:
        """The cloud hears of everything in the end."""
        world = self.world
        self.lamp_is("well")
        world.synced, world.ahead_us = True, 0
        for name in sorted(self.sent):  # the cloud sends again what it has heard nothing of
            if not FINAL & set(world.stages(name)):
                self.send(name)
        world.calm(90)
        self.no_order_has_two_ends()
        self.nothing_wrong_was_written()
        assert {n for n in self.sent if not FINAL & set(world.stages(n))} == set(), "each has its end"
        assert world.desk.open == 0
        assert all(world.acts.count(n) <= 1 + self.kills for n in self.orders), (
            "again only where it was not on the card"
        )


TestOrders = Orders.TestCase
TestOrders.settings = settings(max_examples=many(100), stateful_step_count=30, deadline=None)
TestOrders.pytestmark = pytest.mark.slow


# ---- one by one ----------------------------------------------------------------------------------------------------


@pytest.fixture
def world() -> Any:
    found = World()
    yield found
    found.close()


def test_an_order_is_on_the_card_then_told_then_verified(world: World) -> None:
    world.take(world.command("a", 30), 5)
    assert (world.lamp.numbers, world.card) == ([], {}), "the card has not taken it"
    world.run(world.commit, 5)
    assert world.lamp.numbers == [30]
    world.commit()
    assert world.stages("a") == ["accepted", "applied", "verified"]
    assert (world.results[-1].device, world.results[-1].point, world.results[-1].read_back) == ("lamp", "level", 30)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"device": "lamb"}, "this node has no writable point level of lamb"),
        ({"point": "colour"}, "this node has no writable point colour of lamp"),
        ({"level": "technician"}, "the level technician is for whoever stands at the cabinet"),
        ({"value": -1}, "level takes 0 to 1e+06 , not -1"),
        ({"value": True}, "level takes a whole number, not True"),
        ({"value": 10**30}, "the value cannot be kept: integer beyond 64 bits"),
        ({"expires_us": UTC0 + 2 * MAX_LAST_US}, "it would last longer than 31 days"),
        ({"issued_us": UTC0 + 10 * AHEAD_US}, "look at the clock there"),
        ({"id": ""}, "it has no id"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(world: World, more: dict[str, Any], says: str) -> None:
    order = world.command("a", **{"value": 30, **more})
    world.take(order, 1)
    world.run(world.commit)
    assert world.stages(order.id) == ["refused"]
    assert says in world.said(order.id)
    assert world.control.top(LAMP) is None
    assert world.lamp.polls == 0


def test_an_order_on_what_the_technician_holds_says_so_at_once_and_at_its_end(world: World) -> None:
    world.take(world.command("a", 30, level="technician", lasts_s=7200, by="m.dupont"), on_site=True)
    world.take(world.command("b", 60))
    world.calm(5)
    accepted = next(r for r in world.results if r.order == "b")
    assert accepted.stage == "accepted"
    assert accepted.detail.startswith("it waits: technician m.dupont holds 30")
    assert re.search(r" until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", accepted.detail)
    world.calm(70)
    assert world.stages("b") == ["accepted", "expired"]
    assert "; technician m.dupont holds 30" in world.said("b")


def test_what_is_done_to_an_alarm_at_the_cabinet_says_who_has_done_it(world: World) -> None:
    times = {"issued_us": world.utc(), "expires_us": world.utc() + 60 * SECOND}
    world.take(AlarmAct(id="s", by="root for jean", alarm="a", act="acknowledge", **times), on_site=True)
    world.take(AlarmAct(id="r", by="ops", alarm="a", act="acknowledge", **times))
    world.calm(5)
    assert world.said("s") == "acknowledge at the cabinet by root for jean: a"
    assert world.said("r") == "", "the city knows its own orders"


def test_an_order_that_takes_effect_waits_for_nobody(world: World) -> None:
    world.take(world.command("a", 30, level="hypervisor"))
    world.take(world.command("b", 60, level="emergency"))
    world.calm(5)
    assert [r.detail for r in world.results if r.stage == "accepted"] == ["", ""]


def test_the_technician_may(world: World) -> None:
    world.take(world.command("a", 30, level="technician"), on_site=True)
    world.calm(5)
    assert world.stages("a")[-1] == "verified"


def test_without_a_clock_nothing_is_taken(world: World) -> None:
    world.synced = False
    world.take(world.command("a", 30), hear=False)
    world.run(world.commit)
    assert world.stages("a") == ["refused"]
    assert "clock unknown" in world.said("a")
    world.take(world.command("b", 30))
    world.run(world.commit)
    assert world.stages("b") == ["accepted"], "the cloud has said what time it is"


def held_of(world: World) -> Held:
    """What the technician holds."""
    held = world.control.array(LAMP).held("technician")
    assert held is not None
    return held


@pytest.mark.parametrize("ahead_days", [-300, 0, 300])
def test_on_site_an_order_is_taken_without_a_clock_and_lasts_as_long_as_it_says(world: World, ahead_days: int) -> None:
    world.synced, world.ahead_us = False, ahead_days * DAY_US
    given = world.now()[0]
    times = {"issued_us": given, "expires_us": given + 60 * SECOND}
    world.take(world.command("far", 50, **times), hear=False)
    world.take(world.command("a", 30, level="technician", **times), hear=False, on_site=True)
    world.calm(5)
    assert world.stages("far") == ["refused"]
    assert "clock unknown" in world.said("far")
    assert world.stages("a") == ["accepted", "applied", "verified"]
    assert world.lamp.level == 30
    assert held_of(world).until_us is None, "no hour can be told"
    world.synced, world.ahead_us = True, 0  # true time becomes known meanwhile
    world.calm(50)
    assert world.lamp.level == 30, "it ends by monotonic time"
    world.calm(6)
    assert world.lamp.level == SAFE


def test_on_site_the_clock_is_the_node_s_own_also_where_the_cloud_says_better(world: World) -> None:
    world.synced, world.ahead_us = False, -100 * DAY_US
    given = world.now()[0]
    world.take(
        world.command("a", 30, level="technician", issued_us=given, expires_us=given + 60 * SECOND), on_site=True
    )
    world.calm(5)
    assert world.stages("a")[-1] == "verified"
    until_us = held_of(world).until_us
    assert until_us is not None
    assert abs(until_us - (UTC0 + round(world.loop.time() * 1e6) + 55 * SECOND)) < SECOND, "told by the better one"
    back = world.relinquish("b", level="technician", issued_us=given, expires_us=given + 60 * SECOND)
    world.take(back, on_site=True)
    world.calm(5)
    assert world.stages("b")[-1] == "verified", "by trusted time it had ended before it was given"


def test_what_was_set_without_a_clock_is_let_go_by_a_reboot(world: World) -> None:
    world.synced, world.ahead_us = False, 300 * DAY_US
    given = world.now()[0]
    order = world.command("a", 30, level="technician", issued_us=given, expires_us=given + 60 * SECOND)
    world.take(order, hear=False, on_site=True)
    world.calm(5)
    world.synced, world.ahead_us = True, 0
    world.kill(reboots=True)
    world.calm(5)
    assert world.control.array(LAMP).held("technician") is None, "else it would be held for 300 days"
    assert world.lamp.level == SAFE


def test_on_site_the_last_one_counts_also_when_the_clock_was_set_back(world: World) -> None:
    world.ahead_us = 2 * DAY_US
    given = world.now()[0]
    first = world.command("a", 30, level="technician", issued_us=given, expires_us=given + 600 * SECOND)
    world.take(first, on_site=True, hear=False)
    world.calm(5)
    world.ahead_us = 0
    world.take(world.command("b", 60, level="technician"), on_site=True, hear=False)
    world.calm(5)
    assert world.stages("b")[-1] == "verified"
    assert world.lamp.level == 60


def test_an_order_given_on_site_says_so_for_the_city_has_not_given_it(world: World) -> None:
    world.take(world.command("a", 30, level="technician", by="jean"), on_site=True)
    world.take(world.command("b", 40))
    world.take(world.relinquish("c", level="technician", by="jean"), on_site=True)
    world.run(world.commit)
    accepted = {r.order: r.detail for r in world.results if r.stage == "accepted"}
    assert accepted == {
        "a": "given at the cabinet by jean: 30 for 60 s",
        "b": "it waits: technician jean holds 30 until 2027-01-15T08:17:40Z",
        "c": "taken back at the cabinet by jean",
    }


def test_how_far_an_order_has_come_can_be_asked(world: World) -> None:
    assert world.desk.how_far("a") is None
    world.take(world.command("a", 30))
    assert world.desk.how_far("a") == HowFar(stage="accepted")
    world.calm(5)
    assert world.desk.how_far("a") == HowFar(stage="verified", final=True, read_back=30)
    world.take(world.command("b", "x"))
    found = world.desk.how_far("b")
    assert found is not None
    assert (found.stage, found.final, found.detail) == ("refused", True, "level takes a whole number, not 'x'")


def test_a_refused_order_does_not_stand_in_the_way_of_older_ones_after_a_restart(world: World) -> None:
    older = world.command("b", 30)
    world.run(lambda: None, 5)
    world.take(world.command("a", -1))
    world.run(world.commit)
    world.kill()
    world.take(older)
    world.calm(5)
    assert world.stages("b")[-1] == "verified"


def test_an_older_order_does_not_take_the_place_of_a_later_one(world: World) -> None:
    older, later = world.command("a", 30), world.command("b", 60, issued_us=world.utc() + 1)
    world.take(later)
    world.take(older)
    world.calm(5)
    assert (world.stages("a"), world.stages("b")[-1]) == (["superseded"], "verified")
    world.kill()
    world.take(world.command("c", 20, issued_us=older.issued_us))
    world.run(world.commit)
    assert world.stages("c") == ["superseded"], "also after a restart"


def test_taking_back_is_verified_by_what_lies_below(world: World) -> None:
    world.take(world.command("a", 30))
    world.calm(5)
    world.take(world.relinquish("b"))
    world.calm(5)
    assert world.stages("b") == ["accepted", "verified"]
    assert world.said("b") == "now default"
    assert world.lamp.level == SAFE
    assert not any("hypervisor" in name for name in world.card)


def test_taking_back_where_nothing_was_held_is_verified_too(world: World) -> None:
    world.take(world.relinquish("a"))
    world.calm(5)
    assert world.stages("a") == ["accepted", "verified"]
    assert world.said("a") == "nothing else is held: it is left as it is"


def test_taking_back_while_the_value_is_being_written(world: World) -> None:
    world.take(world.command("a", 30))
    world.run(world.commit, 0.015)  # asked, and being told
    assert world.lamp.numbers == [30]
    world.take(world.relinquish("b"))
    world.calm(5)
    assert (world.stages("a"), world.stages("b")) == (["accepted", "superseded"], ["accepted", "verified"])
    assert world.lamp.level == SAFE


def test_taking_back_whose_device_is_dead_fails_and_is_done_later_all_the_same(world: World) -> None:
    world.take(world.command("a", 30))
    world.calm(5)
    world.lamp.deaf()
    world.take(world.relinquish("b"))
    world.calm(5)
    assert world.stages("b") == ["accepted", "failed"]
    world.lamp.deaf(deaf=False)
    world.calm(60)
    assert world.lamp.level == SAFE


def test_taking_back_has_an_end_while_the_card_takes_nothing(world: World) -> None:
    world.take(world.relinquish("a", 10))
    world.run(lambda: None, 11)
    world.run(world.desk.advance)
    world.run(world.commit, 1)
    world.commit()
    assert world.stages("a") == ["accepted", "expired"]


def test_a_failed_order_lets_go_and_a_verified_one_holds_on(world: World) -> None:
    world.lamp.deaf()
    world.take(world.command("a", 30))
    world.calm(5)
    assert world.stages("a") == ["accepted", "failed"]
    assert world.control.array(LAMP).held("hypervisor") is None
    world.lamp.deaf(deaf=False)
    world.take(world.command("b", 60, issued_us=world.utc() + 1))
    world.calm(5)
    world.lamp.level = 5
    world.lamp.deaf()
    world.run(lambda: world.actuators.seen(world.lamp.says(5)), 20)
    world.lamp.deaf(deaf=False)
    world.calm(30)
    assert world.lamp.level == 60
    assert world.stages("b") == ["accepted", "applied", "verified"]


def test_an_order_that_ends_makes_way(world: World) -> None:
    world.take(world.command("a", 30, lasts_s=20))
    world.calm(5)
    world.take(world.command("b", 60, lasts_s=3, level="emergency"))  # ends before the card has it
    world.run(lambda: None, 4)
    world.calm(40)
    assert (world.stages("a")[-1], world.stages("b")) == ("verified", ["accepted", "expired"])
    assert world.lamp.numbers == [30, SAFE]


def test_what_comes_after_its_end_is_expired(world: World) -> None:
    late = world.command("a", 30, lasts_s=5)
    world.run(lambda: None, 6)
    world.take(late)
    world.calm(5)
    assert world.stages("a") == ["expired"]
    assert world.lamp.polls == 0


def test_an_end_is_told_again_when_the_order_is_sent_again_but_not_each_time(world: World) -> None:
    order = world.command("a", 30)
    world.take(order)
    world.calm(5)
    for _ in range(10):
        world.take(order)
    world.run(world.commit)
    assert world.stages("a").count("verified") == 1
    world.run(lambda: None, RETELL_US / 1e6)
    for _ in range(10):
        world.take(order)
    world.run(world.commit)
    assert world.stages("a").count("verified") == 2
    assert world.results[-1] is next(r for r in world.results if r.stage == "verified"), "the very same"
    assert world.lamp.numbers == [30]


def test_killed_between_write_and_result_it_is_asked_and_not_told_again(world: World) -> None:
    world.take(world.command("a", 30))
    world.run(world.commit, 5)
    assert world.stages("a") == ["accepted"]
    world.kill()
    world.calm(10)
    assert world.stages("a")[-1] == "verified"
    assert world.lamp.numbers == [30]


def test_killed_before_it_was_on_the_card_it_was_never_there(world: World) -> None:
    order = world.command("a", 30)
    world.take(order, 5)
    world.kill()
    world.calm(5)
    assert (world.stages("a"), world.lamp.polls) == ([], 0)
    world.take(order)
    world.calm(5)
    assert world.stages("a")[-1] == "verified"


def test_an_order_whose_point_is_no_more_fails(world: World) -> None:
    world.take(world.command("a", 30))
    world.take(world.relinquish("b", level="emergency"))
    world.commit()
    known = {n: b for n, b in world.card.items() if n.startswith("order/")}
    world.control = PriorityArrays({}, 1)
    desk = OrderBook(control=world.control, acts=world, trusted=world.trusted, now=world.now, monotonic_us=world.mono,
                insist=world.insist, wake=lambda _k, _a=None: None)  # fmt: skip
    desk.restore({**known, "order/x": b"\xc1"}, [])
    world.commit()
    assert (world.stages("a")[-1], world.stages("b")[-1]) == ("failed", "failed")
    assert "order/x" not in world.card
    assert desk.open == 0


def test_whoever_is_told_of_an_end_may_put_something_in_its_place(world: World) -> None:
    """What is kept then is what is held: the later word goes last."""

    def freed(key: Key, ended: Ended | None) -> None:
        assert ended is not None
        if ended.held.by == "r1":
            world.insist(kept=world.control.hold(key, "rule", Held(value=20, by="r2"))[1])

    world.desk._freed = freed
    world.run(lambda: world.insist(kept=world.control.hold(LAMP, "rule", Held(value=10, by="r1", ends_us=0))[1]))
    world.run(world.desk.advance)
    world.run(world.commit, 1)
    assert world.control.top(LAMP) == ("rule", Held(value=20, by="r2"))
    assert "slot/rule/level/lamp" in world.card


def test_acts_are_done_once_and_told_together_with_what_they_change(world: World) -> None:
    now = world.utc()
    given: dict[str, Any] = {"by": "ops", "issued_us": now, "expires_us": now + SECOND}
    act = AlarmAct(id="a", alarm="a", act="acknowledge", **given)
    bundle = Bundle(id="b", kind="plan", version="1", text="", **given)
    for order in (act, bundle, AlarmAct(id="c", alarm="none", act="shelve", **given), act, bundle):
        world.take(order)
    assert world.acts == ["a", "b"]
    world.run(world.commit)
    assert (world.stages("a"), world.stages("b"), world.stages("c")) == (["verified"], ["verified"], ["refused"])
    assert (world.card["alarm/a"], world.card["bundle/plan"]) == (b"a", b"1")
    world.kill()
    world.take(act)
    assert world.acts == ["a", "b"]


def test_an_act_that_breaks_has_failed_and_is_not_tried_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    now = world.utc()
    bundle = Bundle(id="b", kind="plan", version="1", text="broken", by="ops", issued_us=now, expires_us=now + SECOND)
    for _ in range(2):
        world.take(bundle)
    world.run(world.commit)
    assert world.stages("b") == ["failed"]
    assert "a bug of ours" in world.said("b")
    assert caplog.text.count("Traceback") == 1
    assert world.acts == []


def test_too_many_are_refused_and_room_comes_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_records, "MAX_KNOWN", 4)
    monkeypatch.setattr(order_records, "TIGHT", 3)
    for n in range(6):
        world.take(world.command(f"o{n}", 30 + n, issued_us=world.utc() + n))
    world.calm(5)
    assert world.stages("o4")[-1] == "verified"
    assert world.stages("o5") == ["refused"]
    assert "are remembered; no more" in world.said("o5")
    world.run(lambda: None, DAY_US / 1e6 + 120)
    world.run(world.desk.advance)
    world.run(world.commit)
    assert [n for n in world.card if n.startswith("order/")] == ["order/o4"], "the last of its place stays"
    world.take(world.command("o6", 50))
    world.calm(5)
    assert world.stages("o6")[-1] == "verified"


def test_a_clock_that_jumps_ahead_forgets_nothing(world: World) -> None:
    orders_ = [world.command(f"o{n}", 30 + n, lasts_s=600, issued_us=world.utc() + n) for n in range(3)]
    for order in orders_:
        world.take(order)
    world.calm(5)
    world.ahead_us = 5 * DAY_US
    world.run(world.desk.advance, 61)
    world.run(world.desk.advance)
    world.run(world.commit)
    world.ahead_us = 0
    world.kill()
    for order in orders_:
        world.take(order)
    world.calm(5)
    ends = [{repr(r) for r in world.results if r.order == o.id and r.stage in FINAL} for o in orders_]
    assert [len(found) for found in ends] == [1, 1, 1]
    assert world.lamp.numbers == [32]


def test_what_was_refused_for_lasting_too_long_is_not_remembered_for_ever(world: World) -> None:
    world.take(world.command("a", 30, expires_us=2**52 - 1))
    world.run(world.commit)
    assert "order/a" in world.card
    for _ in range(3):
        world.run(world.desk.advance, 20 * 86_400)
    world.run(world.desk.advance)
    world.run(world.commit)
    assert "order/a" not in world.card


def test_open_orders_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_records, "MAX_OPEN", 1)
    world.take(world.command("a", 30))
    world.take(world.command("b", 40, issued_us=world.utc() + 1))
    world.run(world.commit)
    assert world.stages("b") == ["refused"]
    assert "1 orders are open here" in world.said("b")
    assert world.desk.counts["refused"] == 1
    assert order_records.PREFIX == "order/"


class Trying:
    """Tries bundles when it is told to."""

    def __init__(self) -> None:
        self.tried: list[tuple[Bundle, Any, Callable[[str | None], None]]] = []

    def __call__(self, bundle: Bundle, after: Any, done: Callable[[str | None], None]) -> None:
        self.tried.append((bundle, after, done))


def with_trial(world: World) -> Trying:
    trying = Trying()
    world.desk._try_first = trying
    return trying


def test_a_bundle_is_on_the_card_before_it_is_tried_and_tried_before_it_is_taken(world: World) -> None:
    trying = with_trial(world)
    world.take(a_bundle(world, "b"))
    ((_, after, done),) = trying.tried
    assert not after.done()
    world.commit()
    assert after.done()
    assert "order/b" in world.card
    assert (world.stages("b"), world.acts) == (["accepted"], [])
    world.run(lambda: done(None))
    world.commit()
    assert (world.stages("b"), world.acts) == (["accepted", "verified"], ["b"])


def test_a_bundle_that_takes_too_much_has_failed_and_is_not_tried_again(world: World) -> None:
    trying = with_trial(world)
    world.take(a_bundle(world, "b"))
    trying.tried[0][2]("reading it takes longer than 60 s")
    world.commit()
    world.take(a_bundle(world, "b"))
    assert len(trying.tried) == 1
    assert (world.stages("b")[-1], world.said("b"), world.acts) == ("failed", "reading it takes longer than 60 s", [])
    trying.tried[0][2](None)  # too late
    assert world.acts == []


def test_a_bundle_that_the_node_ended_with_is_not_taken_again(world: World) -> None:
    with_trial(world)
    world.take(a_bundle(world, "b"))
    world.commit()
    world.kill()
    trying = with_trial(world)
    world.commit()
    assert (world.stages("b")[-1], "the node ended while it tried this plan" in world.said("b")) == ("failed", True)
    world.take(a_bundle(world, "b"))
    assert trying.tried == []


def a_bundle(world: World, name: str) -> Bundle:
    now = world.utc()
    return Bundle(id=name, by="ops", issued_us=now, expires_us=now + 60_000_000, kind="plan", version="2", text="x")
