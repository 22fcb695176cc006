"""Windows: between which sizes values of a unit usually lie in a street, whatever its sign. Pure.

Wider than any device that is well, and far narrower than what four random bytes can be. Units are UCUM codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wire.device import Point

WINDOWS: Final[Mapping[str, tuple[float, float]]] = {
    "V": (0.5, 1_000), "mV": (100, 100_000), "kV": (0.05, 50), "A": (0.001, 2_000), "mA": (0.1, 100_000),
    "W": (0.05, 500_000), "kW": (0.001, 2_000), "V.A": (0.05, 500_000), "V.A{reactive}": (0.01, 500_000),
    "kW.h": (0.001, 100_000_000), "W.h": (1, 4e9), "MW.h": (0.001, 1e6), "Hz": (45, 66),
    "Cel": (0.05, 85), "K": (220, 360), "%": (0.01, 100), "hPa": (850, 1_090), "Pa": (85_000, 109_000),
    "kPa": (85, 109), "bar": (0.1, 40), "ug/m3": (0.05, 1_000), "[ppm]": (1, 10_000), "ppm": (1, 10_000),
    "dB[SPL]": (20, 130), "dB{mW}": (1, 130), "dB": (0.1, 150), "lx": (0.1, 150_000), "uS/cm": (1, 20_000),
    "[g]": (0.001, 4),
    "m": (0.01, 100), "cm": (0.5, 10_000), "mm": (0.5, 100_000), "m/s": (0.05, 75), "deg": (0.1, 360),
    "s": (1, 1e9), "min": (1, 1e8), "h": (1, 1e6), "/min": (1, 10_000), "L": (0.1, 1e8), "m3": (0.001, 1e8),
}  # fmt: skip
SLOW: Final = frozenset({"V", "Hz", "Cel", "K", "hPa", "Pa", "kPa", "kW.h", "W.h", "MW.h"})
"""Units whose values do not change by half within seconds."""
UNKNOWN: Final = (0.001, 1e7)  # of a number whose unit nobody has written


def window(point: Point) -> tuple[float, float]:
    """Least and greatest size that is usual for a point: that of its unit, as far as its own range allows."""
    low, high = WINDOWS.get(point.unit, UNKNOWN)
    if point.low is not None and point.low > 0:
        low = max(low, point.low)
    if point.high is not None:
        high = min(high, max(abs(point.high), abs(point.low or 0)))
    return (low, high) if low < high else (low, low * 1.001)
