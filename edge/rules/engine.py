"""The engine: samples and time in, effects out. It reads no clock and carries out nothing.

Its axis is microseconds that never go back, handed in with every call: UTC as it was at start plus monotonic time
since, so that a clock that is set does not shake it. Whatever falls due between two calls is stamped with the moment
when it was due: effects do not depend on how often `advance` is called. The world around (night, hour …) is looked at
every AMBIENT_US, on the full minute.

The same samples give the same effects live, in replay and after a restart. After a restart, feed it the local history
(`edge/rules/replay.py`), throw the effects away, and call `resume`: what was true is true without being told again,
and the time in which nobody listened counts neither as age nor as silence.

Bounds: those of `edge/rules/rule.py`; one value a point that some rule names; at most HEAP_SLACK times as many timers
as watches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Final

import msgspec

from edge.rules.effects import Effect
from edge.rules.rule import Rules, WindowOf
from edge.rules.seen import DEFAULT_STALE_US, Seen, WatchedDevice
from edge.rules.watch import TRUE, WAITING, State, Watch, shown
from edge.rules.window import Counter, Window
from wire.device import Device, Point
from wire.sample import Sample, Value
from wire.time import AxisTime, Micros, micros

AMBIENT_US: Final = Micros(60_000_000)
HEAP_SLACK: Final = 4
_AMBIENT: Final = -1  # the index of the world's own timer: before all watches

Ambient = Callable[[AxisTime], Mapping[str, Value]]


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """Where a rule stands on a device. `decided` is what the condition says now, None for unknown and then `why`.
    `begins_us` is when a rule that waits becomes true, if its condition holds."""

    rule: str
    device: str
    when: str
    clear: str
    state: State
    since_us: AxisTime
    begins_us: AxisTime | None
    decided: bool | None
    why: str
    values: Mapping[str, Value]


class Engine:
    """One for a node. `points` are by profile; `heartbeats_s` by device and point, where a point reports by
    exception. `ambient` is asked for the world at a moment of the axis; names that it leaves out are unknown."""

    def __init__(
        self,
        rules: Rules,
        devices: Iterable[Device],
        points: Mapping[str, Sequence[Point]],
        ambient: Ambient,
        *,
        heartbeats_s: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        self._ask = ambient
        self._ambient: Mapping[str, Value] = {}
        self._now_us: AxisTime | None = None
        self._heap: list[tuple[AxisTime, int]] = []
        self._watches: list[Watch] = []
        self._heard: dict[str, WatchedDevice] = {}
        by_id = {d.id: d for d in devices}
        by_profile = {profile: {p.name: p for p in many} for profile, many in points.items()}
        for rule in rules.rules:
            holders: dict[str, set[int]] = {}
            asked = [c for c in (rule.when, rule.clear) if c is not None]
            for id_ in rule.devices:
                device = by_id[id_]
                offered = by_profile[device.profile]
                reports = (heartbeats_s or {}).get(id_, {})
                heard = self._heard.get(id_)
                if heard is None:
                    heard = self._heard[id_] = WatchedDevice(id_, {}, silent_us=_silence_us(offered, reports))
                named = {n for c in asked for n in (*c.points, *c.qualities, *c.ages_us)}
                for name in sorted({*named, *rule.also, *(w.point for w in rule.windows)}):
                    if name not in heard.points:
                        heard.points[name] = Seen.of(offered[name], reports.get(name))
                windows = {w.name: window_of(w, offered[w.point], reports.get(w.point)) for w in rule.windows}
                watch = Watch(rule, heard, len(self._watches), windows, holders)
                self._watches.append(watch)
                heard.watches += (watch,)
                for name in sorted(named | {w.point for w in rule.windows}):
                    heard.points[name].watches += (watch,)
                for window in rule.windows:
                    heard.points[window.point].windows += (windows[window.name],)
                if watch.asks_silence:
                    heard.asks_silence += (watch,)
        self._worldly = [w for w in self._watches if w.ambient]

    # ---- samples and time --------------------------------------------------------------------------------------

    def take(self, sample: Sample, at_us: AxisTime, late_us: Micros = Micros(0)) -> list[Effect]:
        """What follows from a sample that arrives at `at_us`, and from what fell due before.

        `late_us` is how old it was when it arrived. One that is older than its point's stale-after (300 s where none is
        declared) is remembered by windows, and decides nothing.
        """
        heap = self._heap
        if self._now_us is None or (heap and heap[0][0] <= at_us):
            effects = self.advance(at_us)
        else:
            effects: list[Effect] = []
            self._now_us = max(self._now_us, at_us)
        heard = self._heard.get(sample.device)
        if heard is None:
            return effects
        assert self._now_us is not None
        now_us = self._now_us
        for watch in heard.take(sample, now_us, late_us):
            watch.look(now_us, self._ambient, effects)
            if watch.timed:
                self._arm(watch, now_us)
        return effects

    def advance(self, at_us: AxisTime) -> list[Effect]:
        """What fell due up to and with `at_us`, each effect stamped with the moment when it was due."""
        effects: list[Effect] = []
        if self._now_us is None:
            self._start(at_us, effects)
        assert self._now_us is not None
        heap = self._heap
        while heap and heap[0][0] <= at_us:
            due_us, index = heappop(heap)
            if index == _AMBIENT:
                self._now_us = max(self._now_us, due_us)
                self._look_around(self._now_us, effects)
                continue
            watch = self._watches[index]
            if watch.armed_us != due_us:
                continue  # it has been armed for another moment since
            self._now_us = max(self._now_us, due_us)
            watch.armed_us = None
            watch.look(self._now_us, self._ambient, effects)
            self._arm(watch, self._now_us)
        self._now_us = max(self._now_us, at_us)
        return effects

    def due_us(self) -> AxisTime | None:
        """When `advance` may have something to do next; None before the first call and where nothing is timed."""
        return self._heap[0][0] if self._heap else None

    def resume(self, at_us: AxisTime) -> None:
        """Go on at `at_us` after the history was fed: nobody listened since its end. What fell due in between is
        looked at with the next call, and stamped no earlier than `at_us`."""
        if self._now_us is None or at_us <= self._now_us:
            return
        deaf_us = at_us - self._now_us
        for heard in self._heard.values():
            heard.heard_us += deaf_us
            for seen in heard.points.values():
                seen.age_from_us += deaf_us
                for window in seen.windows:
                    window.deaf(self._now_us, at_us)
        self._now_us = at_us

    def standing(self, at_us: AxisTime) -> list[Effect]:
        """What the rules that are true now, by values that still count, would raise if they became true now: for alarms
        that were never raised, because their rule is newer than the condition."""
        effects: list[Effect] = []
        for watch in self._watches:
            if watch.state != TRUE or watch.rule.alarming is None:
                continue
            known = watch.known(at_us, self._ambient)
            if watch.decide(watch.rule.when, known, at_us) is not None:
                effects.append(watch.raised(watch.rule.alarming, at_us, known))
        return effects

    def assume(self, rule: str, device: str, since_us: AxisTime) -> bool:
        """Take a rule as true on a device since then, where the history was too short to show it (an alarm of it
        still stands). No effects; if it is over, the next sample tells. False when there is no such rule there."""
        heard = self._heard.get(device)
        for watch in () if heard is None else heard.watches:
            if watch.rule.name == rule:
                watch.assume(since_us)
                return True
        return False

    def explain(self, device: str, at_us: AxisTime) -> list[Explained]:
        """Every rule that watches a device and where it stands at `at_us`, which changes nothing."""
        heard = self._heard.get(device)
        now_us = at_us if self._now_us is None else max(at_us, self._now_us)
        return [] if heard is None else [self._explain(w, now_us) for w in heard.watches]

    # ---- inside ------------------------------------------------------------------------------------------------

    def _explain(self, watch: Watch, now_us: AxisTime) -> Explained:
        rule = watch.rule
        known = watch.known(now_us, self._ambient)
        decided = watch.decide(rule.when, known, now_us)
        return Explained(
            rule=rule.name,
            device=watch.device.id,
            when=rule.when.text,
            clear="" if rule.clear is None else rule.clear.text,
            state=watch.state,
            since_us=watch.since_us,
            begins_us=watch.begins_us() if watch.state == WAITING else None,
            decided=decided,
            why=watch.why_unknown(rule.when, known, now_us) if decided is None else "",
            values=shown(known),
        )

    def _start(self, at_us: AxisTime, effects: list[Effect]) -> None:
        self._now_us = at_us
        for heard in self._heard.values():
            heard.heard_us = at_us
            for seen in heard.points.values():
                for window in seen.windows:
                    window.listens(at_us)
        for watch in self._watches:
            watch.since_us = at_us
        if self._worldly:
            self._ambient = self._ask(at_us - at_us % AMBIENT_US)
            heappush(self._heap, (at_us - at_us % AMBIENT_US + AMBIENT_US, _AMBIENT))
        for watch in self._watches:
            watch.look(at_us, self._ambient, effects)
            self._arm(watch, at_us)

    def _look_around(self, now_us: AxisTime, effects: list[Effect]) -> None:
        minute_us = now_us - now_us % AMBIENT_US
        before, self._ambient = self._ambient, self._ask(minute_us)
        heappush(self._heap, (minute_us + AMBIENT_US, _AMBIENT))
        now = self._ambient
        changed = {n for n in {*before, *now} if before.get(n) != now.get(n)}
        if not changed:
            return
        for watch in self._worldly:
            if not changed.isdisjoint(watch.ambient):
                watch.look(now_us, now, effects)
                self._arm(watch, now_us)

    def _arm(self, watch: Watch, now_us: AxisTime) -> None:
        due_us = watch.due_us(now_us)
        # A timer that is armed too early costs one look in vain; arming it anew with each sample costs more.
        if due_us is None or (watch.armed_us is not None and watch.armed_us <= due_us):
            return
        watch.armed_us = due_us
        heappush(self._heap, (due_us, watch.index))
        if len(self._heap) > HEAP_SLACK * len(self._watches) + 64:
            meant = [e for e in self._heap if e[1] == _AMBIENT or self._watches[e[1]].armed_us == e[0]]
            self._heap[:] = dict.fromkeys(meant)
            heapify(self._heap)


def window_of(window: WindowOf, point: Point, heartbeat_s: float | None) -> Window:
    """The window of a rule over a point. A value says something for as long as it is not stale."""
    hold_s = None if point.stale_after_s is None else point.stale_after_s + (heartbeat_s or 0)
    counter = Counter(counts=point.counter, wraps_at=point.wraps_at, whole=point.type == "int")
    hold_us = None if hold_s is None else micros(hold_s)
    return Window(window.operation, window.over_us, hold_us=hold_us, counter=counter)


def _silence_us(points: Mapping[str, Point], heartbeats_s: Mapping[str, float]) -> Micros:
    """After how long without a sign of life a device is silent, unless a rule says."""
    declared = [p.stale_after_s for p in points.values() if p.stale_after_s is not None]
    # Where every point reports by exception, nothing at all may be said for as long as the shortest heartbeat.
    extra_s = min(heartbeats_s.values()) if points.keys() <= heartbeats_s.keys() else 0
    return micros(max(declared, default=DEFAULT_STALE_US / 1e6) + extra_s)
