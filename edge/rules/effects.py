"""Effects: what rules ask for. They are data; the alarm book, the arbitration and the feed carry them out.

`time_us` is when the effect was due, on the axis that the engine was given: UTC microseconds. `values` are those of
everything that the rule names and that was known then.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from wire.entries import Severity
from wire.sample import Value
from wire.time import AxisTime


class Raise(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm's condition became true (ISA-18.2: raised). The response is due `respond_within_s` after `time_us`.

    `text` holds the words by language, `detail` the same in one line, both with the values put in.
    """

    rule: str
    device: str
    severity: Severity
    respond_within_s: float | None
    detail: str
    text: Mapping[str, str]
    values: Mapping[str, Value]
    time_us: AxisTime


class Return(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm's condition is over (ISA-18.2: returned to normal)."""

    rule: str
    device: str
    values: Mapping[str, Value]
    time_us: AxisTime


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Put a value at level "rule" of a writable point of `device`, for `hold_s` from `time_us` at most.

    `cause` is the device whose samples made the rule true. A later Hold of the same rule and point replaces it.
    """

    rule: str
    cause: str
    device: str
    point: str
    value: int | float | bool | str
    hold_s: float
    time_us: AxisTime


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """Give the point back before its hold ends: nothing that the rule watches asks for it any more."""

    rule: str
    cause: str
    device: str
    point: str
    time_us: AxisTime


class MarkEffect(msgspec.Struct, frozen=True, kw_only=True):
    """Tag the feed: the rule became true."""

    rule: str
    device: str
    tag: str
    values: Mapping[str, Value]
    time_us: AxisTime


Effect = Raise | Return | Hold | Release | MarkEffect
