"""The states of an alarm and the steps between them, after ISA-18.2 (IEC 62682), as pure functions of one `Alarm`.

Promises: `settle` gives the state that an alarm should have at a time, and only by a step that TRANSITIONS allows;
the same alarm, time and cause give the same answer. What is decided here depends on nothing but the fields of the
alarm, so that an alarm which was written down goes on after a restart as if nothing had been.

Three things always hold: a returned alarm is neither active nor acknowledged; an acknowledged one that stays away is
cleared and never returned; and `time_us` of an alarm that is not active is when its condition went away, or when
somebody has acted on it since.

Bounds: each step costs the same, however long the alarm has stood.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from wire.entries import Alarm, AlarmState
from wire.time import Micros, Utc, micros

# From the state told last (None: nothing yet, or cleared) to the state told next. A state that may follow itself says
# what else is new: an escalation, another cause, another end of the shelf, an acknowledgement, a count.
TRANSITIONS: Final[Mapping[AlarmState | None, frozenset[AlarmState]]] = {
    None: frozenset({"raised", "suppressed"}),
    "raised": frozenset({"raised", "acknowledged", "returned", "shelved", "suppressed"}),
    "acknowledged": frozenset({"acknowledged", "cleared", "shelved", "suppressed"}),
    "returned": frozenset({"raised", "cleared", "shelved", "suppressed"}),
    "shelved": frozenset({"shelved", "raised", "acknowledged", "returned", "suppressed", "cleared"}),
    "suppressed": frozenset({"suppressed", "raised", "acknowledged", "shelved", "cleared"}),
    "cleared": frozenset(),
}


class Timing(msgspec.Struct, frozen=True):
    """How long an alarm that went away may come back as the same one, in microseconds, and which part of the time to
    respond may pass before it is escalated."""

    dead_us: Micros
    escalate_at: float

    @classmethod
    def of(cls, dead_time_s: float, escalate_at: float) -> Timing:
        """Both, checked.

        Raises:
            ValueError: for a dead time outside 0 to 3600 s, or a part outside 0 to 1.
        """
        if not 0 <= dead_time_s <= 3600:
            raise ValueError(f"dead_time_s is {dead_time_s}; write 0 to 3600 seconds")
        if not 0 < escalate_at <= 1:
            raise ValueError(f"escalate_at is {escalate_at}; write a part of the time to respond, above 0 and up to 1")
        return cls(micros(dead_time_s), escalate_at)


def settle(alarm: Alarm, now_us: Utc, cause: str, timing: Timing) -> Alarm:
    """The alarm as it should be reported at `now_us` (UTC microseconds); the same object where there is nothing to
    report.

    `cause` is the id of what explains it now, or "". The time of a step that only waited for the dead time to pass is
    when the condition went away, not when the wait was over: a response is measured by it.
    """
    shelf_over = alarm.state == "shelved" and alarm.until_us is not None and now_us >= alarm.until_us
    if alarm.state == "shelved" and not shelf_over:
        return alarm
    if alarm.active:
        if cause:
            state: AlarmState = "suppressed"
        else:
            state = "acknowledged" if alarm.acknowledged else "raised"
        if (state, cause) == (alarm.state, alarm.cause):
            return alarm
        return replace(alarm, state=state, cause=cause, until_us=None, time_us=max(now_us, alarm.time_us))
    away = is_away(alarm, now_us, timing)
    match alarm.state:
        case "shelved" if alarm.acknowledged:
            # One that left a moment ago stands a little longer: it may come back as the same.
            state = "cleared" if away else "acknowledged"
            return replace(alarm, state=state, until_us=None, time_us=max(now_us, alarm.time_us))
        case "shelved":
            return replace(alarm, state="returned", until_us=None, time_us=max(now_us, alarm.time_us))
        case "raised" if away:
            return replace(alarm, state="returned")
        case "acknowledged" | "suppressed" if away:
            # A suppressed one asks nobody to look at it: its cause does. `cause` stays, and says why.
            return replace(alarm, state="cleared")
        case _:
            return alarm


def is_away(alarm: Alarm, now_us: Utc, timing: Timing) -> bool:
    """Whether its condition has been gone for the dead time: if it comes back now, that is something new."""
    return not alarm.active and now_us >= alarm.time_us + timing.dead_us


def escalates_us(alarm: Alarm, timing: Timing) -> Utc | None:
    """When it must be escalated (UTC microseconds), or None. Only what holds, is shown and nobody has acknowledged."""
    if alarm.state != "raised" or not alarm.active or alarm.escalated or alarm.respond_by_us is None:
        return None
    return alarm.raised_us + Micros(round((alarm.respond_by_us - alarm.raised_us) * timing.escalate_at))


def due_us(alarm: Alarm, timing: Timing) -> Utc | None:
    """When time alone changes it (UTC microseconds), its causes left aside; None: never."""
    if alarm.state == "shelved":
        return alarm.until_us
    if not alarm.active and alarm.state in {"raised", "acknowledged", "suppressed"}:
        return alarm.time_us + timing.dead_us
    return escalates_us(alarm, timing)


def shifted(alarm: Alarm, offset_us: Micros) -> Alarm:
    """The same alarm with all its times moved, and no boot: they are true now (`wire.entries.ClockFix`)."""
    return replace(
        alarm,
        raised_us=alarm.raised_us + offset_us,
        time_us=alarm.time_us + offset_us,
        respond_by_us=None if alarm.respond_by_us is None else alarm.respond_by_us + offset_us,
        until_us=None if alarm.until_us is None else alarm.until_us + offset_us,
        boot=None,
    )
