"""What a rule says when its condition begins, and the alarm that is made of it.

Promises: an alarm that was made here fits into an entry, whatever the rule has put into it: a text that is too long is
cut, values that are too many or too large are left out, and `detail` says so. Nothing is ever refused for its size:
an alarm that cannot be told would be worse than one that tells less.

Bounds: MAX_TEXT_CHARS a text, MAX_LANGUAGES, MAX_VALUES, and MAX_PACKED_BYTES packed as msgpack (the aggregator takes
64 KiB).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final

import msgspec
from msgspec.structs import replace

from edge.alarms.causes import Key, Suppression
from edge.alarms.states import Timing, is_away
from wire.entries import Alarm, Severity
from wire.sample import Value
from wire.time import Utc, micros

MAX_TEXT_CHARS: Final = 2_000
MAX_LANGUAGES: Final = 10
MAX_VALUES: Final = 256
MAX_PACKED_BYTES: Final = 48 * 1024


class Raised(msgspec.Struct, frozen=True, kw_only=True):
    """The condition of a rule holds on a device since `time_us` (UTC microseconds): the moment of detection, from
    which `respond_within_s` counts (None: nobody has to be there in time). `text` is by language."""

    device: str
    rule: str
    severity: Severity
    time_us: Utc
    respond_within_s: float | None = None
    detail: str = ""
    text: Mapping[str, str] = {}
    values: Mapping[str, Value] = {}
    suppresses: tuple[Suppression, ...] = ()

    @property
    def key(self) -> Key:
        """What there is one alarm of at a time."""
        return self.device, self.rule


def begin(raised: Raised, draw: str, boot: int | None) -> Alarm:
    """A new alarm, raised when it was detected. `draw` is its id."""
    return _fit(
        Alarm(
            id=draw,
            device=raised.device,
            rule=raised.rule,
            severity=raised.severity,
            state="raised",
            raised_us=raised.time_us,
            time_us=raised.time_us,
            respond_by_us=_respond_by_us(raised),
            detail=raised.detail,
            text=raised.text,
            values=raised.values,
            boot=boot,
        )
    )


def again(alarm: Alarm, raised: Raised, timing: Timing) -> Alarm:
    """The standing alarm, active again. Its deadline stays: coming and going must not buy time.

    One exception: a shelved alarm that had been acknowledged and has stayed away for the dead time would be cleared if
    it were not shelved. What comes now is new: it has a detection of its own, and nobody has acknowledged it.
    """
    came = _fit(replace(alarm, active=True, detail=raised.detail, text=raised.text, values=raised.values))
    if alarm.state == "shelved" and alarm.acknowledged and is_away(alarm, raised.time_us, timing):
        came = replace(
            came,
            acknowledged=False,
            escalated=False,
            raised_us=raised.time_us,
            respond_by_us=_respond_by_us(raised),
        )
    return came


def _respond_by_us(raised: Raised) -> Utc | None:
    return None if raised.respond_within_s is None else raised.time_us + micros(raised.respond_within_s)


def _fit(alarm: Alarm) -> Alarm:
    fitted = replace(
        alarm,
        detail=alarm.detail[:MAX_TEXT_CHARS],
        text={language: text[:MAX_TEXT_CHARS] for language, text in islice(alarm.text.items(), MAX_LANGUAGES)},
    )
    if len(alarm.values) > MAX_VALUES or len(msgspec.msgpack.encode(fitted)) > MAX_PACKED_BYTES:
        why = f"({len(alarm.values)} values left out: too large for an alarm) "
        # What is cut from the end is the rule's own text; the remark stays.
        fitted = replace(fitted, values={}, detail=(why + alarm.detail)[:MAX_TEXT_CHARS])
    return fitted
