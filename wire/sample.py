"""Sample: one device's points taken together at one moment, and the quality of each.

A point that is left out of `values` was not read. A point whose value is None was read as null, or could not
be read: then its quality says so. Only points that are not good appear in `quality`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from wire.time import Utc

Value = int | float | bool | str | None

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**64 - 1
TEXT_MAX_CHARS: Final = 4096
QUALITY_MAX_CHARS: Final = 120


class Clock(msgspec.Struct, frozen=True, gc=False):
    """Which clock stamped a time: the boot it belongs to, and whether it was synchronised then."""

    boot: int
    synced: bool


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One device's points at one moment. `time_us` is UTC microseconds since 1970."""

    device: str
    time_us: Utc
    clock: Clock
    values: Mapping[str, Value]
    quality: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])


def bad(reason: str) -> str:
    """The quality of a point that could not be read, with the reason in words (OPC UA Part 8: Bad)."""
    return f"bad:{reason}"[:QUALITY_MAX_CHARS]


def uncertain(reason: str) -> str:
    """The quality of a value that is there but may not be true now (OPC UA Part 8: Uncertain)."""
    return f"uncertain:{reason}"[:QUALITY_MAX_CHARS]


def why_unstorable(value: object) -> str | None:
    """Say why a value cannot be kept and sent exactly, or None when it can."""
    kind = type(value)
    if kind is float or kind is bool or value is None:
        return None
    if isinstance(value, int):
        return None if INT_MIN <= value <= INT_MAX else "integer beyond 64 bits"
    if isinstance(value, str):
        if len(value) > TEXT_MAX_CHARS:
            return f"text longer than {TEXT_MAX_CHARS} characters"
        return None if value.isascii() or _is_utf8(value) else "text with lone surrogates"
    return f"a {type(value).__name__} is not a value"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
