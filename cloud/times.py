"""Times as they are written and read over HTTP: UTC microseconds within, RFC 3339 outside.

Bounds: every integer has a text (years beyond 1 … 9999 are written as the nearest there is), and every text that
is accepted has an integer; nothing here overflows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from wire.time import Micros, Utc

Now = Callable[[], Utc]  # UTC microseconds; a parameter wherever time decides something

SECOND_US: Final = Micros(1_000_000)
DAY_US: Final = Micros(86_400 * SECOND_US)
TIME_BOUND_US: Final = Utc(2**62)  # no time on the wire lies beyond

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_US: Final = Utc(-62_135_596_800 * SECOND_US)
_LAST_US: Final = Utc(253_402_300_800 * SECOND_US - 1)


def utc_us() -> Utc:
    """The machine's clock."""
    return Utc(time.time_ns() // 1000)


def text(time_us: Utc) -> str:
    """RFC 3339 with six digits of the second, in UTC."""
    within = min(max(time_us, _FIRST_US), _LAST_US)
    moment = _EPOCH + timedelta(microseconds=within)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def parse(given: str) -> Utc:
    """UTC microseconds from RFC 3339, or from an integer that already counts them.

    Raises:
        ValueError: with what to write instead.
    """
    if given.isascii() and given.removeprefix("-").isdecimal() and len(given) <= 20:
        value = Utc(given)
        if abs(value) <= TIME_BOUND_US:
            return value
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise ValueError(f"{given[:50]!r} is no time; write 2026-01-31T12:00:00Z or UTC microseconds") from None
    if moment.tzinfo is None:
        raise ValueError(f"{given[:50]!r} names no time zone; add Z for UTC")
    return Utc((moment - _EPOCH) // timedelta(microseconds=1))
