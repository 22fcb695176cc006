"""In how many days the disk is full: said in time, and not for every wave."""

from __future__ import annotations

import random
from math import inf, isnan, sin

import pytest

from cloud.alarms.forecast import ALARM, CALM_DAYS, DAY_S, KEPT, LOOK_S, WARN_DAYS, DiskForecast

GB = 1_000_000_000


def looked(free_of: object, days: float, forecast: DiskForecast | None = None, begin_s: float = 0) -> DiskForecast:
    forecast = forecast or DiskForecast()
    for i in range(int(days * DAY_S / LOOK_S) + 1):
        at_s = begin_s + i * LOOK_S
        forecast.look(at_s, int(free_of(at_s / DAY_S)))  # type: ignore[operator]
    return forecast


def test_nothing_is_said_before_enough_was_seen() -> None:
    assert isnan(DiskForecast().days_left)
    soon = looked(lambda day: GB - 100 * GB * day, 0.1)
    assert isnan(soon.bytes_a_day)
    assert isnan(soon.days_left)
    assert not soon.conditions()


def test_it_is_the_line_through_what_was_seen() -> None:
    rng = random.Random(1)
    forecast = looked(lambda day: 100 * GB - 2 * GB * day + GB * sin(6.28 * day) + rng.gauss(0, GB / 10), 7)
    assert forecast.bytes_a_day == pytest.approx(2 * GB, rel=0.2)
    assert forecast.days_left == pytest.approx(43, rel=0.2)
    assert not forecast.conditions()
    assert looked(lambda day: GB + GB * day, 1).days_left == inf
    assert looked(lambda _day: GB, 1).days_left == inf


def test_the_alarm_holds_until_there_is_room_again() -> None:
    forecast = looked(lambda day: 20 * GB - GB * day, 5)
    assert forecast.days_left == pytest.approx(15, abs=0.01)
    assert not forecast.conditions()
    looked(lambda day: 20 * GB - GB * day, 2, forecast, 5 * DAY_S)
    (condition,) = forecast.conditions().values()
    assert (condition.id, condition.node, condition.values) == (ALARM, "city", {"days": 13})
    assert "13 days" in condition.why["en"]
    assert "13 jours" in condition.why["fr"]
    looked(lambda _day: (WARN_DAYS + 1) * GB, 0, forecast, 7.1 * DAY_S)
    assert forecast.conditions(), "not for a wave"
    looked(lambda _day: 50 * CALM_DAYS * GB, 7, forecast, 8 * DAY_S)
    assert not forecast.conditions()


def test_it_looks_seldom_and_keeps_no_more_than_a_week() -> None:
    forecast = DiskForecast()
    for second in range(0, 3_600, 5):
        forecast.look(second, GB)
    assert len(forecast._looks) == 6
    assert len(looked(lambda _day: GB, 20)._looks) == KEPT
