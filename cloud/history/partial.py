"""Partial: what a point of a device did within a cell of time, and all that is needed to put cells together. Pure.

A cell is an hour of UTC, or a shorter bucket. Its partial is made of the readings measured within it and of nothing
else, so that a reading which comes late changes one partial; what lies between the last reading of a cell and the first
of a later one is added when they are put together (`cloud.history.grid`).

    reading     counts if it is good or uncertain; one that is bad, null, or no finite number, only says that from its
                moment on nothing is known. Of several readings of one moment the last that was written counts, alone.
    held        a value is taken to hold until the next reading, at most for `hold_us`, within its cell
    integral    the sum of value × µs held; the mean is integral / covered
    increase    the sum of the rises from each reading that counts to the next. A fall by more than half of `wraps_at`,
                where that is known, is the counter going on from zero; any other fall is a reset or another meter: it
                adds nothing, and what the counter showed after it, `unsure`, is the most that may be missing. A rise by
                more than half of `wraps_at` is such a fall, too.
    texts       are counted and held, and have no number; booleans are 0 and 1; integers are 64-bit floats here

Sums of products are rounded once (`math.fsum`), so that their order says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, inf, isfinite, isnan, nan
from operator import ge, mul, sub
from typing import Final

import msgspec

from wire.sample import Value
from wire.time import Micros, Utc

GOOD, UNCERTAIN, BAD = 0, 1, 2
NEVER: Final = Utc(-(2**63))


class Terms(msgspec.Struct, frozen=True):
    """How a series is held and counted: `wraps_at` is infinite where it is not known when its counter wraps."""

    hold_us: Micros
    wraps_at: float


class Partial(msgspec.Struct, frozen=True, gc=False):
    """One point within one cell. Where nothing counts, sums are 0, numbers NaN, and `last_us` is NEVER."""

    good: int
    uncertain: int
    bad: int
    least: float
    most: float
    integral: float
    covered_us: Micros
    begin_us: Utc  # the first reading, and the last, of any quality
    end_us: Utc
    first: float  # the first that counts, and the last
    last: float
    last_us: Utc
    increase: float
    resets: int
    wraps: int
    unsure: float
    text: str | None = None  # the last that counts, where it is one


class HourRow(msgspec.Struct, frozen=True, gc=False):
    """A partial of an hour, and how it was held and counted."""

    point: str
    device: str
    hour_us: Utc
    partial: Partial
    terms: Terms


class Readings(msgspec.Struct, frozen=True):
    """The readings of one point in order of time, no two of one moment. Where `grades` is None all are good. A value
    that counts is a float, or NaN where `texts` has it; of those that do not, the value says nothing."""

    times: Sequence[Utc]
    values: Sequence[float]
    grades: bytes | None
    texts: Sequence[str | None] | None = None


def number(value: Value) -> float | None:
    """A value as history counts it: None where it is no finite number; NaN for a text."""
    if isinstance(value, str):
        return nan
    if value is None or not isfinite(value):
        return None
    return float(value)


def step(before: float, after: float, wraps_at: float) -> tuple[float, int, int, float]:
    """From one reading of a counter to the next: what it has risen by, resets, wraps, and what is unsure.

    `wraps_at` is infinite where it is not known.
    """
    by = after - before
    if 0 <= by <= wraps_at / 2:
        return by, 0, 0, 0.0
    if by < -wraps_at / 2:
        return by + wraps_at, 0, 1, 0.0
    return 0.0, 1, 0, after


def fold(readings: Readings, i: int, j: int, end_us: Utc, hold_us: Micros, wraps_at: float) -> Partial:
    """The partial of readings i to before j, at least one, all of one cell that ends at `end_us`."""
    times, values = readings.times[i:j], readings.values[i:j]
    held = [min(gap, hold_us) for gap in map(sub, (*times[1:], end_us), times)]
    begin, end = times[0], times[-1]
    uncertain = bad = 0
    final = j - 1  # the last that counts
    if readings.grades is not None:
        grades = readings.grades[i:j]
        uncertain, bad = grades.count(UNCERTAIN), grades.count(BAD)
        if bad:
            counted = [k for k, grade in enumerate(grades) if grade != BAD]
            if not counted:
                return Partial(0, 0, bad, nan, nan, 0.0, Micros(0), begin, end, nan, nan, NEVER, 0.0, 0, 0, 0.0)
            final = i + counted[-1]
            times = [times[k] for k in counted]
            values = [values[k] for k in counted]
            held = [held[k] for k in counted]
    n = len(times)
    word, numbers = None, values
    if readings.texts is not None:
        word = readings.texts[final]
        numbers = [v for v in values if not isnan(v)]
    least, most = (min(numbers), max(numbers)) if numbers else (nan, nan)
    rise, resets, wraps, unsure = 0.0, 0, 0, 0.0
    if len(numbers) < n:
        rise = unsure = nan
    elif least != most:
        if all(map(ge, values[1:], values)) and values[-1] - values[0] <= wraps_at / 2:
            rise = values[-1] - values[0]
        else:
            rise, resets, wraps, unsure = _risen(values, wraps_at)
    return Partial(
        n - uncertain,
        uncertain,
        bad,
        least,
        most,
        fsum(map(mul, values, held)),
        sum(held, Micros(0)),
        begin,
        end,
        values[0],
        values[-1],
        times[-1],
        rise,
        resets,
        wraps,
        unsure,
        word,
    )


def _risen(values: Sequence[float], wraps_at: float) -> tuple[float, int, int, float]:
    """All steps together: as most rise, or fall in what does not count, only the others are looked at one by one."""
    half = wraps_at / 2
    steps = list(map(sub, values[1:], values))
    rises = [by for by in steps if 0 <= by <= half]
    if wraps_at == inf:
        falls = [after for by, after in zip(steps, values[1:], strict=True) if by < 0]
        return fsum(rises), len(falls), 0, fsum(falls)
    others = [step(a, b, wraps_at) for a, b, by in zip(values, values[1:], steps, strict=False) if not 0 <= by <= half]
    return (
        fsum([*rises, *(by for by, _, _, _ in others)]),
        sum(resets for _, resets, _, _ in others),
        sum(wraps for _, _, wraps, _ in others),
        fsum(unsure for _, _, _, unsure in others),
    )
