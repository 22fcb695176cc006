"""Autonomy: what lets the node act alone, put together: rules, plan, alarms, orders, arrays and actuators.

What it knows it has from the card (`kept`), and changes there in the commit that tells of it. Time is looked at when
something is due, and at least every LOOK_S. Bounds are those of the parts; a restart reads at most REBUILD_US of local
history for the rules, and gives that up after REBUILD_S.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

import msgspec

from drivers.contract import Driver
from edge import alarming, bundles, control, orders
from edge.actuators import Actuator, Actuators
from edge.alarming import Alarming, Kept
from edge.alarms.causes import Suppression
from edge.alarms.raised import Raised
from edge.arbitration import Held
from edge.bundles import Bundles
from edge.clock import NodeClock, monotonic_us
from edge.config import Config
from edge.control import Control, Key
from edge.group_commit import GroupCommit
from edge.orders import Desk
from edge.planning import Planning
from edge.rules.engine import Engine
from edge.rules.replay import Replay
from edge.rules.rule import Rules
from edge.ruling import Ruling, suppressions
from edge.sky import sky
from edge.street import Street
from edge.trusted import TrustedTime
from wire.columns import Columns
from wire.entries import Alarm, ClockFix, Level
from wire.orders import AlarmAct, Bundle, Down
from wire.sample import Sample, Value

log = logging.getLogger(__name__)

LOOK_S: Final = 5.0
STUCK_S: Final = 60.0  # how long a point may resist before someone is called
REBUILD_S: Final = 20.0
NOT_AS_SET: Final = "not-as-set"
OWN: Final = frozenset({NOT_AS_SET})

History = Callable[[int, int], AsyncIterator[Columns]]


class Autonomy:
    """One for a node. `run` it; leave it with `close`."""

    def __init__(
        self,
        config: Config,
        *,
        street: Street,
        clock: NodeClock,
        commit: GroupCommit,
        driver: Callable[[str], Driver | None],
        kept: Mapping[str, bytes],
    ) -> None:
        """`driver` gives the open driver of a device, None while its line is down."""
        self._config, self._clock, self._commit = config, clock, commit
        self._wake = asyncio.Event()
        self._axis0_us = clock()[0] - monotonic_us()
        self._stuck: dict[Key, float] = {}
        self._lines_down: dict[str, float] = {}
        self._boot = clock.clock.boot
        actuators = actuators_of(config)
        self.control = Control({key: a.point for key, a in actuators.items()}, self._boot)
        self.actuators = Actuators(actuators, self.control, driver, self)
        self.trusted = TrustedTime(clock, monotonic_us)
        dropped, gone = self.control.restore(_under(kept, control.PREFIX), monotonic_us(), self.trusted.now_us())
        self._bundles = Bundles(config)
        self._rules = self._bundles.rules_at_start(kept)
        self.alarming = Alarming(
            node=config.node.id,
            kept=_under(kept, alarming.PREFIX),
            suppresses=self._suppresses,
            draw_id=lambda: secrets.token_hex(8),
            now=clock,
            put=commit.put,
        )
        self.planning = Planning(
            config.roster.devices,
            control=self.control,
            street=street,
            now=clock,
            monotonic=time.monotonic,
            wake=self.actuators.wake,
            plan=self._bundles.plan_at_start(kept),
        )
        self.ruling = Ruling(
            self._engine(self._rules),
            self._rules,
            alarming=self.alarming,
            control=self.control,
            now=clock,
            axis_us=self._axis_us,
            monotonic_us=monotonic_us,
            put=commit.put,
            wake=self.actuators.wake,
        )
        self.desk = Desk(
            control=self.control,
            acts=self,
            trusted=self.trusted,
            now=clock,
            monotonic_us=monotonic_us,
            insist=commit.insist,
            wake=self.actuators.wake,
            freed=self.ruling.ended,
        )
        commit.put(kept=gone)
        self.desk.restore(_under(kept, orders.PREFIX), dropped)
        self._forget_alarms()

    # ---- the node's own doings -----------------------------------------------------------------------------------

    async def rebuild(self, history: History) -> None:
        """Bring the rules to where they were, from what the card holds; nothing is done again."""
        if not self._rules.rules:
            return
        engine = self._engine(self._rules)
        run = Replay(engine)
        began = time.monotonic()
        now_us = self._clock()[0]
        async for columns in history(now_us - lookback_us(self._rules), now_us):
            run.feed(columns)
            if time.monotonic() - began > REBUILD_S:
                log.warning("the rules start afresh: their history was not read within %.0f s", REBUILD_S)
                engine = self._engine(self._rules)
                break
        else:
            run.end()
        self.ruling.assume(engine)
        engine.resume(self._axis_us())
        self.ruling.follow(engine, self._rules)

    def take(self, sample: Sample) -> None:
        """A sample has come in and been put into the next commit."""
        self.ruling.take(sample)
        self.actuators.seen(sample)

    def opened(self, devices: Sequence[str]) -> None:
        """A line is open: what its devices should have may be written now."""
        for key in self.control.held():
            if key[0] in devices:
                self.actuators.wake(key)

    def down(self, down: Down) -> None:
        """Something has come down from the cloud."""
        self.trusted.hear(down.server_us)
        if down.order is not None:
            self.desk.take(down.order)
            self._wake.set()

    def corrected(self, fix: ClockFix) -> None:
        """True time has become known."""
        self.alarming.corrected(fix)
        self._wake.set()

    async def run(self, faults: Callable[[], Mapping[str, str]]) -> None:
        """Look at time, and at lines that are down, until cancelled."""
        while True:
            self._wake.clear()
            self.ruling.advance()
            self.desk.advance()
            self.alarming.advance()
            wait_s = min(LOOK_S, self.planning.advance())
            self._look_at_lines(faults())
            for due_us in (self.ruling.due_us(), self._ends_in_us(), self._alarm_in_us()):
                if due_us is not None:
                    wait_s = min(wait_s, max(0.0, due_us / 1e6))
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass  # something is due

    async def close(self) -> None:
        """End what is being tried."""
        await self.actuators.close()

    # ---- what orders do that set no point (edge.orders.Acts) -------------------------------------------------------

    def act(self, act: AlarmAct) -> tuple[list[Alarm], Kept]:
        """See `edge.orders.Acts`."""
        return self.alarming.act(act)

    def adopt(self, bundle: Bundle) -> Kept:
        """See `edge.orders.Acts`."""
        if bundle.kind == "plan":
            self.planning.follow(self._bundles.plan_of(bundle))
        else:
            rules = self._bundles.rules_of(bundle)
            self._rules = rules
            self.ruling.follow(self._engine(rules), rules)
            self._forget_alarms()
        self._wake.set()
        return {bundles.PREFIX + bundle.kind: msgspec.msgpack.encode(bundle)}

    # ---- what the actuators tell (edge.actuators.Told) -------------------------------------------------------------

    def applied(self, key: Key, level: Level, held: Held) -> None:
        """See `edge.actuators.Told`."""
        self.desk.applied(key, level, held)

    def settled(self, key: Key, level: Level | None, held: Held | None, read_back: Value) -> None:
        """See `edge.actuators.Told`."""
        self.desk.settled(key, level, held, read_back)
        if self._stuck.pop(key, None) is not None and not any(k[0] == key[0] for k in self._stuck):
            self.alarming.returned(key[0], NOT_AS_SET, {key[1]: read_back}, self._clock()[0])

    def failed(self, key: Key, level: Level, held: Held, why: str, read_back: Value) -> bool:
        """See `edge.actuators.Told`."""
        if self.desk.failed(key, level, held, why, read_back):
            return True
        since = self._stuck.setdefault(key, time.monotonic())
        if time.monotonic() - since >= STUCK_S:
            self.alarming.raise_(
                Raised(
                    device=key[0],
                    rule=NOT_AS_SET,
                    severity="medium",
                    time_us=self._clock()[0],
                    detail=f"{key[1]} should be {held.value}: {why}",
                    text={
                        "en": f"{key[1]} cannot be set to {held.value}",
                        "fr": f"{key[1]} ne peut être réglé à {held.value}",
                    },
                    values={} if read_back is None else {key[1]: read_back},
                )
            )
        return False

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _forget_alarms(self) -> None:
        """Alarms of devices and rules that are no more."""
        rules = {r.name for r in self._rules.rules} | {f"line-{line.name}" for line in self._config.lines} | OWN
        devices = {d.id for d in self._config.roster.devices} | {self._config.node.id}
        self.alarming.forget(lambda device, rule: device not in devices or rule not in rules)

    def _axis_us(self) -> int:
        return self._axis0_us + monotonic_us()

    def _ends_in_us(self) -> int | None:
        due = self.control.due_us()
        return None if due is None else due - monotonic_us()

    def _alarm_in_us(self) -> int | None:
        due = self.alarming.due_us()
        return None if due is None else due - self._clock()[0]

    def _look_at_lines(self, faults: Mapping[str, str]) -> None:
        """A dead line is one alarm; those of its devices are its consequences."""
        now = time.monotonic()
        for line in self._config.lines:
            name = f"line-{line.name}"
            why = faults.get(line.name)
            if why is None:
                if self._lines_down.pop(line.name, None) is not None:
                    self.alarming.returned(self._config.node.id, name, {}, self._clock()[0])
                continue
            if now - self._lines_down.setdefault(line.name, now) >= STUCK_S:
                self.alarming.raise_(
                    Raised(
                        device=self._config.node.id,
                        rule=name,
                        severity="high",
                        time_us=self._clock()[0],
                        detail=f"line {line.name}: {why}",
                        text={"en": f"Line {line.name} is down", "fr": f"Ligne {line.name} en panne"},
                        suppresses=self._suppresses(self._config.node.id, name),
                    )
                )

    def _suppresses(self, _device: str, rule: str) -> tuple[Suppression, ...]:
        for line in self._config.lines:
            if rule == f"line-{line.name}":
                return (Suppression(rules=None, devices=frozenset(line.tables)),)
        return suppressions(self._rules, rule)

    def _engine(self, rules: Rules) -> Engine:
        roster = self._config.roster
        heartbeats = {
            device: {point: report.heartbeat_s for point, report in table.report.items()}
            for line in self._config.lines
            for device, table in line.tables.items()
            if table.report
        }
        return Engine(rules, roster.devices, roster.profiles, sky(self._config.site), heartbeats_s=heartbeats)


def actuators_of(config: Config) -> dict[Key, Actuator]:
    """The writable points of all devices."""
    found: dict[Key, Actuator] = {}
    for line in config.lines:
        for attachment in line.attachments:
            profile = attachment.profile
            polled = line.kind.polled(profile)
            for name, writing in profile.writing.items():
                found[attachment.device.id, name] = Actuator(
                    attachment.device,
                    profile.points[name],
                    profile.points[writing.reads_back],
                    writing.reads_back in polled,
                    writing,
                )
    return found


def lookback_us(rules: Rules) -> int:
    """How much history the rules need to stand where they stood."""
    longest = 0
    for rule in rules.rules:
        windows = max((w.over_us for w in rule.windows), default=0)
        hold = rule.holding.hold_us if rule.holding is not None else 0
        longest = max(longest, windows + rule.for_us + max(rule.min_interval_us, hold, rule.silent_us or 0))
    return min(max(longest, 3_600_000_000), 2 * 86_400_000_000)


def _under(kept: Mapping[str, bytes], prefix: str) -> dict[str, bytes]:
    return {name: body for name, body in kept.items() if name.startswith(prefix)}
