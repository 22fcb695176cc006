"""Watch: one rule on one device, and where it stands: over, waiting for its `for`, or true.

`look` decides anew, at a moment; it is called whenever something may have changed, and once more changes nothing. What
is unknown changes nothing either: a rule that waits goes on waiting, one that is true stays true, but nothing new
begins and no hold is renewed on what is not known.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from edge.rules.condition import AGE, QUALITY, SILENT, Condition
from edge.rules.effects import Effect, Hold, MarkEffect, Raise, Release, Return
from edge.rules.rule import AlarmDefinition, Holding, Rule
from edge.rules.seen import WatchedDevice
from edge.rules.window import Window
from wire.sample import Value
from wire.time import AxisTime

State = Literal["over", "waiting", "true"]
OVER: Final = "over"
WAITING: Final = "waiting"
TRUE: Final = "true"
NEVER: Final = AxisTime(-(2**62))
MAX_LIMITS: Final = 4  # windows of one condition that are tried at both ends, which takes 2 to their number
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")


class Watch:
    """`index` is its place among all watches; `holders` says, for all watches of the rule, who holds what."""

    def __init__(
        self, rule: Rule, device: WatchedDevice, index: int, windows: Mapping[str, Window], holders: dict[str, set[int]]
    ) -> None:
        self.rule = rule
        self.device = device
        self.index = index
        self.state: State = OVER
        self.since_us = AxisTime(0)
        self.armed_us: AxisTime | None = None  # the entry in the engine's heap that is meant
        self.silent = False  # what the last look found
        self._windows = windows
        self._holders = holders
        self._began_us = NEVER
        self._held_us = NEVER
        when, clear = rule.when, rule.clear
        both = [when] if clear is None else [when, clear]
        self._points = [(n, device.points[n]) for n in sorted({n for c in both for n in c.points})]
        self._also = [(n, device.points[n]) for n in rule.also]
        self._qualities = [(n, device.points[n]) for n in sorted({n for c in both for n in c.qualities})]
        self._ages = [
            (n, device.points[n], tuple(sorted({a for c in both for a in c.ages_us.get(n, ())})))
            for n in sorted({n for c in both for n in c.ages_us})
        ]
        self.ambient = tuple(sorted({n for c in both for n in c.ambient}))
        self._silent_us = rule.silent_us if rule.silent_us is not None else device.silent_us
        self.asks_silence = any(c.silent for c in both)
        self.timed = bool(
            rule.for_us or rule.min_interval_us or rule.holding or self._ages or windows or self.asks_silence
        )

    # ---- deciding ----------------------------------------------------------------------------------------------

    def known(self, now_us: AxisTime, ambient: Mapping[str, Value]) -> dict[str, Any]:
        """Every name that the conditions ask for and that has a value now."""
        found: dict[str, Any] = {}
        for name, seen in self._points:
            if (value := seen.now(now_us)) is not None:
                found[name] = value
        if self.ambient:
            for name in self.ambient:
                if (value := ambient.get(name)) is not None:
                    found[name] = value
        if self.timed:
            for name, window in self._windows.items():
                if (value := window.value(now_us)) is not None:
                    found[name] = value
            if self.asks_silence:
                found[SILENT] = now_us - self.device.heard_us >= self._silent_us
            if self._ages:
                found[AGE] = {n: (now_us - s.age_from_us) / 1e6 for n, s, _ in self._ages if s.value_us >= 0}
        if self._qualities:
            found[QUALITY] = {n: s.quality for n, s in self._qualities if s.quality is not None}
        return found

    def decide(self, condition: Condition, known: Mapping[str, Any], now_us: AxisTime) -> bool | None:
        """True, false or None for unknown. A window of which too little is known counts as far as the answer is the
        same whatever the rest of its stretch was: `count >= 5` holds once five have come, `count == 0` does not yet."""
        limits = {n: at for n in condition.windows if n in known and (at := self._windows[n].limit(now_us)) is not None}
        if not limits:
            return condition.decide(known)
        if len(limits) > MAX_LIMITS:
            return None
        names = sorted(limits)
        corners = itertools.product(*((known[n], limits[n]) for n in names))
        answers = {condition.decide({**known, **dict(zip(names, corner, strict=True))}) for corner in corners}
        return answers.pop() if len(answers) == 1 else None

    def why_unknown(self, condition: Condition, known: Mapping[str, Any], now_us: AxisTime) -> str:
        """Why `decide` says None."""
        short = [n for n in condition.windows if n in known and self._windows[n].limit(now_us) is not None]
        return condition.why_unknown(known) or f"too little is known yet of the stretch of {', '.join(short)}"

    def look(self, now_us: AxisTime, ambient: Mapping[str, Value], effects: list[Effect]) -> None:
        """Decide at `now_us`; what follows is added to `effects`."""
        rule = self.rule
        known = self.known(now_us, ambient)
        self.silent = known.get(SILENT, False)
        when = self.decide(rule.when, known, now_us)
        if self.state == TRUE:
            stays = when
            if rule.clear is not None and not when:
                over = self.decide(rule.clear, known, now_us)
                stays = None if over is None else not over
            if stays is False:
                self._end(now_us, known, effects)
            elif stays and rule.holding is not None and now_us >= self._renew_us(rule.holding):
                self._hold(rule.holding, now_us, effects)
        elif when is False:
            if self.state == WAITING:
                self.state, self.since_us = OVER, now_us
        elif when:
            if self.state == OVER:
                self.state, self.since_us = WAITING, now_us
            if now_us >= self.begins_us():
                self._begin(now_us, known, effects)

    def assume(self, since_us: AxisTime) -> None:
        """Be true since then, unless it is already."""
        if self.state != TRUE:
            self.state, self.since_us = TRUE, since_us
            self._began_us = max(self._began_us, since_us)

    def begins_us(self) -> AxisTime:
        """When a rule that waits becomes true, if its condition holds until then."""
        return max(self.since_us + self.rule.for_us, self._began_us + self.rule.min_interval_us)

    def due_us(self, now_us: AxisTime) -> AxisTime | None:
        """The next moment after `now_us` at which it must look without a sample, if there is one."""
        due: list[AxisTime] = []
        if self.state == WAITING:
            due.append(self.begins_us())
        elif self.state == TRUE and self.rule.holding is not None:
            due.append(self._renew_us(self.rule.holding))
        if self.asks_silence:
            due.append(self.device.heard_us + self._silent_us)
        for _, seen, thresholds in self._ages:
            if seen.value_us >= 0:
                due += [seen.age_from_us + t for t in thresholds]
        due += [end for w in self._windows.values() if (end := w.due_us(now_us)) is not None]
        return min((d for d in due if d > now_us), default=None)

    # ---- what follows ------------------------------------------------------------------------------------------

    def raised(self, alarming: AlarmDefinition, now_us: AxisTime, known: Mapping[str, Any]) -> Raise:
        """The alarm of this rule on this device, with the values that are known."""
        values = self._values(now_us, known)
        text = {language: filled(words, values) for language, words in alarming.text.items()}
        return Raise(
            rule=self.rule.name,
            device=self.device.id,
            severity=alarming.severity,
            respond_within_s=alarming.respond_within_s,
            detail=" / ".join(text.values()),
            text=text,
            values=values,
            time_us=now_us,
        )

    def _values(self, now_us: AxisTime, known: Mapping[str, Any]) -> dict[str, Value]:
        return shown(known) | {n: value for n, seen in self._also if (value := seen.now(now_us)) is not None}

    def _begin(self, now_us: AxisTime, known: Mapping[str, Any], effects: list[Effect]) -> None:
        rule, device = self.rule, self.device.id
        self.state, self.since_us, self._began_us = TRUE, now_us, now_us
        values = self._values(now_us, known)
        if rule.alarming is not None:
            effects.append(self.raised(rule.alarming, now_us, known))
        if rule.holding is not None:
            self._hold(rule.holding, now_us, effects)
        if rule.tag:
            effects.append(MarkEffect(rule=rule.name, device=device, tag=rule.tag, values=values, time_us=now_us))

    def _end(self, now_us: AxisTime, known: Mapping[str, Any], effects: list[Effect]) -> None:
        rule = self.rule
        self.state, self.since_us = OVER, now_us
        if rule.alarming is not None:
            effects.append(Return(rule=rule.name, device=self.device.id, values=shown(known), time_us=now_us))
        if (holding := rule.holding) is None:
            return
        if not holding.release:
            self._hold(holding, now_us, effects)
        for target in self._targets(holding):
            holders = self._holders.setdefault(target, set())
            holders.discard(self.index)
            if holding.release and not holders:
                effects.append(
                    Release(rule=rule.name, cause=self.device.id, device=target, point=holding.point, time_us=now_us)
                )

    def _hold(self, holding: Holding, now_us: AxisTime, effects: list[Effect]) -> None:
        self._held_us = now_us
        for target in self._targets(holding):
            self._holders.setdefault(target, set()).add(self.index)
            effects.append(
                Hold(
                    rule=self.rule.name,
                    cause=self.device.id,
                    device=target,
                    point=holding.point,
                    value=holding.value,
                    hold_s=holding.hold_us / 1e6,
                    time_us=now_us,
                )
            )

    def _renew_us(self, holding: Holding) -> AxisTime:
        # Halfway: an actuator's queue may be slow, and the value must not drop between two holds.
        return self._held_us + holding.hold_us // 2

    def _targets(self, holding: Holding) -> tuple[str, ...]:
        return holding.devices or (self.device.id,)


def shown(known: Mapping[str, Any]) -> dict[str, Value]:
    """The known values as an effect carries them: flat, with `age_s.NAME` and `quality.NAME` as names."""
    flat: dict[str, Value] = {}
    for name, value in known.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{n}": v for n, v in value.items()})  # type: ignore[misc]
        else:
            flat[name] = value
    return flat


def filled(words: str, values: Mapping[str, Value]) -> str:
    """The words with values put in for {NAME}; … where one is not known."""

    def value(found: re.Match[str]) -> str:
        value = values.get(found[1])
        return "…" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

    return _PLACEHOLDER.sub(value, words)
