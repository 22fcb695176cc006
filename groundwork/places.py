"""Places: longitude and latitude in WGS 84 degrees, both or neither."""

from __future__ import annotations


def why_no_place(lon: float | None, lat: float | None) -> tuple[str, str] | None:
    """Which of the two is wrong, and why; None where they are a place, or none at all."""
    if lon is None and lat is None:
        return None
    for name, value, most in (("lon", lon, 180), ("lat", lat, 90)):
        if value is None:
            return name, "is missing: a place has both lon and lat; write both, or neither"
        if not -most <= value <= most:  # so it is for NaN
            return name, f"is {value:g}; it lies from -{most} to {most} degrees"
    return None
