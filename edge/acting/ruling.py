"""Ruling: the rules at work. Samples and time go in; alarms, held values and marks come out.

A sample is looked at when it arrives, before it is on the card; what follows from it is put into the same commit. The
engine's axis is UTC as it was at start, going on by the monotonic clock. Of several rules that hold the same point, the
one that asked last has it; when that is over, the one before has it again for the rest of its time. To ask for the same
value again while it lasts is no new asking: two rules that are both true do not take turns.

What goes wrong in here is noted (`edge.acting.mishaps`), and whoever brought the sample does not hear of it: a driver's
line must not fall for a rule. Of several things that follow, one that cannot be done takes none of the others along.

Bounds: those of the engine; one held value a point and rule; what an alarm explains is cut to what `edge.alarms.causes`
allows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from drivers.contract import Now
from edge.acting.alarming import Alarming, Kept, Put
from edge.acting.mishaps import Mishaps
from edge.alarms.causes import MAX_NAMED, MAX_SUPPRESSIONS, Suppression
from edge.alarms.raised import Raised
from edge.control.arbitration import Held
from edge.control.arrays import Ended, Key, PriorityArrays
from edge.control.order_contract import Wake
from edge.rules import effects as fx
from edge.rules.engine import Engine, Explained
from edge.rules.rule import Rule, Rules
from edge.rules.watch import TRUE
from wire.entries import Entry, Mark
from wire.sample import Sample
from wire.time import AxisTime, Micros, Mono, Utc, micros


class Ruling:
    """The rules of the node. `engine` has been fed the local history already."""

    def __init__(
        self,
        engine: Engine,
        rules: Rules,
        *,
        alarming: Alarming,
        control: PriorityArrays,
        now: Now,
        axis_us: Callable[[], AxisTime],
        monotonic_us: Callable[[], Mono],
        put: Put,
        wake: Wake,
        mishaps: Mishaps,
    ) -> None:
        """`axis_us` is the engine's axis now."""
        self._mishaps = mishaps
        self._alarming, self._control, self._now, self._axis_us = alarming, control, now, axis_us
        self._monotonic_us, self._put, self._wake = monotonic_us, put, wake
        self._asked: dict[Key, dict[str, Held]] = {}
        for key in control.held():
            if (held := control.array(key).held("rule")) is not None:
                self._asked[key] = {held.by: held}
        self.follow(engine, rules)

    def follow(self, engine: Engine, rules: Rules) -> None:
        """Go by these rules from now on. What is held and they would not hold so ends."""
        self._engine, self._rules = engine, rules
        self._watched = {device for rule in rules.rules for device in rule.devices}
        holds = {rule.name: _holds(rule) for rule in rules.rules}
        for key, asked in list(self._asked.items()):
            for name, held in list(asked.items()):
                if (key, held.value) not in holds.get(name, ()):
                    self._let_go(key, name)

    @property
    def rules(self) -> Rules:
        """Those in force."""
        return self._rules

    def take(self, sample: Sample) -> bool:
        """A sample has arrived and been put into the next commit. Whether anything followed from it."""
        if sample.device not in self._watched:
            return False
        try:
            late_us = max(Micros(0), self._now()[0] - sample.time_us)
            found = self._engine.take(sample, self._axis_us(), late_us)
        except Exception as error:  # noqa: BLE001 - whoever brought the sample must go on
            self._mishaps.note(f"the rules on {sample.device}", error)
            return False
        if found:
            self._do(found)
        return bool(found)

    def advance(self) -> None:
        """What fell due."""
        if found := self._engine.advance(self._axis_us()):
            self._do(found)

    def corrected(self) -> None:
        """True time has become known: what is held ends when it would have, and that is reported by the right clock."""
        ahead_us = Micros(self._now()[0] - self._monotonic_us())
        kept: dict[str, bytes | None] = {}
        for key, asked in self._asked.items():
            for name, held in asked.items():
                if held.ends_us is not None:
                    asked[name] = replace(held, until_us=Utc(held.ends_us + ahead_us))
            before = self._control.array(key).held("rule")
            if before is not None and (now := asked.get(before.by)) is not None and now != before:
                kept |= self._control.hold(key, "rule", now)[1]
                self._wake(key)
        if kept:
            self._put(kept=kept)

    def due_us(self) -> Micros | None:
        """In how long `advance` has something to do next."""
        due = self._engine.due_us()
        return None if due is None else due - self._axis_us()

    def assume(self, engine: Engine) -> None:
        """Alarms stand whose beginning lies before the history that an engine was fed: their rules are true for it.
        What has ended since, the next sample tells."""
        to_axis_us = Micros(self._axis_us() - self._now()[0])
        for alarm in self._alarming.standing():
            stands = {e.rule: e.state for e in engine.explain(alarm.device, self._axis_us())}.get(alarm.rule, TRUE)
            if alarm.active and stands != TRUE:
                engine.assume(alarm.rule, alarm.device, AxisTime(alarm.raised_us + to_axis_us))

    def raise_missing(self) -> None:
        """What is true and has no alarm that stands is raised now: its rule was added while its condition held."""
        standing = {(a.device, a.rule) for a in self._alarming.standing() if a.active}
        missing = [
            e
            for e in self._engine.standing(self._axis_us())
            if isinstance(e, fx.Raise) and (e.device, e.rule) not in standing
        ]
        if missing:
            self._do(missing)

    def ended(self, key: Key, ended: Ended | None) -> None:
        """A held value's time is over; where a rule had it, another may have asked before."""
        if ended is not None and ended.level == "rule":
            self._let_go(key, ended.held.by)

    def explain(self, device: str) -> Sequence[Explained]:
        """Where each rule stands on a device."""
        return self._engine.explain(device, self._axis_us())

    def _do(self, effects: Sequence[fx.Effect]) -> None:
        entries: list[Entry] = []
        kept: dict[str, bytes | None] = {}
        woken: list[Key] = []
        ahead_us = Micros(self._axis_us() - self._now()[0])  # of the node's clock
        for effect in effects:
            try:
                self._one(effect, Utc(effect.time_us - ahead_us), entries, kept, woken)
            except Exception as error:  # noqa: BLE001 - what else follows must still be done
                self._mishaps.note(f"the rule {effect.rule} on {effect.device}", error)
        if entries or kept:
            self._put(*entries, kept=kept)
        for key in woken:
            self._wake(key)

    def _one(
        self, effect: fx.Effect, time_us: Utc, entries: list[Entry], kept: dict[str, bytes | None], woken: list[Key]
    ) -> None:
        match effect:
            case fx.Raise():
                self._alarming.raise_(
                    Raised(
                        device=effect.device,
                        rule=effect.rule,
                        severity=effect.severity,
                        time_us=time_us,
                        respond_within_s=effect.respond_within_s,
                        detail=effect.detail,
                        text=effect.text,
                        values=effect.values,
                        suppresses=suppressions(self._rules, effect.rule),
                    )
                )
            case fx.Return():
                self._alarming.returned(effect.device, effect.rule, effect.values, time_us)
            case fx.Hold():
                key = (effect.device, effect.point)
                kept |= self._hold(key, effect, time_us)
                woken.append(key)
            case fx.Release():
                key = (effect.device, effect.point)
                kept |= self._release(key, effect.rule)
                woken.append(key)
            case fx.MarkEffect():
                clock = self._now()[1]
                boot = None if clock.synced else clock.boot
                entries.append(
                    Mark(device=effect.device, rule=effect.rule, tag=effect.tag, time_us=time_us,
                         values=effect.values, boot=boot)
                )  # fmt: skip

    def _hold(self, key: Key, effect: fx.Hold, time_us: Utc) -> Kept:
        if key not in self._control.points:
            raise LookupError(f"this node has no writable point {key[1]} of {key[0]}")
        gone_us = max(Micros(0), self._axis_us() - effect.time_us)
        length_us = micros(effect.hold_s)
        held = Held(
            value=effect.value,
            by=effect.rule,
            ends_us=self._monotonic_us() + length_us - gone_us,
            until_us=time_us + length_us,
        )
        asked = self._asked.setdefault(key, {})
        before = asked.get(effect.rule)
        if before is None or before.value != held.value or not self._lasts(before):
            asked.pop(effect.rule, None)  # it has its turn now; one that only goes on keeps its place
        asked[effect.rule] = held
        return self._top(key)

    def _release(self, key: Key, rule: str) -> Kept:
        asked = self._asked.get(key, {})
        if asked.pop(rule, None) is None:
            return {}
        return self._top(key)

    def _top(self, key: Key) -> Kept:
        """Let the last asker have it whose time is not over."""
        left = {name: held for name, held in self._asked[key].items() if self._lasts(held)}
        if not left:
            del self._asked[key]
            return self._control.release(key, "rule")[1]
        self._asked[key] = left
        last = next(reversed(left.values()))
        return {} if self._control.array(key).held("rule") == last else self._control.hold(key, "rule", last)[1]

    def _lasts(self, held: Held) -> bool:
        return held.ends_us is None or held.ends_us > self._monotonic_us()

    def _let_go(self, key: Key, rule: str) -> None:
        if kept := self._release(key, rule):
            self._put(kept=kept)
        self._wake(key)


def suppressions(rules: Rules, name: str) -> tuple[Suppression, ...]:
    """What an alarm of a rule explains, as much of it as an alarm may."""
    rule = rules.named(name)
    if rule is None or rule.alarming is None:
        return ()
    by_devices: dict[frozenset[str], set[str]] = {}
    for each in rule.alarming.suppresses:
        by_devices.setdefault(each.devices, set()).add(each.rule)
    found: list[Suppression] = []
    room = MAX_NAMED
    for devices, names in by_devices.items():
        if len(devices) <= room and len(found) < MAX_SUPPRESSIONS:
            room -= len(devices)
            found.append(Suppression(rules=frozenset(names), devices=devices))
    return tuple(found)


def _holds(rule: Rule) -> set[tuple[Key, object]]:
    """What a rule may hold."""
    if (holding := rule.holding) is None:
        return set()
    return {((device, holding.point), holding.value) for device in holding.devices or rule.devices}
