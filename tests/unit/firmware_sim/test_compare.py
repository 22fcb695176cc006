from __future__ import annotations

from typing import Any

import pytest

from firmware_sim.compare import compare


def line(n: int, time_us: int = 0, device: str = "lamp", **more: Any) -> dict[str, Any]:
    return {"device": device, "n": n, "time_us": time_us, "points": {"answers": n, "power": 10.04 + n}, **more}


def row(n: int, time_us: int = 0, power: float | None = None) -> tuple[str, int, dict[str, Any]]:
    return ("lamp", time_us, {"answers": n, "power": 10.04 + n if power is None else power})


def test_what_is_held_once_is_stored() -> None:
    found = compare([line(1), line(2)], [row(1), row(2), ("lamp", 3, {"answers": None, "power": None})])
    assert str(found) == "readings: 4 offered, 4 stored, 0 missing, 0 doubled"
    assert found.faultless


def test_a_loss_is_seen() -> None:
    found = compare([line(1), line(2)], [row(1)])
    assert (found.missing, found.lost, found.faultless) == (2, [("lamp", 2, 0)], False)


def test_a_double_is_seen() -> None:
    found = compare([line(1)], [row(1), row(1, 5)])
    assert (found.doubled, found.stored, found.faultless) == (2, 2, False)


def test_another_value_is_seen_unless_it_is_within_the_tolerance() -> None:
    assert compare([line(1)], [row(1, power=11.0)]).wrong == 1
    assert compare([line(1)], [row(1, power=11.0)], lambda _d, _p: 0.05).faultless
    assert compare([line(1)], [row(1, power=11.5)], lambda _d, _p: 0.05).wrong == 1


def test_a_point_that_is_missing_is_seen() -> None:
    assert compare([line(1)], [("lamp", 0, {"answers": 1})]).missing == 1


def test_what_was_never_offered_is_seen() -> None:
    found = compare([line(1)], [row(1), row(2)])
    assert (found.unknown, found.faultless) == (1, False)


def test_a_counter_that_wrapped_is_told_apart_by_time() -> None:
    found = compare([line(1, 0), line(1, 1000)], [row(1, 10), row(1, 990)])
    assert found.faultless
    assert compare([line(1, 0), line(1, 1000)], [row(1, 10), row(1, 20)]).doubled == 2


@pytest.mark.parametrize("more", [{"late_s": 3.0}, {"uncertain": True}])
def test_what_a_reader_may_rightly_not_have_is_optional(more: dict[str, Any]) -> None:
    assert str(compare([line(1, **more)], [])) == "readings: 0 offered, 0 stored, 0 missing, 0 doubled"
    assert str(compare([line(1, **more)], [row(1)])) == "readings: 2 offered, 2 stored, 0 missing, 0 doubled"
