"""Times as text: every integer has one, and what is accepted comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud import times


@given(st.integers(-62_135_596_800 * 10**6, 253_402_300_799 * 10**6))
def test_round_trip(time_us: int) -> None:
    assert times.parse(times.text(time_us)) == time_us


@given(st.integers())
def test_every_integer_has_a_text(time_us: int) -> None:
    assert len(times.text(time_us)) == 27


@pytest.mark.parametrize(
    ("given", "expected"),
    [("0", 0), ("-5", -5), ("1970-01-01T00:00:01Z", 1_000_000), ("1970-01-01T02:00:00.5+02:00", 500_000)],
)
def test_accepts(given: str, expected: int) -> None:
    assert times.parse(given) == expected


@pytest.mark.parametrize("given", ["", "now", "2026-01-01", "2026-01-01T00:00:00", "1" * 30, "9" * 19, "1e5", "٣", "²"])
def test_refuses_with_what_to_write(given: str) -> None:
    with pytest.raises(ValueError, match=r"Z"):
        times.parse(given)
