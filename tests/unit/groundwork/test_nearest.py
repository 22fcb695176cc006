"""A slip of the finger is found among many that look alike, and what is like nothing has no nearest."""

from __future__ import annotations

import pytest

from groundwork.nearest import nearest

LAMPS = [f"lamp-{i}-{k}" for i in range(20) for k in range(300)]


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("lmap-3-77", "lamp-3-77"),
        ("lamp-3-7x7", "lamp-3-77"),
        ("lamp_3-77", "lamp-3-77"),
        ("Lamp-19-299", "lamp-19-299"),
        ("lamp-19-299 ", "lamp-19-299"),
        ("zebra", None),
        ("", None),
    ],
)
def test_slips(slip: str, meant: str | None) -> None:
    assert nearest(slip, LAMPS) == meant
