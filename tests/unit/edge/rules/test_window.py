from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.rules.window import BUCKETS, Window

OVER_US = 6_000  # buckets of 100
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


@pytest.mark.parametrize("operation", ["mean", "max", "min", "count", "rate"])
@given(drawn=values)
def test_it_says_what_a_list_of_all_values_would(operation: str, drawn: list[tuple[int, int, int]]) -> None:
    window = Window(operation, OVER_US)
    kept: list[tuple[int, float]] = []
    now_us, times = 0, set[int]()
    for gap_us, value, late_us in drawn:
        now_us += gap_us // 10
        time_us = max(0, now_us - late_us)
        if time_us in times:  # which of two at one moment is first or last is not said
            continue
        times.add(time_us)
        window.add(time_us, value, now_us)
        kept.append((time_us, value))
        found, expected = window.value(now_us), naive(operation, kept, now_us)
        assert found == (None if expected is None else pytest.approx(expected))
    assert len(window._buckets) <= BUCKETS + 2
    due_us = window.due_us(now_us)
    if due_us is not None:
        assert due_us > now_us
        assert window.value(due_us - 1) == window.value(now_us), "nothing changes before it is due"
    assert (due_us is None) == (naive("count", kept, now_us) == 0)


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
