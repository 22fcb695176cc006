from __future__ import annotations

from typing import Any

import pytest

from cloud.views.contract import Fix
from cloud.views.visits import highest_code, technicians
from wire.entries import Visit, VisitAct

S = 1_000_000
NOW = 1_000 * S


def said(act: VisitAct, at_s: int, visit: str = "v1", by: str = "anna", **more: Any) -> Visit:
    return Visit(visit=visit, by=by, act=act, time_us=at_s * S, **more)


def there(*oldest_first: Visit, now_us: int = NOW, fixes: dict[int, Fix] | None = None) -> list[tuple[str, int, bool]]:
    found = technicians(reversed(oldest_first), fixes or {}, now_us)
    return [(t.by, t.until_us // S, t.here) for t in found]


BEGAN = said("began", 500, until_us=2_300 * S, code=3)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ([], [("anna", 2_300, False)]),
        ([said("acted", 600)], [("anna", 2_300, False)]),
        ([said("here", 600, until_us=7_800 * S)], [("anna", 7_800, True)]),
        ([said("here", 600, until_us=900 * S)], []),
        ([said("left", 700)], []),
        ([said("left", 700), said("here", 710, until_us=7_800 * S)], []),
    ],
)
def test_who_is_there(more: list[Visit], expected: list[tuple[str, int, bool]]) -> None:
    assert there(BEGAN, *more) == expected


def test_nobody_is_there_for_ever() -> None:
    assert there(BEGAN, now_us=2_300 * S - 1) == [("anna", 2_300, False)]
    assert there(BEGAN, now_us=2_300 * S) == []


def test_two_at_once_by_when_they_came() -> None:
    ben = said("began", 400, "v0", "ben", until_us=2_000 * S)
    assert [t[0] for t in there(BEGAN, ben)] == ["ben", "anna"]
    assert [t[0] for t in there(BEGAN, ben, said("left", 600, "v1"))] == ["ben"]


def test_who_began_too_long_ago_to_be_looked_at_is_there_all_the_same() -> None:
    assert there(said("here", 600, until_us=7_800 * S)) == [("anna", 7_800, True)]


def test_times_of_a_node_without_a_clock_are_corrected() -> None:
    early = said("began", 0, until_us=1_800 * S, boot=9)
    assert there(early, now_us=10_000 * S) == []
    assert there(early, now_us=10_000 * S, fixes={9: Fix(9_500 * S, 1)}) == [("anna", 11_300, False)]


def test_the_highest_code_of_a_token_is_of_visits_since_it_was_made() -> None:
    old = said("began", 10, "v0", code=90)
    assert highest_code([BEGAN, old], 400 * S, {}) == 3
    assert highest_code([BEGAN, old], 0, {}) == 90
    assert highest_code([], 0, {}) == 0
