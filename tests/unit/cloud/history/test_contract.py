"""How long a value stands: as its profile says, else by the period at which it is read; where nobody says, unknown."""

from __future__ import annotations

from math import inf, nan

import pytest

from cloud.history.contract import DEFAULT_HOLD_US, MAX_HOLD_US, Series, described_series
from cloud.times import SECOND_US
from wire.device import Device, Point


def series(point: Point | None, **said: object) -> Series:
    device = Device(id="d", kind="k", profile="p", **said)  # type: ignore[arg-type]
    return described_series("d", "cab-1", "e", device, point)


def hold_s(found: Series) -> float:
    return found.terms.hold_us / SECOND_US


PLAIN = Point(name="e", type="int")
STALE = Point(name="e", type="int", stale_after_s=300)


def test_an_older_node_says_nothing_and_that_is_said() -> None:
    found = series(PLAIN)
    assert (found.terms.hold_us, found.hold_known, found.period_s) == (DEFAULT_HOLD_US, False, None)
    assert (found.counts, found.terms.wraps_at) == (None, inf)


def test_the_profile_goes_before_the_period_and_the_period_before_nothing() -> None:
    assert (hold_s(series(STALE, period_s=60.0)), series(STALE, period_s=60.0).hold_known) == (300, True)
    assert (hold_s(series(PLAIN, period_s=60.0)), series(PLAIN, period_s=60.0).hold_known) == (180, True)
    assert series(STALE).hold_known


def test_what_is_left_out_while_it_does_not_change_stands_for_so_long() -> None:
    assert hold_s(series(STALE, period_s=60.0, heartbeats_s={"e": 3_600.0})) == 3_900
    assert hold_s(series(PLAIN, period_s=60.0, heartbeats_s={"e": 3_600.0})) == 3_780
    assert hold_s(series(STALE, period_s=60.0, heartbeats_s={"other": 3_600.0})) == 300
    assert series(STALE, period_s=604_800.0, heartbeats_s={"e": 604_800.0}).terms.hold_us <= MAX_HOLD_US


@pytest.mark.parametrize("nonsense", [nan, inf, -inf, -1.0, 0.0, 1e300])
def test_what_cannot_be_meant_is_not_believed(nonsense: float) -> None:
    found = series(PLAIN, period_s=nonsense, heartbeats_s={"e": nonsense})
    assert (found.terms.hold_us, found.hold_known) == (DEFAULT_HOLD_US, False)
    assert hold_s(series(STALE, heartbeats_s={"e": nonsense})) == 300


def test_no_roster_is_nothing_known() -> None:
    found = described_series("d", "cab-1", "e", None, None)
    assert (found.terms.hold_us, found.hold_known) == (DEFAULT_HOLD_US, False)
