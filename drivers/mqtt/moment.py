"""Moment: when a payload says that it was measured, and why that is not believed where it is not.

A number, or a text of digits, counts from 1970 in seconds, or in milli-, micro- or nanoseconds where it is too large
for that. Any other text is ISO 8601 with date and time (RFC 3339 is a part of it). One without a zone is local time in
the zone that the profile or the site names; where neither does, it is no time. Of the two moments that one local time
means in the night when clocks go back, the one nearer to the arrival is taken; a local time that is left out in the
night when they go forward is no time.

What lies before 2020, more than PAST_US before the node's own time or more than FUTURE_US after it is not believed: the
device's clock has never been set, or is wrong. A text of more than MAX_CHARS is not looked at.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from wire.time import Micros, Utc

FUTURE_US: Final = Micros(300_000_000)
PAST_US: Final = Micros(92 * 86_400_000_000)  # a season: what a device may keep for itself before it is heard again
EARLIEST_US: Final = Utc(1_577_836_800_000_000)  # 2020-01-01
MAX_CHARS: Final = 64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class NotBelieved(ValueError):
    """Why a payload's time is none. The text is the same for every payload of the kind: it may be counted by it."""


def moment_us(raw: object, zone: str, now_us: Utc | None) -> Utc:
    """UTC microseconds of what a payload gives as its time. `zone` is an IANA name, or empty where none is known;
    `now_us` is the node's own time, None where that is not known: then no time is too far from it.

    Raises:
        NotBelieved.
    """
    try:
        time_us = _number_us(raw) if isinstance(raw, int | float) else _text_us(raw, zone, now_us)
    except NotBelieved:
        raise
    except (ValueError, OverflowError) as error:
        raise NotBelieved("it is no time") from error
    if time_us < EARLIEST_US:
        raise NotBelieved("it lies before 2020")
    if now_us is None:
        return time_us
    if time_us > now_us + FUTURE_US:
        raise NotBelieved(f"it lies more than {FUTURE_US // 60_000_000} min ahead of the node's clock")
    if time_us < now_us - PAST_US:
        raise NotBelieved(f"it lies more than {PAST_US // 86_400_000_000} days behind the node's clock")
    return time_us


def why_no_zone(name: str) -> str | None:
    """What is wrong with the name of a time zone, or None."""
    try:
        _zone(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return 'is no time zone; write an IANA name, such as "Europe/Paris", or "UTC"'
    return None


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _number_us(raw: float) -> Utc:
    if isinstance(raw, bool):
        raise NotBelieved("it is no time")
    for over, each_us in ((1e17, 0.001), (1e14, 1), (1e11, 1_000)):  # 1973 in the finer unit, 5138 in the coarser one
        if raw > over:
            return Utc(round(raw * each_us))
    return Utc(round(raw * 1_000_000))


def _text_us(raw: object, zone: str, now_us: Utc | None) -> Utc:
    if not isinstance(raw, str) or not 9 <= len(raw) <= MAX_CHARS:
        raise NotBelieved("it is no time")
    text = raw.strip()
    if text.isascii() and text.replace(".", "", 1).isdecimal() and (len(text) > 8 or "." in text):
        return _number_us(float(text) if "." in text else int(text))
    if "T" not in text and " " not in text and "t" not in text:
        raise NotBelieved("it is a date without a time")
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        return _since(moment)
    if not zone:
        raise NotBelieved("it has no time zone, and neither has the profile (time_zone) nor the site")
    first, second = (moment.replace(tzinfo=_zone(zone), fold=fold) for fold in (0, 1))
    before, after = first.utcoffset(), second.utcoffset()
    assert before is not None
    assert after is not None
    if before < after:  # PEP 495: so it is in a gap; in a fold it is the other way round
        raise NotBelieved("clocks leave this local time out when they go forward")
    either = _since(first), _since(second)
    return either[0] if now_us is None else min(either, key=lambda us: abs(us - now_us))


def _since(moment: datetime) -> Utc:
    since = moment - _EPOCH
    return Utc((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)
