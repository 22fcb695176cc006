"""Both or neither, and within the globe."""

from __future__ import annotations

import pytest

from groundwork.places import why_no_place


@pytest.mark.parametrize("place", [(None, None), (5.0, 47.0), (-180.0, -90.0), (180.0, 90.0), (0.0, 0.0)])
def test_what_is_a_place_or_none_at_all(place: tuple[float | None, float | None]) -> None:
    assert why_no_place(*place) is None


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ((5.0, None), ("lat", "is missing")),
        ((None, 47.0), ("lon", "is missing")),
        ((180.1, 47.0), ("lon", "is 180.1; it lies from -180 to 180 degrees")),
        ((5.0, -91.0), ("lat", "is -91; it lies from -90 to 90 degrees")),
        ((float("nan"), 47.0), ("lon", "is nan")),
        ((5.0, float("inf")), ("lat", "is inf")),
    ],
)
def test_what_is_none_is_told(place: tuple[float | None, float | None], told: tuple[str, str]) -> None:
    found = why_no_place(*place)
    assert found is not None
    assert (found[0], told[1] in found[1]) == (told[0], True)
