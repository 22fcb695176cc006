"""The alarm book: which alarms stand on this node, and every step that one takes.

Promises: one alarm at a time for each device and rule; its id is drawn when it is raised and lives until it is cleared;
each step that is returned is one of `states.TRANSITIONS` and a whole new `Alarm`, to be told and kept; the time
of an alarm never goes back, unless a clock fix moves it. The same calls give the same steps: there is no clock,
no randomness and no I/O in here. `standing()` given back as `kept` goes on as if there had been no restart.

No chatter: a condition that comes back within the dead time has not been away; nothing is told. No flood: what finds no
room waits (`flood`). A consequence is suppressed while its cause holds, and never by itself or in a ring: its
causes' causes end at an alarm that is not suppressed, or for the dead time at one that has just gone.

Bounds: MAX_STANDING alarms, and one that says that there are more; MAX_WAITING that wait; MAX_CLEARED ids of cleared
ones, so that an act done twice is no refusal. A call costs time in the number of standing alarms when a cause changes
or `advance` has something to do, in that of waiting ones while any wait, and else the same always. Times are UTC
microseconds that go back only with a clock fix; `boot` is that of an estimated clock, None where the time is true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from edge.alarms import acts
from edge.alarms.causes import Causes, Key, Suppression, check
from edge.alarms.flood import MAX_STANDING, WaitingAlarms
from edge.alarms.own import FLOOD
from edge.alarms.raised import Raised, again, begin
from edge.alarms.states import Timing, due_us, escalates_us, is_away, settle, shifted
from wire.entries import Alarm
from wire.orders import AlarmAct
from wire.sample import Value
from wire.time import Micros, Utc

MAX_CLEARED: Final = 1_000
DEAD_TIME_S: Final = 10.0
ESCALATE_AT: Final = 0.75


def _nothing(_device: str, _rule: str) -> tuple[Suppression, ...]:
    return ()


class AlarmBook:
    """All alarms of one node."""

    def __init__(
        self,
        *,
        node: str,
        draw_id: Callable[[], str],
        kept: Iterable[Alarm] = (),
        suppresses: Callable[[str, str], tuple[Suppression, ...]] = _nothing,
        dead_time_s: float = DEAD_TIME_S,
        escalate_at: float = ESCALATE_AT,
        limit: int = MAX_STANDING,
    ) -> None:
        """A book that goes on from `kept`: what stood before, and cleared ones where they are still known.

        `suppresses` says what the rule of a kept alarm explains, by device and rule: that is configuration, and is not
        kept with the alarm. Of two kept alarms of one device and rule the later in the list stands.

        Raises:
            ValueError: for a dead time, a part or a limit that cannot be.
        """
        self._timing = Timing.of(dead_time_s, escalate_at)
        self._waiting = WaitingAlarms(limit)
        self._draw_id = draw_id
        self._flood_key = (node, FLOOD)
        self._standing: dict[Key, Alarm] = {}
        self._keys: dict[str, Key] = {}
        self._cleared: dict[str, None] = {}
        self._causes = Causes()
        self._causes_changed = False
        for alarm in kept:
            key = alarm.device, alarm.rule
            if alarm.state == "cleared":
                self._remember_cleared(alarm.id)
                continue
            if (before := self._standing.get(key)) is not None:
                del self._keys[before.id]
            self._standing[key], self._keys[alarm.id] = alarm, key
            self._causes.put(key, suppresses(*key))
        if (flood := self._standing.get(self._flood_key)) is not None:
            self._waiting.recall(flood.values)
        # Found when asked for, until something changes. What was kept is looked through at once: time has passed.
        self._due: tuple[Utc | None] | None = (Utc(0),) if self._standing else (None,)

    def raise_(self, raised: Raised, boot: int | None) -> list[Alarm]:
        """The condition of a rule holds. Saying so again while it does changes nothing.

        Raises:
            ValueError: it declares more suppressions than `causes` allows; nothing has changed.
        """
        check(raised.key, raised.suppresses)
        told: list[Alarm] = []
        # What it has been away for is settled first: it may be something new by now.
        self._settle(raised.key, raised.time_us, boot, told)
        alarm = self._standing.get(raised.key)
        if alarm is not None:
            # After a restart, or with another set of rules, it may explain other alarms than before.
            self._causes_changed |= self._causes.put(raised.key, raised.suppresses)
            if not alarm.active:
                self._standing[raised.key] = again(alarm, raised, self._timing)
                self._causes_changed |= raised.key in self._causes
                self._settle(raised.key, raised.time_us, boot, told)
        elif self._room(raised):
            self._waiting.drop(raised.key)
            self._begin(raised, raised.time_us, boot, told)
        elif self._waiting.put(raised, boot):
            self._tell_flood(raised.time_us, boot, told)
        self._spread(raised.time_us, boot, told)
        return told

    def returned(
        self, device: str, rule: str, values: Mapping[str, Value], time_us: Utc, boot: int | None
    ) -> list[Alarm]:
        """The condition holds no more. It is reported when it has stayed away for the dead time, with this time."""
        told: list[Alarm] = []
        self._waiting.drop((device, rule))
        self._leave((device, rule), values, time_us, boot, told)
        self._spread(time_us, boot, told)
        return told

    def act(self, act: AlarmAct, now_us: Utc, boot: int | None) -> list[Alarm]:
        """Acknowledge, shelve or unshelve. Done already: nothing changes.

        Raises:
            Refusal: the act cannot be done, and nothing has changed.
        """
        key = self._keys.get(act.alarm)
        if key is None:
            if act.alarm not in self._cleared:
                raise acts.unknown(act.alarm)
            if act.act == "shelve":
                raise acts.over(act.alarm)
            return []
        alarm = self._standing[key]
        match act.act:
            case "acknowledge":
                after = acts.acknowledged(alarm, act.by, now_us)
            case "shelve":
                after = acts.shelved(alarm, act, now_us, boot)
            case "unshelve" if alarm.state == "shelved":
                out = replace(alarm, until_us=now_us, by=act.by)
                after = settle(out, now_us, self._cause_of(out, now_us), self._timing)
            case "unshelve":
                after = None
        told: list[Alarm] = []
        if after is not None:
            self._tell(key, after, boot, told)
            self._settle(key, now_us, boot, told)
        self._spread(now_us, boot, told)
        return told

    def advance(self, now_us: Utc, boot: int | None) -> list[Alarm]:
        """What time alone changes: the ends of shelves and dead times, escalations."""
        due = self.due_us()
        if due is None or now_us < due:
            return []
        told: list[Alarm] = []
        self._causes_changed = True
        self._spread(now_us, boot, told)
        return told

    def due_us(self) -> Utc | None:
        """When `advance` has something to do next; None: not before something else happens."""
        if self._due is None:
            self._due = (self._find_due(),)
        return self._due[0]

    def shift(self, offset_us: Micros, boot: int) -> None:
        """Times of alarms of this boot were off by so much: they move, so that deadlines keep their length.

        Nothing is told again: who has been told corrects by the same clock fix. An alarm moves as a whole, by the boot
        of its last step.
        """
        self._due = None
        for key, alarm in self._standing.items():
            if alarm.boot == boot:
                self._standing[key] = shifted(alarm, offset_us)
        self._waiting.shift(offset_us, boot)

    def standing(self) -> Sequence[Alarm]:
        """All that are not cleared, as they are now: `active`, `values` and `time_us` may be newer than what was
        reported last, where a condition comes and goes in silence."""
        return tuple(self._standing.values())

    def forget(self, gone: Callable[[str, str], bool], now_us: Utc, boot: int | None) -> list[Alarm]:
        """Devices and rules for which `gone(device, rule)` says that they are no more: their alarms return."""
        told: list[Alarm] = []
        self._waiting.drop_all(gone)
        for key in [k for k in self._standing if k != self._flood_key and gone(*k)]:
            self._leave(key, self._standing[key].values, now_us, boot, told)
        self._spread(now_us, boot, told)
        return told

    def _room(self, raised: Raised) -> bool:
        return self._waiting.room(len(self._standing) - (self._flood_key in self._standing), raised.severity)

    def _begin(self, raised: Raised, now_us: Utc, boot: int | None, told: list[Alarm]) -> None:
        alarm = begin(raised, self._draw_id(), boot)
        assert alarm.id not in self._keys, "an id is drawn once"
        self._standing[raised.key], self._keys[alarm.id] = alarm, raised.key
        self._causes_changed |= self._causes.put(raised.key, raised.suppresses)
        first = settle(alarm, now_us, self._cause_of(alarm, now_us), self._timing)
        self._tell(raised.key, replace(first, time_us=max(now_us, first.time_us)), boot, told)
        self._settle(raised.key, now_us, boot, told)

    def _leave(self, key: Key, values: Mapping[str, Value], time_us: Utc, boot: int | None, told: list[Alarm]) -> None:
        alarm = self._standing.get(key)
        if alarm is not None and alarm.active:
            away_us = max(time_us, alarm.time_us)
            self._standing[key] = replace(alarm, active=False, values=values, time_us=away_us, boot=boot)
            self._due = None
            self._settle(key, time_us, boot, told)

    def _settle(self, key: Key, now_us: Utc, boot: int | None, told: list[Alarm]) -> None:
        """Bring one alarm to the state that it should have now."""
        self._due = None
        alarm = self._standing.get(key)
        if alarm is None:
            return
        after = settle(alarm, now_us, self._cause_of(alarm, now_us), self._timing)
        if after is not alarm:
            self._tell(key, after, boot, told)
        at_us = escalates_us(after, self._timing)
        if at_us is not None and now_us >= at_us:
            self._tell(key, replace(after, escalated=True, time_us=max(now_us, after.time_us)), boot, told)

    def _spread(self, now_us: Utc, boot: int | None, told: list[Alarm]) -> None:
        """Let what has changed have its consequences, until nothing changes any more."""
        while True:
            # It ends by itself: a suppressed alarm keeps its cause while that holds, and what has left does not come
            # back in here. A chain may need one pass for each of its links, never more.
            passes = len(self._standing) + 1
            while self._causes_changed and passes:
                self._causes_changed, passes = False, passes - 1
                # Causes first: else a consequence would be shown for the moment that its next cause needs to be.
                for key in sorted(self._standing, key=lambda k: k not in self._causes):
                    self._settle(key, now_us, boot, told)
            standing = len(self._standing) - (self._flood_key in self._standing)
            if (found := self._waiting.next(standing)) is None:
                break
            self._begin(found, now_us, boot, told)
        flood = self._standing.get(self._flood_key)
        if not self._waiting:
            self._leave(self._flood_key, self._waiting.counted(), now_us, boot, told)
        elif flood is not None and flood.values != self._waiting.counted():
            self._standing[self._flood_key] = replace(flood, values=self._waiting.counted())

    def _tell(self, key: Key, after: Alarm, boot: int | None, told: list[Alarm]) -> None:
        before = self._standing[key]
        if after.time_us != before.time_us:
            after = replace(after, boot=boot)
        told.append(after)
        self._due = None
        self._causes_changed |= key in self._causes
        if after.state == "cleared":
            del self._standing[key], self._keys[after.id]
            self._causes.drop(key)
            self._remember_cleared(after.id)
        else:
            self._standing[key] = after

    def _remember_cleared(self, alarm: str) -> None:
        self._cleared[alarm] = None
        if len(self._cleared) > MAX_CLEARED:
            del self._cleared[next(iter(self._cleared))]

    def _cause_of(self, alarm: Alarm, now_us: Utc) -> str:
        """The id of what explains it now, or "". The one that does already stays; else the first of `Causes.of`."""
        if not alarm.active or (alarm.device, alarm.rule) == self._flood_key:
            return ""
        present = self._keys.get(alarm.cause)
        if present is not None and self._causes.declares(present, alarm.device, alarm.rule):
            cause = self._standing[present]
            holds = cause.active or (cause.state != "returned" and not is_away(cause, now_us, self._timing))
            # One that comes and goes goes on explaining: else its consequences would chatter in its place.
            if holds and not self._explained_by(cause, alarm.id):
                return cause.id
        for key in self._causes.of(alarm.device, alarm.rule):
            cause = self._standing[key]
            if cause.active and self._may_explain(cause, alarm.id):
                return cause.id
        return ""

    def _may_explain(self, cause: Alarm, other: str) -> bool:
        """Whether `other` may hang on this cause: not if the cause hangs on it, nor on one that has ended.

        The second is a cause that is about to be shown, or to find another cause: whoever hung on it before that is
        known would make a chain as long as there are alarms.
        """
        settled = cause.state != "suppressed" or not cause.active or self._holding(cause.cause)
        return settled and not self._explained_by(cause, other)

    def _explained_by(self, alarm: Alarm, other: str) -> bool:
        """Whether `other` is among the causes of the causes of this alarm."""
        seen: set[str] = set()
        while alarm.cause and alarm.cause not in seen:
            if alarm.cause == other:
                return True
            seen.add(alarm.cause)  # what was kept may hold a ring that is none of ours
            key = self._keys.get(alarm.cause)
            if key is None:
                return False
            alarm = self._standing[key]
        return False

    def _holding(self, cause: str) -> bool:
        key = self._keys.get(cause)
        return key is not None and self._standing[key].state != "returned"

    def _find_due(self) -> Utc | None:
        found: list[Utc] = []
        for alarm in self._standing.values():
            due = due_us(alarm, self._timing)
            if due is not None:
                found.append(due)
            if alarm.state == "suppressed" and alarm.active:
                key = self._keys.get(alarm.cause)
                cause = None if key is None else self._standing[key]
                if cause is None:
                    found.append(alarm.time_us)  # nothing explains it: at once
                elif not cause.active:
                    found.append(cause.time_us + self._timing.dead_us)
        return min(found, default=None)

    def _tell_flood(self, now_us: Utc, boot: int | None, told: list[Alarm]) -> None:
        """One more waits. It is reported for the first, and then each time that their number has doubled."""
        alarm = self._standing.get(self._flood_key)
        if alarm is None:
            self._waiting.begin()
            self._begin(self._waiting.flood(self._flood_key[0], now_us), now_us, boot, told)
            return
        said = again(alarm, self._waiting.flood(self._flood_key[0], now_us), self._timing)
        self._standing[self._flood_key] = said
        self._settle(self._flood_key, now_us, boot, told)
        said = self._standing[self._flood_key]
        count = self._waiting.put_aside
        if not told and said.state != "shelved" and count & (count - 1) == 0:
            self._tell(self._flood_key, replace(said, time_us=max(now_us, said.time_us)), boot, told)
