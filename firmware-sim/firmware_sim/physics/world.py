"""What all devices of a street share: sun, weather, traffic and mains.

Promises: every quantity is a function of street time alone and stays inside the bounds named here.
"""

from __future__ import annotations

import math

from firmware_sim.physics.noise import Noise
from firmware_sim.physics.sky import sun_elevation_deg

HOUR_S = 3_600.0
DAY_S = 24.0 * HOUR_S
YEAR_S = 365.25 * DAY_S
NOMINAL_VOLTAGE_V = 230.0
NOMINAL_FREQUENCY_HZ = 50.0
_COLDEST_DAY_S = 15.0 * DAY_S  # mid-January
_MORNING_H, _EVENING_H = 8.2, 17.9


class World:
    """The street's surroundings at one place."""

    def __init__(self, seed: int, lon: float, lat: float, utc_offset_h: float) -> None:
        self.lon = lon
        self.lat = lat
        self._utc_offset_s = utc_offset_h * HOUR_S
        self._noise = Noise(seed, "world")

    def local_hour(self, time_s: float) -> float:
        """Local time of day in hours, 0 to 24."""
        return ((time_s + self._utc_offset_s) % DAY_S) / HOUR_S

    def local_day(self, time_s: float) -> int:
        """The number of the local day since 1970."""
        return int((time_s + self._utc_offset_s) // DAY_S)

    def sun_deg(self, time_s: float) -> float:
        """Elevation of the sun in degrees."""
        return sun_elevation_deg(time_s, self.lon, self.lat)

    def temperature_c(self, time_s: float) -> float:
        """Air temperature: season, time of day (warmest at three in the afternoon) and weather."""
        season = -math.cos(2.0 * math.pi * (time_s - _COLDEST_DAY_S) / YEAR_S)
        hemisphere = 1.0 if self.lat >= 0.0 else -1.0
        day = math.cos(2.0 * math.pi * (self.local_hour(time_s) - 15.0) / 24.0)
        weather = self._noise.smooth("front", time_s, 60.0 * HOUR_S)
        gust = self._noise.smooth("gust", time_s, 400.0)
        return 11.5 + 9.0 * hemisphere * season + 4.0 * day + 3.5 * weather + 0.3 * gust

    def humidity_pct(self, time_s: float) -> float:
        """Relative humidity, 20 to 99: falls when the day warms up."""
        day = math.cos(2.0 * math.pi * (self.local_hour(time_s) - 15.0) / 24.0)
        weather = self._noise.smooth("moist", time_s, 30.0 * HOUR_S)
        gust = self._noise.smooth("moist gust", time_s, 300.0)
        return min(99.0, max(20.0, 72.0 - 13.0 * day + 12.0 * weather + 0.8 * gust))

    def pressure_pa(self, time_s: float) -> float:
        """Air pressure at street level, about 245 m above the sea."""
        return 98_600.0 + 1_400.0 * self._noise.smooth("pressure", time_s, 50.0 * HOUR_S)

    def rain(self, time_s: float) -> float:
        """How hard it rains, 0 to 1; mostly it does not."""
        return max(0.0, self._noise.smooth("rain", time_s, 9.0 * HOUR_S) - 0.6) / 0.4

    def traffic(self, time_s: float) -> float:
        """How busy the street is, 0 to 1: two peaks on working days, one broad hump at the week-end."""
        hour = self.local_hour(time_s)
        weekday = (self.local_day(time_s) + 3) % 7  # day 0 was a Thursday
        if weekday < 5:
            busy = (
                0.75 * _hump(hour, _MORNING_H, 1.3)
                + 0.85 * _hump(hour, _EVENING_H, 1.7)
                + 0.35 * _hump(hour, 13.0, 4.0)
            )
        else:
            busy = 0.55 * _hump(hour, 15.0, 4.0)
        ripple = 1.0 + 0.15 * self._noise.smooth("traffic", time_s, 240.0)
        return min(1.0, (0.03 + busy) * ripple)

    def voltage_v(self, time_s: float, phase: int) -> float:
        """Mains voltage of one phase: sags a little when everybody is at home."""
        evening = _hump(self.local_hour(time_s), 19.5, 2.5)
        slow = self._noise.smooth(f"mains {phase}", time_s, 900.0)
        fast = self._noise.smooth(f"flicker {phase}", time_s, 7.0)
        return NOMINAL_VOLTAGE_V + 2.0 - 4.5 * evening + 2.2 * slow + 0.5 * fast

    def frequency_hz(self, time_s: float) -> float:
        """Grid frequency, within 50 mHz of nominal."""
        return (
            NOMINAL_FREQUENCY_HZ
            + 0.03 * self._noise.smooth("grid", time_s, 90.0)
            + 0.01 * self._noise.smooth("hum", time_s, 4.0)
        )


def _hump(hour: float, centre: float, width: float) -> float:
    distance = (hour - centre + 12.0) % 24.0 - 12.0
    return math.exp(-0.5 * (distance / width) ** 2)
