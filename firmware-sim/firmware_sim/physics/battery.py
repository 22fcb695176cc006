"""A lithium cell that lasts years and sags in the cold.

Promises: the open voltage never rises with age; cold takes a little off, and warmth gives it back.
"""

from __future__ import annotations

from firmware_sim.physics.noise import Noise
from firmware_sim.physics.world import YEAR_S

_FLAT_SHARE = 0.85  # a lithium cell holds its voltage for most of its life


class Battery:
    """One cell, `full_v` when new and `empty_v` at the end of its life."""

    def __init__(self, noise: Noise, start_s: float, full_v: float, empty_v: float, life_years: float) -> None:
        self._full_v = full_v
        self._empty_v = empty_v
        self._life_s = life_years * YEAR_S
        self._born_s = start_s - noise.between("battery age", 0.02, 0.6) * self._life_s

    def charge(self, time_s: float) -> float:
        """What is left of its life, 0 to 1."""
        return min(1.0, max(0.0, 1.0 - (time_s - self._born_s) / self._life_s))

    def voltage_v(self, time_s: float, temperature_c: float) -> float:
        """Voltage under the device's load at this temperature."""
        used = 1.0 - self.charge(time_s)
        span = self._full_v - self._empty_v
        plateau = 0.2 * span * min(1.0, used / _FLAT_SHARE)
        knee = 0.8 * span * max(0.0, used - _FLAT_SHARE) / (1.0 - _FLAT_SHARE)
        cold = 0.002 * max(0.0, 20.0 - temperature_c)
        return self._full_v - plateau - knee - cold
