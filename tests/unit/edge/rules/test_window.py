from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.rules.coverage import ENOUGH, MAX_STRETCHES, Coverage
from edge.rules.window import BUCKETS, Counter, Window

OVER_US = 6_000  # buckets of 100
WIDTH_US = OVER_US // BUCKETS
values = st.lists(st.tuples(st.integers(0, 20_000), st.integers(-50, 50), st.integers(0, 3_000)), max_size=60)


def naive(operation: str, kept: list[tuple[int, float]], now_us: int) -> float | None:
    """The same without buckets: all that lies in a bucket that has not wholly left."""
    width = OVER_US // BUCKETS
    inside = sorted(((t, v) for t, v in kept if (t // width + 1) * width + OVER_US > now_us), key=lambda tv: tv[0])
    if operation == "count":
        return len(inside)
    if not inside:
        return None
    numbers = [v for _, v in inside]
    match operation:
        case "mean":
            return sum(numbers) / len(numbers)
        case "max":
            return max(numbers)
        case "min":
            return min(numbers)
        case _:
            span_us = inside[-1][0] - inside[0][0]
            return (inside[-1][1] - inside[0][1]) / (span_us / 1e6) if span_us else None


def covered(now_us: int, began_us: int | None) -> bool:
    edge_us = now_us - now_us % WIDTH_US
    return began_us is not None and edge_us - max(began_us, edge_us - OVER_US) >= ENOUGH * OVER_US


@pytest.mark.parametrize("operation", ["mean", "max", "min", "count", "rate"])
@given(drawn=values)
def test_it_says_what_a_list_of_all_values_would(operation: str, drawn: list[tuple[int, int, int]]) -> None:
    window = Window(operation, OVER_US)
    kept: list[tuple[int, float]] = []
    now_us, times = 0, set[int]()
    began_us: int | None = None
    for gap_us, value, late_us in drawn:
        now_us += gap_us // 10
        time_us = max(0, now_us - late_us)
        if time_us in times:  # which of two at one moment is first or last is not said
            continue
        times.add(time_us)
        window.add(time_us, value, now_us)
        kept.append((time_us, value))
        found, expected = window.value(now_us), naive(operation, kept, now_us)
        if began_us is None and (time_us // WIDTH_US + 1) * WIDTH_US + OVER_US > now_us:
            began_us = time_us  # one that is too old is nothing to the window
        if operation in ("mean", "rate") and not covered(now_us, began_us):
            expected = None
        assert found == (None if expected is None else pytest.approx(expected))
    assert len(window._buckets) <= BUCKETS + 2
    due_us = window.due_us(now_us)
    if due_us is not None:
        assert due_us > now_us
        assert window.value(due_us - 1) == window.value(now_us), "nothing changes before it is due"
    else:
        assert naive("count", kept, now_us) == 0


def test_it_takes_bounded_room() -> None:
    window = Window("mean", 86_400_000_000)
    for i in range(100_000):
        window.add(i * 10_000_000, 1.0, i * 10_000_000)
    assert len(window._buckets) <= BUCKETS + 2


def test_a_value_older_than_the_window_is_nothing_to_it() -> None:
    window = Window("count", OVER_US)
    window.add(0, 1.0, 50_000)
    assert window.value(50_000) == 0
    assert window.due_us(50_000) is None


@pytest.mark.parametrize(
    ("operation", "so_far"), [("mean", None), ("rate", None), ("max", 9.0), ("min", 1.0), ("count", 3)]
)
def test_little_is_known_of_a_stretch_that_has_only_begun(operation: str, so_far: float | None) -> None:
    window = Window(operation, OVER_US)
    window.listens(0)
    for time_us, value in ((0, 1.0), (10, 9.0), (20, 5.0)):
        window.add(time_us, value, time_us)
    assert window.value(30) == so_far
    assert (window.limit(30) is not None) == (so_far is not None), "it may be more, or less"
    assert window.value(OVER_US) is not None
    assert window.limit(OVER_US) is None


def test_a_value_that_no_longer_counts_covers_no_more_time() -> None:
    window = Window("mean", OVER_US, hold_us=600)
    for time_us in range(0, OVER_US, 500):
        window.add(time_us, 1.0, time_us)
    assert window.value(OVER_US) == 1.0
    assert window.value(OVER_US + 2_500) is None, "it is not known what it was meanwhile"
    window = Window("mean", OVER_US)
    window.add(0, 1.0, 0)
    window.lost(100)
    assert window.value(OVER_US) is None


def test_of_a_count_the_time_in_which_nothing_came_is_known() -> None:
    window = Window("count", OVER_US)
    window.listens(0)
    assert (window.value(OVER_US), window.limit(OVER_US)) == (0, None)
    window.deaf(OVER_US, 3 * OVER_US)
    assert window.limit(3 * OVER_US) is not None


@given(st.lists(st.tuples(st.integers(1, 3_000), st.booleans()), max_size=40), st.integers(100, 2_000))
def test_coverage_is_what_each_value_covers(drawn: list[tuple[int, bool]], hold_us: int) -> None:
    coverage, covered_us, now_us = Coverage(hold_us), set[int](), 0
    held_until_us = -1
    for gap_us, good in drawn:
        covered_us |= set(range(now_us, min(now_us + gap_us, held_until_us)))
        now_us += gap_us
        if good:
            coverage.known(now_us, since_us=0)
            held_until_us = now_us + hold_us
        else:
            coverage.lost(now_us)
            held_until_us = -1
    assert coverage.us(0, now_us) == len(covered_us)


def test_coverage_takes_bounded_room() -> None:
    coverage = Coverage(1)
    for i in range(10_000):
        coverage.known(i * 10, since_us=0)
    assert len(coverage._closed) <= MAX_STRETCHES


U32 = 2**32


@pytest.mark.parametrize(
    ("counter", "values", "rate"),
    [
        (Counter(counts=True, wraps_at=U32), (U32 - 16, U32 - 6, 4, 14), 10),
        (Counter(counts=True), (U32 - 16, U32 - 6, 4, 14), None),
        (Counter(whole=True), (U32 - 16, U32 - 6, 4, 14), None),
        (Counter(whole=True), (65_530, 65_535, 2, 5), None),
        (Counter(wraps_at=U32 / 10), (429_496_728.0, 429_496_729.0, 0.4, 1.4), None),
        (Counter(counts=True, wraps_at=1000), (900, 50, 60, 70), (150 + 10 + 10) / 3),
        (Counter(counts=True, wraps_at=1000), (5000, 50, 60, 70), None),
        (Counter(counts=False, whole=True), (65_530, 65_535, 2, 5), (5 - 65_530) / 3),
        (Counter(), (30.0, 20.0, 10.0, 0.0), -10),
        (Counter(whole=True), (300, 200, 100, 0), -100),
        (Counter(whole=True), (0, 1, 2, 0), 0),
    ],
)
def test_the_rate_of_what_goes_round(counter: Counter, values: tuple[float, ...], rate: float | None) -> None:
    for spread_us in (10, 1_900):  # in one bucket, and in one each
        window = Window("rate", OVER_US, counter=counter)
        for i, value in enumerate(values):
            window.add(i * spread_us, value, i * spread_us)
        found = window.value(OVER_US)
        assert found == (None if rate is None else pytest.approx(rate * 1e6 / spread_us))
