"""The ground under a street tree: slow warmth, rain in, thirst out.

Promises: moisture stays within 0 and 60 % by volume; temperature follows the air with a day's delay.
"""

from __future__ import annotations

import math

from firmware_sim.physics.battery import Battery
from firmware_sim.physics.noise import Noise
from firmware_sim.physics.steps import steps
from firmware_sim.physics.world import DAY_S, HOUR_S, World

_STEP_S = 600.0
_WARMTH_TAU_S = 20.0 * HOUR_S
_DRYING_PER_DAY = 0.05
_SATURATED_PCT = 44.0
_WILTING_PCT = 6.0


class Soil:
    """The root zone of one tree pit with a probe in it."""

    def __init__(self, world: World, noise: Noise, start_s: float) -> None:
        self._world = world
        self._noise = noise
        self._battery = Battery(noise, start_s, full_v=3.10, empty_v=2.2, life_years=3.0)
        self.temperature_c = sum(world.temperature_c(start_s - hour * HOUR_S) for hour in range(24)) / 24.0
        self.moisture_pct = noise.between("moisture", 16.0, 34.0)
        self.broken = False
        self.now_s = start_s

    def advance(self, time_s: float) -> None:
        """Live on to this moment."""
        for end_s, length_s in steps(self.now_s, time_s, _STEP_S):
            air_c = self._world.temperature_c(end_s)
            self.temperature_c += (air_c - self.temperature_c) * (1.0 - math.exp(-length_s / _WARMTH_TAU_S))
            rain = self._world.rain(end_s) * 3.0 * length_s / HOUR_S
            drying = (self.moisture_pct - _WILTING_PCT) * _DRYING_PER_DAY * length_s / DAY_S
            self.moisture_pct = min(_SATURATED_PCT, max(_WILTING_PCT, self.moisture_pct + rain - drying))
        self.now_s = max(self.now_s, time_s)

    def seen_temperature_c(self) -> float:
        """The probe's own reading."""
        return self.temperature_c + 0.03 * self._noise.smooth("soil", self.now_s, 30.0)

    def seen_moisture_pct(self) -> float:
        """The probe's own reading."""
        return self.moisture_pct + 0.06 * self._noise.smooth("wet", self.now_s, 25.0)

    def conductivity_us(self) -> float:
        """Electrical conductivity in µS/cm: salt moves only in water."""
        return 90.0 + 21.0 * self.moisture_pct + 4.0 * self._noise.smooth("salt", self.now_s, 200.0)

    def battery_v(self) -> float:
        """Battery voltage at the ground's temperature."""
        return self._battery.voltage_v(self.now_s, self.temperature_c)
