"""Scoring: how well a guess fits, in bits: how much better the profile explains what was heard than noise does. Pure.

A value in a window that one of a thousand random raw numbers would hit counts ten bits for the profile; nothing that
noise would do as well counts anything: a register of zeros fits every profile. What cannot be (a code without a
meaning, a number that is none, a value out of range, a place that the device does not have) counts against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isfinite, log2
from statistics import median
from typing import Final

import msgspec

from drivers.guesses import Guess, GuessedPoint
from edge.identify.windows import SLOW, window
from wire.device import Point
from wire.sample import Value

MOST: Final = 8.0  # of one point, so that no single one decides
WRONG: Final = -6.0  # no value by this reading, or one that is out of range
UNUSUAL: Final = -3.0  # in range, and yet unusual for its unit
ABSENT: Final = -4.0
LEFT_OUT: Final = -1.5  # of what devices may leave out
PRESENT: Final = 3.0  # a key or object that is there by its name
UNSTEADY: Final = -4.0
UNEXPLAINED: Final = -0.4
MOST_UNEXPLAINED: Final = -8.0
COST: Final[Mapping[str, float]] = {"": 0.0, "order": -4.0, "space": -4.0, "shift": -6.0, "topic": 0.0}
CHARACTER_BITS: Final = 1.4  # of a byte that is printable, which 95 of 256 are


class Score(msgspec.Struct, frozen=True):
    """Bits for each point that counts, and the sum with all else."""

    bits: float
    by_point: Mapping[str, float]

    @property
    def fits(self) -> int:
        """How many points fit, those that say nothing included."""
        return sum(b >= 0 for b in self.by_point.values())


def score(points: Mapping[str, Point], guess: Guess) -> Score:
    """How well a guess fits."""
    by_point = {name: _point(points[name], told) for name, told in guess.points.items()}
    rest = guess.known_by + COST[guess.kind] + max(MOST_UNEXPLAINED, UNEXPLAINED * guess.unexplained)
    return Score(sum(by_point.values()) + rest, by_point)


def _point(point: Point, told: GuessedPoint) -> float:
    if told.absent:
        return LEFT_OUT if told.optional else ABSENT
    if not told.values:
        return 0.0
    if told.why and all(v is None for v in told.values):
        return 0.5 if told.why.endswith("no value") else WRONG
    bits = median(_value(point, told, v) for v in told.values)
    if not told.bits:
        bits += PRESENT
    return min(MOST, bits) + _steadiness(point, told.values)


def _value(point: Point, told: GuessedPoint, value: Value) -> float:
    match value:
        case None:
            return 0.0
        case bool():
            return 0.0 if told.blank else 0.3
        case str():
            return _text(told, value)
        case _:
            return _number(point, told, value)


def _text(told: GuessedPoint, value: str) -> float:
    if told.codes:
        return 0.0 if told.blank or not told.bits else min(MOST, told.bits - log2(told.codes))
    if not value:
        return 0.0
    return min(MOST, CHARACTER_BITS * len(value)) if value.isprintable() and value.isascii() else WRONG


def _number(point: Point, told: GuessedPoint, value: float) -> float:
    if not isfinite(value):
        return WRONG
    if (point.low is not None and value < point.low) or (point.high is not None and value > point.high):
        return WRONG
    low, high = window(point)
    if value == 0 or told.blank:
        return UNUSUAL / 3 if low > 1 and value == 0 and point.unit in SLOW - {"kW.h", "W.h", "MW.h"} else 0.0
    if told.codes:
        return min(MOST, told.bits - log2(told.codes))
    bounded = point.unit or point.high is not None
    size = abs(value)
    if not bounded and not told.real:
        return _count(told, size)
    if not low <= size <= high:
        return UNUSUAL if size < 1000 * high and size > low / 1000 else WRONG
    if not told.bits:
        return 1.0
    return min(MOST, -log2(_share(told, low, high, signed=point.low is None or point.low < 0)))


def _share(told: GuessedPoint, low: float, high: float, *, signed: bool) -> float:
    """What part of all raw numbers would be in the window too."""
    if told.real:
        octaves = log2(high / max(low, high * 1e-6)) * (2 if signed else 1)
        return min(1.0, octaves / 512)  # single precision: 254 exponents, and a sign
    step = told.step or 0.01
    return min(1.0, max(1.0, (high - low) / step * (2 if signed else 1)) / 2.0**told.bits)


def _count(told: GuessedPoint, size: float) -> float:
    """Of whole numbers without bounds small ones are likely, each twice as large one half as much: log-uniform."""
    if not told.bits:
        return 0.5
    expected = told.bits - log2(size / (told.step or 1) + 1) - log2(told.bits * 0.7)
    return max(-4.0 if told.bits > 16 else 0.0, min(4.0, expected))  # a short one may also be a code or a version


def _steadiness(point: Point, values: Sequence[Value]) -> float:
    """What several readings within seconds say: what counts does not fall, what is slow does not jump."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < 2:
        return 0.0
    counts = point.counter or point.unit in ("kW.h", "W.h", "MW.h")
    falls = sum(b < a for a, b in pairwise(numbers))
    if counts and falls > 1:
        return UNSTEADY
    middle = median(numbers)
    if point.unit in SLOW and middle and sum(abs(n - middle) > abs(middle) / 2 for n in numbers) > len(numbers) // 2:
        return UNSTEADY
    rises = all(b > a for a, b in pairwise(numbers))
    return 1.0 if rises and not point.unit and isinstance(numbers[0], int) else 0.0
