"""Forecast: in how many days the store's disk is full, when it goes on as in the last days; and the alarm about it.

What is free is looked at each LOOK_S, and a line is laid through the last KEPT looks (least squares), whatever it is
that fills the disk. Before LEAST_S nothing is said. The alarm `aggregator:disk` holds from WARN_DAYS on and ends above
CALM_DAYS: time enough to buy one. That the disk is full now is said by `aggregator:store` (`cloud.alarms.trouble`).

Bound: KEPT looks, seven days of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from math import inf, nan
from typing import Final

from cloud.alarms.own_alarms import CITY, StandingCondition
from cloud.alarms.own_texts import disk_full_in

ALARM: Final = "aggregator:disk"
DAY_S: Final = 86_400.0
LOOK_S: Final = 600.0
KEPT: Final = 1_008
LEAST_S: Final = DAY_S / 4
WARN_DAYS: Final = 14
CALM_DAYS: Final = 21


class DiskForecast:
    """On the event loop."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque(maxlen=KEPT)
        self._warns = False

    def look(self, at_s: float, free: int) -> None:
        """So many bytes are free now, by a clock that only goes on; 0 where nobody could tell."""
        if free and (not self._looks or at_s - self._looks[-1][0] >= LOOK_S):
            self._looks.append((at_s, free))

    @property
    def bytes_a_day(self) -> float:
        """How much less is free each day; NaN while that is not known."""
        looks = self._looks
        if not looks or looks[-1][0] - looks[0][0] < LEAST_S:
            return nan
        n, begin_s, begin = len(looks), looks[0][0], looks[0][1]
        times = [at_s - begin_s for at_s, _ in looks]
        used = [begin - free for _, free in looks]
        mean_time, mean_used = sum(times) / n, sum(used) / n
        spread = sum((t - mean_time) ** 2 for t in times)
        return sum((t - mean_time) * (u - mean_used) for t, u in zip(times, used, strict=True)) / spread * DAY_S

    @property
    def days_left(self) -> float:
        """Until nothing is free; infinite where it does not become less, NaN while that is not known."""
        a_day = self.bytes_a_day
        if a_day > 0:
            return self._looks[-1][1] / a_day
        return inf if a_day <= 0 else nan

    def conditions(self) -> Mapping[str, StandingCondition]:
        """The alarm, by its id, where it holds."""
        days = self.days_left
        self._warns = days < (CALM_DAYS if self._warns else WARN_DAYS)
        if not self._warns:
            return {}
        values = {"days": int(days)}
        return {ALARM: StandingCondition(ALARM, CITY, "disk", disk_full_in(int(days), self.bytes_a_day), values)}
