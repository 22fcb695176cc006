"""Intake: what a driver yields becomes what both ends will hold, exactly.

Floats are taken to the nearest multiple of their point's resolution, times are cut to the profile's resolution,
values that cannot be kept become null with a bad quality, values outside the point's range become uncertain. Points
that report by exception are left out until they have moved by their deadband or their heartbeat is due.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from math import inf
from typing import Any, Final, NamedTuple

import msgspec

from wire.device import Point
from wire.sample import INT_MAX, INT_MIN, QUALITY_MAX_CHARS, Clock, Sample, Value, bad, uncertain, why_unstorable
from wire.time import Micros, Utc

EXACT: Final = 2**53
LAST_US: Final = Utc(2**52)  # the year 2112: what wire.codec takes
_EARLIEST_US: Final = Utc(0)
_LATEST_US: Final = Utc(LAST_US - 1)
MILLISECOND_US: Final = Micros(1_000)
SECOND_US: Final = Micros(1_000_000)


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Report by exception: only when the value has moved by `deadband` (in the point's unit; 0: by anything), and
    at the latest every `heartbeat_s`, so that silence means something."""

    deadband: float = 0
    heartbeat_s: float = 3600

    def __post_init__(self) -> None:
        """Refuse what could never report."""
        if self.deadband < 0 or not 1 <= self.heartbeat_s <= 86_400:
            raise ValueError("deadband is 0 or more, heartbeat_s between 1 and 86400")


def quantiser(resolution: float | None) -> Callable[[float], float] | None:
    """A function that takes a float to the nearest multiple of a resolution, as the double that a reader of the
    decimal number would have. None where the point declares no resolution."""
    if not resolution:
        return None
    sign, digits, exponent = Decimal(repr(resolution)).normalize().as_tuple()
    assert not sign
    assert isinstance(exponent, int)
    steps = int("".join(map(str, digits)))
    scale, step = (1, steps * 10**exponent) if exponent >= 0 else (10**-exponent, steps)

    def quantise(value: float) -> float:
        ticks = value * scale / step
        # Beyond 2^53 ticks neighbouring doubles are further apart than the resolution; inf and NaN end here too.
        return round(ticks) * step / scale if -EXACT < ticks < EXACT else value

    return quantise


class _Way(NamedTuple):
    """What is done to the values of one point; looked up once a reading, and taken apart at once."""

    quantise: Callable[[float], float] | None
    ranged: bool
    low: float
    high: float

    @classmethod
    def of(cls, point: Point) -> _Way:
        low = -inf if point.low is None else point.low
        high = inf if point.high is None else point.high
        quantise = quantiser(point.resolution) if point.type == "float" else None
        return cls(quantise, (point.low, point.high) != (None, None), low, high)


class _Last(msgspec.Struct):
    value: Value
    quality: str | None
    time_us: Utc


class Gate:
    """The way in for one device's samples."""

    def __init__(
        self,
        points: Mapping[str, Point],
        *,
        time_resolution_us: Micros,
        reports: Mapping[str, Report] | None = None,
    ) -> None:
        self._points = {name: _Way.of(point) for name, point in points.items()}
        self._reports = reports or {}
        self._last: dict[str, _Last] = {}
        self._live = {n for n, p in points.items() if p.live}
        self._live_values: dict[str, Value] = {}
        self._resolution_us = time_resolution_us
        self.unknown_points = 0

    @property
    def remembers(self) -> bool:
        """Whether what it lets through depends on what it has let through before."""
        return bool(self._reports or self._live)

    def take(self, sample: Sample) -> Sample | None:
        """The sample as it is kept, or None when nothing of it is to be reported now."""
        values: dict[str, Value] = {}
        quality: dict[str, str] = dict(sample.quality) if sample.quality else {}
        time_us = min(max(sample.time_us, _EARLIEST_US), _LATEST_US)
        time_us -= time_us % self._resolution_us
        ways, reports = self._points, self._reports
        for name, given in sample.values.items():
            value: Any = given
            way = ways.get(name)
            if way is None:
                self.unknown_points += 1
                continue
            quantise, ranged, low, high = way
            kind: type[object] = value.__class__
            if kind is float:
                if quantise is not None:
                    value = quantise(value)
            elif (kind is not int or not INT_MIN <= value <= INT_MAX) and (why := why_unstorable(value)) is not None:
                value, quality[name] = None, bad(why)
            if ranged and (kind is float or isinstance(value, int | float)) and not low <= value <= high:
                quality.setdefault(name, uncertain("out of range"))
            if name in reports and not self._due(name, value, quality.get(name), time_us):
                continue
            values[name] = value
        if not values:
            return None
        if quality:
            quality = {n: q[:QUALITY_MAX_CHARS] for n, q in quality.items() if n in values}
        return Sample(sample.device, time_us, sample.clock, values, quality)

    def moved(self, sample: Sample) -> bool:
        """Whether a point that is watched live has another value than in the sample before."""
        moved = False
        for name in self._live:
            if name in sample.values and self._live_values.get(name, sample) != sample.values[name]:
                self._live_values[name] = sample.values[name]
                moved = True
        return moved

    def forget(self) -> None:
        """What was let through was not kept: the next value is news again."""
        self._last.clear()
        self._live_values.clear()

    def _due(self, name: str, value: Value, quality: str | None, time_us: Utc) -> bool:
        report, last = self._reports[name], self._last.get(name)
        if last is not None and quality == last.quality and 0 <= time_us - last.time_us < report.heartbeat_s * 1e6:
            if type(value) is type(last.value) and isinstance(value, int | float) and not isinstance(value, bool):
                assert isinstance(last.value, int | float)
                step = abs(value - last.value)
                due = step >= report.deadband if report.deadband else step > 0
            else:
                due = value != last.value
            if not due:
                return False
        self._last[name] = _Last(value, quality, time_us)
        return True


def failed(device: str, points: Sequence[Point], time_us: Utc, clock: Clock, reason: str) -> Sample:
    """What stands for a poll that failed: every point null and bad. Never silence."""
    quality = bad(reason)
    return Sample(
        device, time_us, clock, dict.fromkeys((p.name for p in points), None), {p.name: quality for p in points}
    )


def time_resolution_us(profile_us: Micros | None, poll_s: float | None) -> Micros:
    """What times of a device are cut to: what its profile says, else 1 s when polled slower than 5 s, else 1 ms."""
    if profile_us is not None:
        return profile_us
    return SECOND_US if poll_s is not None and poll_s > 5 else MILLISECOND_US
