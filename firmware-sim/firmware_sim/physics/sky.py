"""Where the sun stands: the low-precision formulas of the Astronomical Almanac.

Promises: within a few hundredths of a degree between 1950 and 2050, which moves a dusk by seconds.
"""

from __future__ import annotations

import math

_J2000_S = 946_728_000.0  # 2000-01-01T12:00:00Z
_DAY_S = 86_400.0


def sun_elevation_deg(time_s: float, lon: float, lat: float) -> float:
    """Elevation of the sun's centre above the horizon, in degrees, without refraction."""
    days = (time_s - _J2000_S) / _DAY_S
    mean_longitude = math.radians((280.460 + 0.985_647_4 * days) % 360.0)
    anomaly = math.radians((357.528 + 0.985_600_3 * days) % 360.0)
    longitude = mean_longitude + math.radians(1.915 * math.sin(anomaly) + 0.020 * math.sin(2.0 * anomaly))
    obliquity = math.radians(23.439 - 0.000_000_4 * days)
    declination = math.asin(math.sin(obliquity) * math.sin(longitude))
    right_ascension = math.atan2(math.cos(obliquity) * math.sin(longitude), math.cos(longitude))
    sidereal = math.radians((280.460_618_37 + 360.985_647_366_29 * days + lon) % 360.0)
    hour_angle = sidereal - right_ascension
    latitude = math.radians(lat)
    sine = math.sin(latitude) * math.sin(declination)
    sine += math.cos(latitude) * math.cos(declination) * math.cos(hour_angle)
    return math.degrees(math.asin(max(-1.0, min(1.0, sine))))
