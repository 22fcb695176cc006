from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from edge.plans.ambient import KEPT_US, Ambient
from edge.plans.local import to_us
from edge.plans.sun import Sun

PARIS = ZoneInfo("Europe/Paris")


class CountingSun(Sun):
    asked = 0

    def elevation_deg(self, time_us: int) -> float:
        self.asked += 1
        return super().elevation_deg(time_us)


def test_sky_and_clock_at_a_place() -> None:
    ambient = Ambient(Sun(47.322, 5.041, PARIS), PARIS)
    noon = ambient(to_us(datetime(2026, 6, 21, 11, 43, 30, tzinfo=UTC)))
    assert noon["hour"] == pytest.approx(13.725)
    assert (noon["night"], noon["weekday"]) == (False, 7)
    assert noon["sun_elevation"] == pytest.approx(90 - 47.322 + 23.44, abs=0.05), "the longest day"
    night = ambient(to_us(datetime(2026, 6, 21, 23, 30, tzinfo=UTC)))
    assert (night["night"], night["hour"], night["weekday"]) == (True, 1.5, 1), "Monday already"


def test_the_height_of_the_sun_is_worked_out_again_only_when_it_has_moved() -> None:
    sun = CountingSun(47.322, 5.041, PARIS)
    ambient = Ambient(sun, PARIS)
    at = to_us(datetime(2026, 6, 21, 11, tzinfo=UTC))
    for later_us in range(0, KEPT_US, 1_000_000):
        ambient(at + later_us)
    assert sun.asked == 1
    ambient(at + KEPT_US)
    assert sun.asked == 2
    ambient(at - 1)
    assert sun.asked == 3, "the clock was set back"
