"""What becomes of one lamp, in a loop whose time leaps: minutes of retries cost nothing."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from drivers.errors import Misconfigured, Refused, Unreachable
from edge.control.actuators import CALL_S, LINE_S, REPORT_S, RETRY_MAX_S, TRIES, Actuator, Actuators
from edge.control.arbitration import Held
from edge.control.arrays import Key, PriorityArrays
from support.leaping import leap
from support.stubborn import LAMP, LEVEL, StubbornLamp, actuator, loop_us
from wire.device import Point
from wire.entries import Level
from wire.sample import Value

Test = Callable[["Scene"], Awaitable[None]]


class Scene:
    """A lamp, its array, and everything that was told."""

    def __init__(self, how: Actuator, lamp: StubbornLamp) -> None:
        self.lamp, self.line_up = lamp, True
        self.control = PriorityArrays({LAMP: LEVEL}, 1)
        self.told: list[tuple[Any, ...]] = []
        self.orders_fail = True
        self.actuators = Actuators(
            {LAMP: how}, self.control, lambda _: self.lamp if self.line_up else None, self, monotonic_us=loop_us
        )

    # ---- Told

    def applied(self, key: Key, level: Level, held: Held) -> None:
        self.told.append(("applied", level, held.value))

    def settled(self, key: Key, level: Level | None, held: Held | None, read_back: Value) -> None:
        self.told.append(("settled", level, None if held is None else held.value, read_back))

    def failed(self, key: Key, level: Level, held: Held, why: str, read_back: Value) -> bool:
        self.told.append(("failed", level, held.value, why, read_back))
        if held.order and self.orders_fail:
            self.control.release(key, level)
            return True
        return False

    # ---- what a test does

    def hold(self, level: Level, value: Value, *, order: str = "", lasts_s: float | None = None, **after: Any) -> None:
        ends = None if lasts_s is None else loop_us() + round(lasts_s * 1e6)
        self.control.hold(LAMP, level, Held(value=value, by="x", order=order, ends_us=ends))
        self.actuators.wake(LAMP, **after)

    def release(self, level: Level) -> None:
        self.control.release(LAMP, level)
        self.actuators.wake(LAMP)

    @property
    def busy(self) -> bool:
        return self.actuators._states[LAMP].task is not None

    async def calm(self) -> None:
        while (task := self.actuators._states[LAMP].task) is not None:
            await asyncio.wait([task])

    def what(self, kind: str) -> list[tuple[Any, ...]]:
        return [one[1:] for one in self.told if one[0] == kind]


def play(test: Test, *, polled: bool = True, answer_s: float = 0.01, **how: Any) -> None:
    async def run() -> None:
        lamp = StubbornLamp(polled=polled, answer_s=answer_s)
        async with lamp:
            scene = Scene(actuator(polled=polled, **how), lamp)
            async with scene.actuators:
                await test(scene)

    leap(run())


def since(scene: Scene) -> list[float]:
    """Seconds between writes."""
    at = [when for when, _ in scene.lamp.told]
    return [round(b - a, 3) for a, b in itertools.pairwise(at)]


# ---- the usual way -------------------------------------------------------------------------------------------------


def test_it_is_asked_then_told_then_read_back() -> None:
    async def test(s: Scene) -> None:
        s.hold("hypervisor", 40)
        await s.calm()
        assert s.told == [("applied", "hypervisor", 40), ("settled", "hypervisor", 40, 40)]
        assert (s.lamp.numbers, s.lamp.polls) == ([40], 2)

    play(test)


def test_what_it_has_already_is_not_written() -> None:
    """As after a restart; and when another level wants the same number."""

    async def test(s: Scene) -> None:
        s.lamp.level = 40
        s.hold("plan", 40)
        await s.calm()
        s.hold("emergency", 40, order="o")
        await s.calm()
        assert s.told == [("settled", "plan", 40, 40), ("settled", "emergency", 40, 40)]
        s.release("emergency")
        await s.calm()
        assert s.lamp.numbers == []
        assert s.lamp.polls == 3, "it is asked each time: somebody may have changed it"

    play(test)


def test_nothing_is_written_before_it_is_on_the_card() -> None:
    async def test(s: Scene) -> None:
        first, second = (asyncio.get_running_loop().create_future() for _ in range(2))
        s.hold("hypervisor", 40, after=first)
        await asyncio.sleep(1)
        s.hold("hypervisor", 60, after=second)
        first.set_result(None)
        await asyncio.sleep(1)
        assert s.lamp.polls == 0, "the newer one has taken its place, and is not on the card"
        second.set_result(None)
        await s.calm()
        assert s.lamp.numbers == [60]

    play(test)


def test_what_could_not_be_kept_is_not_written(caplog: pytest.LogCaptureFixture) -> None:
    async def test(s: Scene) -> None:
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        s.hold("hypervisor", 40, after=durable)
        durable.cancel()
        await s.calm()
        assert s.lamp.numbers == []

    play(test)
    assert "could not be kept" in caplog.text


def test_ending_the_tries_leaves_what_they_wait_for_to_others() -> None:
    async def test(s: Scene) -> None:
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        s.hold("hypervisor", 40, after=durable)
        await asyncio.sleep(1)
        await s.actuators.close()
        assert not durable.done()
        s.actuators.wake(LAMP)
        assert not s.busy, "closed is closed"

    play(test)


def test_it_has_its_time_to_settle() -> None:
    async def test(s: Scene) -> None:
        def fades(value: Value) -> Value:
            asyncio.get_running_loop().call_later(2, lambda: setattr(s.lamp, "level", value))
            return None

        s.lamp.becomes = fades
        s.hold("plan", 40)
        await s.calm()
        assert s.lamp.numbers == [40]
        assert s.what("failed") == []

    play(test, settle_s=3)


@pytest.mark.parametrize(("tolerance", "writes"), [(2, 1), (0.5, 2)])
def test_what_is_near_enough_is_right(tolerance: float, writes: int) -> None:
    async def test(s: Scene) -> None:
        s.lamp.becomes = lambda value: 41 if len(s.lamp.told) == 1 else value
        s.hold("plan", 40)
        await s.calm()
        assert len(s.lamp.told) == writes

    play(test, tolerance=tolerance)


@pytest.mark.parametrize(
    ("wanted", "read", "right"),
    [(1, True, False), (True, 1, False), (True, True, True), ("on", "on", True), ("on", None, False), (0, None, False)],
)
def test_a_number_is_no_switch(wanted: Value, read: Value, right: bool) -> None:
    assert actuator().matches(wanted, read) is right


def test_a_value_is_as_near_as_its_resolution() -> None:
    point = Point(name="level", type="float", resolution=0.5, writable=True)
    fine = Actuator(actuator().device, point, point, polled=True, writing=actuator().writing)
    assert fine.matches(40.0, 40.5)
    assert not fine.matches(40.0, 40.6)


# ---- what goes wrong -----------------------------------------------------------------------------------------------


def test_an_order_that_does_not_come_fails_after_its_tries_and_what_is_below_takes_over() -> None:
    async def test(s: Scene) -> None:
        s.hold("plan", 30)
        await s.calm()
        s.told.clear()
        s.lamp.becomes = lambda value: 55 if value == 80 else value
        s.hold("hypervisor", 80, order="o")
        await s.calm()
        assert s.lamp.numbers == [30, 80, 80, 80, 30]
        assert s.what("failed") == [("hypervisor", 80, "it was told 80 and says 55", 55)]
        assert s.told[-1] == ("settled", "plan", 30, 30)

    play(test)


def test_a_plan_is_tried_for_ever_with_waits_that_double(caplog: pytest.LogCaptureFixture) -> None:
    async def test(s: Scene) -> None:
        s.lamp.becomes = lambda _: 55
        s.hold("plan", 30)
        await asyncio.sleep(3600)
        assert s.busy
        waits = since(s)
        assert waits[:5] == [0.22, 0.42, 0.82, 1.62, 3.22]
        assert waits[-1] == RETRY_MAX_S + 0.02
        assert waits == sorted(waits)
        assert len(s.what("failed")) == len(s.lamp.told) - TRIES + 1, "told after each try that is one too many"
        s.lamp.becomes = lambda value: value
        await s.calm()
        assert s.told[-1] == ("settled", "plan", 30, 30)

    caplog.set_level(logging.WARNING)
    play(test)
    assert len(caplog.records) == 1, "an hour of tries is one line"


def test_samples_that_show_it_wrong_still_do_not_make_tries_come_sooner() -> None:
    """A device that is polled each second and takes no write is left alone as long as any other."""

    async def test(s: Scene) -> None:
        s.lamp.becomes = lambda _: 55
        s.hold("plan", 30)
        for _ in range(600):
            await asyncio.sleep(1)
            s.actuators.seen(s.lamp.says(55))
        assert len(s.lamp.told) < 15

    play(test)


def test_a_rule_that_says_the_same_again_does_not_make_tries_come_sooner() -> None:
    async def test(s: Scene) -> None:
        s.lamp.deaf()
        for _ in range(600):
            s.hold("rule", 30, lasts_s=60)
            await asyncio.sleep(1)
        assert s.lamp.polls < 15

    play(test)


def test_a_device_that_answers_again_is_set_at_once() -> None:
    async def test(s: Scene) -> None:
        s.lamp.deaf()
        s.hold("plan", 30)
        await asyncio.sleep(1000)
        assert s.lamp.numbers == []
        s.actuators.seen(s.lamp.says())
        s.lamp.deaf(deaf=False)
        s.actuators.seen(s.lamp.says(0))
        await asyncio.sleep(0.1)
        assert s.lamp.numbers == [30]
        assert not s.busy

    play(test)


def test_an_order_does_not_wait_for_the_next_try() -> None:
    async def test(s: Scene) -> None:
        s.lamp.raises = Refused("locked")
        s.hold("plan", 30)
        await asyncio.sleep(1000)
        s.lamp.raises = None
        s.hold("emergency", 90, order="o")
        await asyncio.sleep(0.1)
        assert s.told[-1] == ("settled", "emergency", 90, 90)

    play(test)


def test_a_device_that_refuses_says_why() -> None:
    async def test(s: Scene) -> None:
        s.lamp.raises = Refused("locked by key")
        s.hold("hypervisor", 30, order="o")
        await s.calm()
        assert s.what("failed") == [("hypervisor", 30, "locked by key", None)]
        assert s.what("applied") == []
        assert s.told[-1] == ("settled", None, None, None)

    play(test)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), Misconfigured("no such register"), OSError("bus")])
def test_whatever_a_driver_raises_is_a_try_that_failed(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def test(s: Scene) -> None:
        s.lamp.raises = error
        s.hold("plan", 30)
        await asyncio.sleep(700)
        assert str(error) in s.what("failed")[0][2]
        s.lamp.raises = None
        await s.calm()
        assert s.told[-1] == ("settled", "plan", 30, 30)

    play(test)
    assert len([r for r in caplog.records if r.exc_info]) == (not isinstance(error, Misconfigured)), "once"


def test_a_driver_that_never_answers_does_not_hold_a_point_for_ever() -> None:
    async def test(s: Scene) -> None:
        s.hold("hypervisor", 30, order="o")
        await s.calm()
        assert s.what("failed") == [("hypervisor", 30, f"no answer within {CALL_S:g} s", None)]

    play(test, answer_s=10 * CALL_S)


def test_a_bug_of_whoever_is_told_does_not_end_a_point(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(s: Scene) -> None:
        def broken(*_: Any) -> bool:
            raise ValueError("ours")

        s.lamp.deaf()
        with monkeypatch.context() as patch:
            patch.setattr(s, "failed", broken)
            s.hold("plan", 30)
            await s.calm()
        s.lamp.deaf(deaf=False)
        s.actuators.seen(s.lamp.says(0))
        await s.calm()
        assert s.lamp.numbers == [30]

    play(test)
    assert "ours" in caplog.text


def test_what_cannot_be_read_is_written_and_not_believed() -> None:
    """A dead sensor in a lamp is no reason to leave the street dark."""

    async def test(s: Scene) -> None:
        s.lamp.refused["lamp", "level"] = "sensor broken"
        s.hold("hypervisor", 30, order="o")
        await s.calm()
        assert s.lamp.numbers == [30] * TRIES
        assert s.what("failed") == [("hypervisor", 30, "what it reads back is bad:sensor broken", None)]

    play(test)


def test_a_null_is_no_proof() -> None:
    async def test(s: Scene) -> None:
        s.lamp.null = True
        s.hold("hypervisor", 0, order="o")
        await s.calm()
        assert s.what("settled") == [(None, None, None)]
        assert s.lamp.numbers == [0] * TRIES

    play(test)


def test_a_line_that_is_down_has_time_to_come_back() -> None:
    async def test(s: Scene) -> None:
        s.line_up = False
        s.hold("hypervisor", 30, order="o")
        await asyncio.sleep(LINE_S - 1)
        assert s.told == []
        s.line_up = True
        s.actuators.wake(LAMP)  # as when a line opens
        await asyncio.sleep(0.1)
        assert s.what("settled") == [("hypervisor", 30, 30)]

    play(test)


def test_a_line_that_stays_down_fails_an_order_and_not_a_plan() -> None:
    async def test(s: Scene) -> None:
        s.line_up = False
        s.hold("plan", 10)
        s.hold("hypervisor", 30, order="o")
        await asyncio.sleep(3 * LINE_S)
        assert s.what("failed")[0] == ("hypervisor", 30, "its line is down", None)
        assert s.busy
        s.line_up = True
        s.actuators.wake(LAMP)
        await s.calm()
        assert s.told[-1] == ("settled", "plan", 10, 10)

    play(test)


# ---- while it is under way -----------------------------------------------------------------------------------------


def test_what_is_superseded_while_it_is_written_is_never_verified() -> None:
    async def test(s: Scene) -> None:
        s.hold("hypervisor", 30, order="a")
        await asyncio.sleep(1.5)  # asked, and being told
        assert s.lamp.numbers == [30]
        s.hold("hypervisor", 60, order="b")
        await s.calm()
        assert s.what("settled") == [("hypervisor", 60, 60)]
        assert s.lamp.numbers == [30, 60]

    play(test, answer_s=1, settle_s=30)


def test_what_is_superseded_while_it_is_asked_is_never_written() -> None:
    async def test(s: Scene) -> None:
        s.hold("hypervisor", 30, order="a")
        await asyncio.sleep(0.5)
        s.hold("hypervisor", 60, order="b")
        await s.calm()
        assert s.lamp.numbers == [60]

    play(test, answer_s=1)


def test_an_emergency_does_not_wait_for_a_fade() -> None:
    async def test(s: Scene) -> None:
        s.hold("plan", 30)
        await asyncio.sleep(1)
        s.hold("emergency", 100, order="o")
        await asyncio.sleep(0.1)
        assert s.lamp.numbers == [30, 100]

    play(test, settle_s=20)


def test_what_ends_is_not_written_even_when_nobody_has_looked_at_the_time() -> None:
    async def test(s: Scene) -> None:
        s.lamp.deaf()
        s.hold("hypervisor", 30, lasts_s=2)
        await asyncio.sleep(2)
        s.lamp.deaf(deaf=False)
        s.actuators.seen(s.lamp.says(0))
        await asyncio.sleep(100)
        assert s.lamp.numbers == []
        s.control.expire(loop_us())
        s.actuators.wake(LAMP)
        await s.calm()
        assert s.told[-1] == ("settled", None, None, None)

    play(test)


def test_a_write_that_waits_for_its_turn_is_given_up_when_its_value_ends() -> None:
    async def test(s: Scene) -> None:
        s.lamp.becomes = lambda value: value
        s.hold("hypervisor", 30, lasts_s=15)
        await asyncio.sleep(60)
        assert len(s.lamp.told) == 1
        assert s.lamp.level == 0, "its turn never came"

    play(test, answer_s=10)


def test_a_relay_is_left_alone_between_writes() -> None:
    async def test(s: Scene) -> None:
        for n in range(20):
            s.hold("rule", n % 2 * 100 or 1)
            await asyncio.sleep(1)
        await s.calm()
        assert s.lamp.level == 100
        assert all(wait >= 5 for wait in since(s))
        assert len(s.lamp.told) == 4

    play(test, min_write_s=5)


def test_a_value_that_goes_away_during_the_rest_is_not_written() -> None:
    async def test(s: Scene) -> None:
        s.hold("plan", 30)
        await s.calm()
        s.hold("rule", 90)
        await asyncio.sleep(1)
        s.release("rule")
        await asyncio.sleep(1)
        assert not s.busy, "nobody waits for the end of the rest: it has what it should have"
        await asyncio.sleep(100)
        assert s.lamp.numbers == [30]

    play(test, min_write_s=60)


def test_taking_back_all_leaves_it_as_it_is() -> None:
    async def test(s: Scene) -> None:
        s.hold("rule", 90)
        await s.calm()
        s.release("rule")
        await s.calm()
        assert s.told[-1] == ("settled", None, None, None)
        assert s.lamp.numbers == [90]
        s.actuators.seen(s.lamp.says(10))
        assert not s.busy

    play(test)


# ---- drift ---------------------------------------------------------------------------------------------------------


def test_what_somebody_else_has_changed_is_set_again() -> None:
    async def test(s: Scene) -> None:
        s.hold("plan", 30)
        await s.calm()
        s.lamp.level = 0  # it has lost its power
        s.actuators.seen(s.lamp.says(30))
        assert not s.busy
        s.actuators.seen(s.lamp.says(0))
        await s.calm()
        assert (s.lamp.level, s.lamp.numbers) == (30, [30, 30])

    play(test)


def test_a_sample_from_before_the_write_writes_nothing() -> None:
    async def test(s: Scene) -> None:
        old = s.lamp.says(0)
        s.hold("plan", 30)
        await s.calm()
        s.actuators.seen(old)
        await s.calm()
        assert s.lamp.numbers == [30], "it was asked, and has it"

    play(test)


def test_drift_that_nobody_had_to_mend_is_not_believed_later() -> None:
    async def test(s: Scene) -> None:
        s.hold("rule", 30)
        await s.calm()
        s.release("rule")
        await s.calm()
        s.actuators.seen(s.lamp.says(99))
        s.lamp.level = 99
        s.hold("rule", 30)
        await s.calm()
        assert s.lamp.level == 30

    play(test)


# ---- points that only report ---------------------------------------------------------------------------------------


def test_a_point_that_only_reports_is_verified_by_its_report() -> None:
    async def test(s: Scene) -> None:
        s.hold("hypervisor", 30)
        await asyncio.sleep(1)
        assert s.what("applied") == [("hypervisor", 30)]
        s.actuators.seen(s.lamp.says(5))  # sent before
        s.actuators.seen(s.lamp.says(30))  # both in one turn of the loop
        s.actuators.seen(s.lamp.says(30))
        await s.calm()
        assert s.what("settled") == [("hypervisor", 30, 30)]
        assert s.lamp.polls == 0

    play(test, polled=False)


def test_a_report_that_comes_before_the_write_returns_counts() -> None:
    async def test(s: Scene) -> None:
        s.hold("hypervisor", 30)
        await asyncio.sleep(0.5)
        s.actuators.seen(s.lamp.says(30))
        await s.calm()
        assert s.what("settled") == [("hypervisor", 30, 30)]

    play(test, polled=False, answer_s=1)


def test_one_that_says_nothing_or_something_else_fails() -> None:
    async def test(s: Scene) -> None:
        s.hold("hypervisor", 30, order="o")
        await s.calm()
        assert s.what("failed")[0][2:] == (f"it has not said within {REPORT_S:g} s what it was set to", None)
        s.hold("hypervisor", 60, order="o")
        for _ in range(20):
            await asyncio.sleep(5)
            s.actuators.seen(s.lamp.says(7))
        assert s.what("failed")[1][2:] == ("it was told 60 and says 7", 7)

    play(test, polled=False)


def test_reports_of_switches_are_not_lost() -> None:
    """False is a value."""
    point = Point(name="level", type="bool", writable=True)

    async def run() -> None:
        lamp = StubbornLamp(polled=False)
        how = Actuator(actuator().device, LEVEL, point, polled=False, writing=actuator().writing)
        scene = Scene(how, lamp)
        lamp.write = _nothing  # type: ignore[method-assign]
        scene.hold("hypervisor", False)
        await asyncio.sleep(1)
        scene.actuators.seen(lamp.says(True))
        scene.actuators.seen(lamp.says(False))
        await scene.calm()
        assert scene.what("settled") == [("hypervisor", False, False)]

    leap(run())


async def _nothing(*_: object) -> None:
    return


def test_other_devices_are_not_our_business() -> None:
    async def test(s: Scene) -> None:
        s.actuators.seen(s.lamp.says(5))
        assert not s.busy
        with pytest.raises(KeyError):
            s.actuators.wake(("other", "level"))

    play(test)


def test_unreachable_is_what_a_silent_device_is() -> None:
    async def test(s: Scene) -> None:
        s.lamp.poll_raises = Unreachable("no answer within 0.5 s")
        s.hold("hypervisor", 30, order="o")
        await s.calm()
        assert s.what("failed") == [("hypervisor", 30, "no answer within 0.5 s", None)]
        assert s.lamp.numbers == [], "it is not told without being asked"

    play(test)


# ---- one that answers minutes later --------------------------------------------------------------------------------

HOUR_S = 3600.0


def test_while_its_answer_may_come_it_is_told_once() -> None:
    async def test(s: Scene) -> None:
        s.hold("hypervisor", 40, order="o")
        for _ in range(9):
            await asyncio.sleep(300)
            s.actuators.seen(s.lamp.says(100))  # it has spoken, and not heard yet
            s.actuators.wake(LAMP)
        assert s.what("applied") == [("hypervisor", 40)]
        assert not s.what("failed")
        s.actuators.seen(s.lamp.says(40))
        await s.calm()
        assert s.what("settled") == [("hypervisor", 40, 40)]
        assert s.lamp.numbers == [40]

    play(test, polled=False, settle_s=HOUR_S)


def test_the_same_value_for_another_reason_is_not_told_again_while_its_answer_may_come() -> None:
    async def test(s: Scene) -> None:
        s.hold("plan", 40)
        await asyncio.sleep(600)
        s.hold("hypervisor", 40, order="o")
        await asyncio.sleep(600)
        s.hold("hypervisor", 40, order="p")
        await asyncio.sleep(600)
        s.release("hypervisor")
        await asyncio.sleep(600)
        assert s.lamp.numbers == [40]
        assert s.what("applied") == [("plan", 40), ("hypervisor", 40), ("hypervisor", 40), ("plan", 40)]
        s.actuators.seen(s.lamp.says(40))
        await s.calm()
        assert s.what("settled") == [("plan", 40, 40)]

    play(test, polled=False, settle_s=HOUR_S)


def test_an_answer_that_comes_while_the_next_order_is_put_on_the_card_counts() -> None:
    async def test(s: Scene) -> None:
        s.hold("hypervisor", 40, order="o")
        await asyncio.sleep(600)
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        s.hold("hypervisor", 40, order="p", after=durable)
        await asyncio.sleep(1)
        s.actuators.seen(s.lamp.says(40))
        durable.set_result(None)
        await s.calm()
        assert s.what("settled") == [("hypervisor", 40, 40)]
        assert s.lamp.numbers == [40]

    play(test, polled=False, settle_s=HOUR_S)


def test_another_value_goes_out_at_once_and_the_first_answer_is_not_its_own() -> None:
    async def test(s: Scene) -> None:
        s.hold("hypervisor", 40, order="o")
        await asyncio.sleep(600)
        s.hold("hypervisor", 60, order="p")
        await asyncio.sleep(10)
        assert s.lamp.numbers == [40, 60]
        s.actuators.seen(s.lamp.says(40))
        await asyncio.sleep(10)
        assert not s.what("settled")
        s.actuators.seen(s.lamp.says(60))
        await s.calm()
        assert s.what("settled") == [("hypervisor", 60, 60)]
        assert s.lamp.numbers == [40, 60]

    play(test, polled=False, settle_s=HOUR_S)


def test_the_value_below_is_told_once_too() -> None:
    """What nobody answers: an order, let go at its end, then what the plan says: one command for each."""

    async def test(s: Scene) -> None:
        s.hold("plan", 100)
        s.hold("hypervisor", 40, order="o", lasts_s=1800)
        await asyncio.sleep(1800)
        s.release("hypervisor")
        await asyncio.sleep(HOUR_S - 60)
        assert s.lamp.numbers == [40, 100]
        assert not s.what("failed")
        await asyncio.sleep(24 * HOUR_S)
        assert since(s)[1] >= HOUR_S
        assert all(gap >= HOUR_S for gap in since(s)[1:])

    play(test, polled=False, settle_s=HOUR_S)


def test_what_could_not_be_sent_is_not_on_its_way() -> None:
    async def test(s: Scene) -> None:
        s.lamp.raises = Unreachable("no connection to the broker")
        s.hold("hypervisor", 40)
        await asyncio.sleep(0.1)
        s.lamp.raises = None
        await asyncio.sleep(30)
        assert s.lamp.numbers == [40, 40]
        s.actuators.seen(s.lamp.says(40))
        await s.calm()

    play(test, polled=False, settle_s=HOUR_S)


def test_what_it_says_of_a_command_that_was_queued_before_is_no_reason_to_tell_it_again() -> None:
    async def test(s: Scene) -> None:
        s.hold("hypervisor", 40, order="o")
        await asyncio.sleep(60)
        s.hold("hypervisor", 100, order="p")
        for value in (100, 40, 100):  # what it had; the first command; the second
            await asyncio.sleep(600)
            s.actuators.seen(s.lamp.says(value))
        await s.calm()
        assert s.lamp.numbers == [40, 100]
        await asyncio.sleep(2 * HOUR_S)
        s.actuators.seen(s.lamp.says(7))  # somebody was there
        await asyncio.sleep(1)
        assert s.lamp.numbers == [40, 100, 100]
        s.actuators.seen(s.lamp.says(100))
        await s.calm()

    play(test, polled=False, settle_s=HOUR_S)


def test_what_it_has_said_since_it_was_told_counts_for_the_next_order() -> None:
    async def test(s: Scene) -> None:
        s.hold("plan", 40)
        await asyncio.sleep(600)
        s.actuators.seen(s.lamp.says(40))
        await s.calm()
        s.hold("hypervisor", 40, order="o")
        await s.calm()
        assert s.what("settled") == [("plan", 40, 40), ("hypervisor", 40, 40)]
        assert s.lamp.numbers == [40]

    play(test, polled=False, settle_s=HOUR_S)
