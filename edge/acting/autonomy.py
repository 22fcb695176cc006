"""Autonomy: where the parts that let the node act alone are wired together, once: rules, plan, alarms, orders, arrays
and actuators.

What it knows it has from the card (`kept`), and changes there in the commit that tells of it. Time is looked at when
something is due, at least every LOOK_S and at most every NAP_S. What goes wrong in one part is noted in `mishaps` and
stops neither the others nor whoever has called.

Bounds: those of the parts.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from drivers.contract import Driver
from edge.acting import alarming, restarted
from edge.acting.alarming import Alarming, Kept
from edge.acting.axis import Axis
from edge.acting.bundles import Bundles
from edge.acting.card_alarm import CardAlarm
from edge.acting.explaining import InForce
from edge.acting.mishaps import Mishaps
from edge.acting.own_alarms import LineAlarms, OwnAlarms
from edge.acting.planning import Planning
from edge.acting.probation import Probation
from edge.acting.rebuild import History, rebuilt
from edge.acting.restarted import UncleanEnd
from edge.acting.ruling import Ruling, suppressions
from edge.acting.sky import sky
from edge.acting.trial_queue import TrialQueue, TryOut
from edge.alarms.causes import Suppression
from edge.alarms.own import CARD, NOT_AS_SET, PLAN_ASIDE, RULES_ASIDE, UPLINK_REFUSED
from edge.clock import NodeClock, monotonic_us
from edge.config import Config
from edge.control import arrays as control
from edge.control import order_records
from edge.control.actuator import actuators_of
from edge.control.actuators import Actuators
from edge.control.answering import Deaf, nobody_cares
from edge.control.arbitration import Held
from edge.control.arrays import Key, PriorityArrays
from edge.control.blinking import Blinking
from edge.control.orders import OrderBook
from edge.control.telling import Telling
from edge.control.trusted import TrustedTime
from edge.outbox.group_commit import GroupCommit
from edge.rules.engine import Engine
from edge.rules.rule import Rules
from edge.sampling.last_samples import LastSamples
from edge.sampling.lines import heartbeats_s
from groundwork.liveness import Part
from wire.entries import Alarm, ClockFix, Level
from wire.orders import AlarmAct, Bundle, Down
from wire.sample import Sample, Value
from wire.time import AxisTime, Micros, Mono

LOOK_S: Final = 5.0
TURN_S: Final = 60.0
GIVE_BACK_S: Final = 2.0  # for lamps that blink when the node stops
NAP_S: Final = 0.02  # whatever a part says is due: no loop without a pause


class Autonomy:
    """One for a node. `run` it; leave it with `close`."""

    def __init__(
        self,
        config: Config,
        *,
        street: LastSamples,
        clock: NodeClock,
        commit: GroupCommit,
        driver: Callable[[str], Driver | None],
        kept: Mapping[str, bytes],
        monotonic: Callable[[], float] = time.monotonic,
        boottime_us: Callable[[], Mono] = monotonic_us,
        try_out: TryOut | None = None,
        card: Callable[[], str | None] = lambda: None,
        deaf: Deaf = nobody_cares,
        alive: Part | None = None,
        present: Callable[[str], bool] = lambda _visit: True,
    ) -> None:
        """`driver` gives the open driver of a device, None while its line is down. `monotonic` is the street's clock
        in seconds, `boottime_us` the one that what is held ends by. `try_out` tries a bundle apart from the node before
        it is taken; without it, it is taken at once. `card` says what is wrong with the card; `deaf` hears
        of a driver's answer that does not end when it is cancelled, `alive` of each look at time. `present` says of a
        visit whether its technician still has a session."""
        self.alive = Part("rules", monotonic) if alive is None else alive
        self._config, self._clock, self._commit = config, clock, commit
        self._monotonic, self._boottime_us = monotonic, boottime_us
        self._wake = asyncio.Event()
        self._axis = Axis(clock, boottime_us)
        self._next_us = 0  # on the axis: when time is looked at next
        self.mishaps = Mishaps()
        self._trials = None if try_out is None else TrialQueue(try_out, mishaps=self.mishaps, ended=self._wake.set)
        actuators = actuators_of(config.lines)
        self.control = PriorityArrays({key: a.point for key, a in actuators.items()}, clock.clock.boot)
        self.actuators = Actuators(actuators, self.control, driver, self, monotonic_us=boottime_us, deaf=deaf)
        self.trusted = TrustedTime(clock, boottime_us)
        dropped, gone = self.control.restore(_under(kept, control.PREFIX), boottime_us(), self.trusted.now_us())
        self._bundles = Bundles(config)
        self._rules = self._bundles.rules_at_start(kept)
        self._lines = LineAlarms({line.name: list(line.tables) for line in config.lines})
        self.alarming = Alarming(
            node=config.node.id,
            kept=_under(kept, alarming.PREFIX),
            suppresses=self._suppresses,
            draw_id=lambda: secrets.token_hex(8),
            now=clock,
            put=commit.put,
        )
        self._own = OwnAlarms(
            node=config.node.id, lines=self._lines, alarming=self.alarming, now=clock, monotonic=monotonic
        )
        self._card = CardAlarm(node=config.node.id, alarming=self.alarming, now=clock, fault=card)
        self.planning = Planning(
            config.roster.devices,
            control=self.control,
            street=street,
            now=clock,
            monotonic=monotonic,
            wake=self.actuators.wake,
            put=commit.put,
            plan=self._bundles.plan_at_start(kept),
        )
        self._probation = Probation(
            kept, node=config.node.id, alarming=self.alarming, now=clock, monotonic=monotonic, put=commit.put
        )
        self._sky = sky(config.site)
        self.ruling = Ruling(
            self._engine(self._rules),
            self._rules,
            alarming=self.alarming,
            control=self.control,
            now=clock,
            axis_us=self._axis.now_us,
            monotonic_us=boottime_us,
            put=commit.put,
            wake=self.actuators.wake,
            mishaps=self.mishaps,
        )
        self.desk = OrderBook(
            control=self.control,
            acts=self,
            trusted=self.trusted,
            now=clock,
            monotonic_us=boottime_us,
            insist=commit.insist,
            wake=self.actuators.wake,
            freed=self.ruling.ended,
            try_first=None if self._trials is None else self._trials.put,
            blinking=Blinking(self.control, {k: a.writing for k, a in actuators.items()}, boottime_us, present),
        )
        self.in_force = InForce()
        self.telling = Telling(
            self.control,
            now=clock,
            monotonic=monotonic,
            put=commit.put,
            in_force=lambda: self.in_force.words(self.planning.plan, self.ruling.rules),
        )
        commit.put(kept=gone)
        self.desk.restore(_under(kept, order_records.PREFIX), dropped)
        self._forget_alarms()

    def follows(self, ended: UncleanEnd | None, told: Callable[[], object]) -> None:
        """How the process before has ended, where not as it was told to; `told` is called when that is on the card."""
        if ended is not None:
            restarted.tell(ended, node=self._config.node.id, alarming=self.alarming, now=self._clock)
            self._commit.insist().add_done_callback(lambda f: None if f.cancelled() else told())

    # ---- the node's own doings -----------------------------------------------------------------------------------

    async def rebuild(self, history: History) -> None:
        """Bring the rules to where they were, from what the card holds; nothing is done again. Where that cannot be
        done they start afresh."""
        if not self._rules.rules:
            return
        engine = await rebuilt(
            lambda: self._engine(self._rules),
            self._rules,
            history,
            now_us=self._clock()[0],
            monotonic=self._monotonic,
            mishaps=self.mishaps,
        )
        self._take_up(engine, self._rules)
        self.ruling.raise_missing()

    def _take_up(self, engine: Engine, rules: Rules) -> None:
        """Go on with this engine and these rules. What stands is true for it until a sample says otherwise."""
        self.ruling.assume(engine)
        engine.resume(self._axis.now_us())
        self._rules = rules
        self.ruling.follow(engine, rules)

    def take(self, sample: Sample) -> None:
        """A sample has come in and been put into the next commit."""
        followed = self.ruling.take(sample)
        try:
            self.actuators.seen(sample)
            self.planning.seen(sample)
            # It may have begun something that ends, or falls due, before time would be looked at.
            due_us = self.ruling.due_us()
        except Exception as error:  # noqa: BLE001 - a driver's line must not fall for it
            self.mishaps.note(f"looking at a sample of {sample.device}", error)
            return
        if followed or (due_us is not None and self._axis.now_us() + due_us < self._next_us):
            self._wake.set()

    def opened(self, devices: Sequence[str]) -> None:
        """A line is open: what its devices should have may be written now."""
        self._own.opened(devices)
        here = set(devices)
        held = set(self.control.held())
        for key in self.control.points:
            if key[0] in here and (key in held or self._own.doubtful(key[0])):
                self.actuators.wake(key)

    def down(self, down: Down) -> None:
        """Something has come down from the cloud."""
        try:
            self.trusted.hear(down.server_us)
            if down.order is not None:
                self.desk.take(down.order)
        except Exception as error:  # noqa: BLE001 - the downlink must go on
            self.mishaps.note(f"order {'' if down.order is None else down.order.id}", error)
        self._wake.set()

    def corrected(self, fix: ClockFix) -> None:
        """True time has become known."""
        for what, part in (
            ("alarms", lambda: self.alarming.corrected(fix)),
            ("rules", self.ruling.corrected),
            ("plan", self.planning.look_again),
        ):
            self._try(f"correcting the times of {what}", part)
        self._wake.set()

    async def run(
        self,
        faults: Callable[[], Mapping[str, str]],
        refused: Callable[[], tuple[str | None, bool]] = lambda: (None, False),
    ) -> None:
        """Look at time, at lines that are down, and at a cloud that refuses what it is sent, until cancelled. `refused`
        says why it does, and whether it has taken something since the start."""
        while True:
            self._wake.clear()
            self.alive.within(TURN_S, "a look at what is due")
            self._try("the uplink's alarm", lambda: self._look_at_uplink(*refused()))
            wait_s = self.turn(faults)
            self.alive.waits(wait_s)
            await asyncio.sleep(NAP_S)
            try:
                async with asyncio.timeout(wait_s - NAP_S):
                    await self._wake.wait()
            except TimeoutError:
                pass  # something is due

    def turn(self, faults: Callable[[], Mapping[str, str]]) -> float:
        """Do what is due. Seconds until something may be again: see `due_s`."""
        self.advance(faults)
        wait_s = self.due_s()
        self._next_us = self._axis.now_us() + round(wait_s * 1e6)
        return wait_s

    def advance(self, faults: Callable[[], Mapping[str, str]]) -> None:
        """Do what is due."""
        for what, part in (
            ("the clock", self._look_at_clock),
            ("the rules", self.ruling.advance),
            ("the orders", self.desk.advance),
            ("the alarms", self.alarming.advance),
            ("the plan", self.planning.advance),
            ("the node's own alarms", lambda: self._own.look(faults())),
            ("the card's alarm", self._card.look),
            ("the bundles' probation", self._probation.look),
            ("who decides", self.telling.look),
        ):
            self._try(what, part)

    def due_s(self) -> float:
        """Seconds until something is due: from NAP_S to LOOK_S."""
        wait_s = LOOK_S
        try:
            wait_s = min(wait_s, self.planning.due_s(), self.telling.due_s())
            for due_us in (self.ruling.due_us(), self._ends_in_us(), self._alarm_in_us()):
                if due_us is not None:
                    wait_s = min(wait_s, due_us / 1e6)
        except Exception as error:  # noqa: BLE001 - then it is looked at all the same
            self.mishaps.note("what is due", error)
        return max(NAP_S, wait_s)

    async def close(self) -> None:
        """End what is being tried."""
        if self._trials is not None:
            await self._trials.close()
        await self.actuators.settle(self.desk.end_blinking(), GIVE_BACK_S)  # not left as the last turn has it
        await self.actuators.close()
        self._probation.end()

    # ---- what orders do that set no point (edge.control.order_contract.Acts) -----------------------------------------

    def act(self, act: AlarmAct) -> tuple[list[Alarm], Kept]:
        """See `edge.control.order_contract.Acts`."""
        return self.alarming.act(act)

    def adopt(self, bundle: Bundle) -> tuple[Kept, str]:
        """See `edge.control.order_contract.Acts`."""
        if bundle.kind == "plan":
            taken = self._bundles.plan_of(bundle)
            self.planning.follow(taken)
        else:
            taken = self._bundles.rules_of(bundle)
            self._take_up(self._engine(taken), taken)
            self._forget_alarms()
        self._wake.set()
        return self._probation.took(bundle), self._bundles.told(taken)

    # ---- what the actuators tell (edge.control.actuators.Told) ----------------------------------------------------

    def applied(self, key: Key, level: Level, held: Held) -> None:
        """See `edge.control.actuators.Told`."""
        self.desk.applied(key, level, held)

    def settled(self, key: Key, level: Level | None, held: Held | None, read_back: Value) -> None:
        """See `edge.control.actuators.Told`."""
        if self.desk.settled(key, level, held, read_back):
            self._wake.set()
        self._own.settled(key, read_back)

    def failed(self, key: Key, level: Level, held: Held, why: str, read_back: Value) -> bool:
        """See `edge.control.actuators.Told`."""
        if self.desk.failed(key, level, held, why, read_back):
            return True
        self._own.resists(key, held, why, read_back)
        return False

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _look_at_uplink(self, why: str | None, takes: bool) -> None:
        self._own.look_at_uplink(why, takes=takes)

    def _try(self, what: str, part: Callable[[], object]) -> None:
        try:
            part()
        except Exception as error:  # noqa: BLE001 - the other parts go on, and this one tries again
            self.mishaps.note(what, error)

    def _forget_alarms(self) -> None:
        """Alarms of devices and rules that are no more, and of rules that would not raise them any more."""
        raising = {r.name: frozenset(r.devices) for r in self._rules.rules if r.alarming is not None}
        node, writable = self._config.node.id, {device for device, _ in self.control.points}

        def gone(device: str, rule: str) -> bool:
            if rule in self._lines or rule in (UPLINK_REFUSED, CARD, PLAN_ASIDE, RULES_ASIDE):
                return device != node
            return device not in (writable if rule == NOT_AS_SET else raising.get(rule, ()))

        self.alarming.forget(gone)

    def _ends_in_us(self) -> Micros | None:
        due = self.desk.due_us()
        return None if due is None else due - self._boottime_us()

    def _alarm_in_us(self) -> Micros | None:
        due = self.alarming.due_us()
        return None if due is None else due - self._clock()[0]

    def _look_at_clock(self) -> None:
        """Where the clock has been set, the sky is where it says."""
        if self._axis.follow():
            self.planning.look_again()

    def _world(self, axis_us: AxisTime) -> Mapping[str, Value]:
        """What rules may ask of the world; nothing, where nobody has known the time for too long."""
        if self.planning.lost:
            return {}
        try:
            return self._sky(self._axis.utc_us(axis_us))
        except Exception as error:  # noqa: BLE001 - unknown, and asked again in a minute
            self.mishaps.note("the sky", error)
            return {}

    def _suppresses(self, _device: str, rule: str) -> tuple[Suppression, ...]:
        return self._lines.suppresses(rule) or suppressions(self._rules, rule)

    def _engine(self, rules: Rules) -> Engine:
        roster = self._config.roster
        heartbeats = heartbeats_s(self._config.lines)
        return Engine(rules, roster.devices, roster.profiles, self._world, heartbeats_s=heartbeats)


def _under(kept: Mapping[str, bytes], prefix: str) -> dict[str, bytes]:
    return {name: body for name, body in kept.items() if name.startswith(prefix)}
