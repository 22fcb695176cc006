"""One cell: what counts, what is held, and what a counter has risen by."""

from __future__ import annotations

from math import inf, isnan, nan

import pytest

from cloud.history.partial import BAD, UNCERTAIN, Partial, Readings, fold, number, step

S = 1_000_000


def of(
    *values: float, every_s: int = 60, hold_s: int = 300, grades: bytes | None = None, wraps_at: float = inf
) -> Partial:
    times = [i * every_s * S for i in range(len(values))]
    return fold(Readings(times, values, grades), 0, len(values), 3_600 * S, hold_s * S, wraps_at)


def test_a_value_is_held_until_the_next_and_no_longer_than_its_bound() -> None:
    found = of(10.0, 20.0, every_s=1_200)
    assert found.covered_us == 2 * 300 * S
    assert found.integral == (10 + 20) * 300 * S
    assert of(10.0, 20.0).covered_us == (60 + 300) * S
    assert of(1.0, every_s=1, hold_s=7_200).covered_us == 3_600 * S, "within its cell"


def test_bad_readings_end_what_is_held_and_count_for_nothing_else() -> None:
    found = of(10.0, 99.0, 30.0, grades=bytes([0, BAD, UNCERTAIN]))
    assert (found.good, found.uncertain, found.bad) == (1, 1, 1)
    assert (found.least, found.most, found.first, found.last) == (10.0, 30.0, 10.0, 30.0)
    assert found.covered_us == (60 + 300) * S
    assert found.increase == 20.0
    none = of(99.0, 98.0, grades=bytes([BAD, BAD]))
    assert (none.bad, none.covered_us, none.begin_us, none.end_us) == (2, 0, 0, 60 * S)
    assert isnan(none.least)
    assert isnan(none.last)


@pytest.mark.parametrize(
    ("before", "after", "wraps_at", "found"),
    [
        (5, 8, inf, (3, 0, 0, 0)),
        (65_530, 4, 65_536, (10, 0, 1, 0)),  # on from zero
        (65_530, 4, inf, (0, 1, 0, 4)),  # nobody knows that it wraps
        (500, 4, 65_536, (0, 1, 0, 4)),  # a reset
        (500, 60_000, 65_536, (0, 1, 0, 60_000)),  # another meter
    ],
)
def test_a_step_of_a_counter(before: float, after: float, wraps_at: float, found: tuple[float, ...]) -> None:
    assert step(before, after, wraps_at) == found


def test_a_counter_survives_resets_wraps_and_another_meter() -> None:
    found = of(65_500, 65_530, 4, 10, 0, 7, 30_000, 1_000, wraps_at=65_536)
    assert found.increase == 30 + 10 + 6 + 7 + 29_993
    assert (found.resets, found.wraps, found.unsure) == (2, 1, 1_000.0)


def test_what_is_no_number_and_what_is_no_reading() -> None:
    assert number(True) == 1.0
    assert number(None) is number(nan) is number(inf) is None
    texts = Readings([0, 60 * S], [nan, nan], None, ["on", "off"])
    found = fold(texts, 0, 2, 3_600 * S, 300 * S, inf)
    assert (found.good, found.text, found.covered_us) == (2, "off", 360 * S)
    assert isnan(found.least)
    assert isnan(found.increase)
    even = Readings(range(0, 300 * S, 60 * S), [nan] * 5, bytes([0, 0, 0, BAD, BAD]), ["a", "b", "c", "d", "e"])
    assert fold(even, 1, 5, 3_600 * S, 300 * S, inf).text == "c"
