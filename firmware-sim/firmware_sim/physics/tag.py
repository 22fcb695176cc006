"""A small battery-driven tag on a lamp post: climate, pressure, and how it hangs.

Promises: a function of street time but for the movement counter, which only grows.
"""

from __future__ import annotations

from firmware_sim.physics.battery import Battery
from firmware_sim.physics.noise import Noise
from firmware_sim.physics.world import World

TX_POWER_DBM = 4


class Tag:
    """One tag."""

    def __init__(self, world: World, noise: Noise, start_s: float) -> None:
        self._world = world
        self._noise = noise
        self._battery = Battery(noise, start_s, full_v=3.05, empty_v=2.3, life_years=2.5)
        self._offset_c = noise.between("offset", -0.8, 1.2)
        self._lean = (noise.between("lean x", -0.08, 0.08), noise.between("lean y", -0.08, 0.08))
        self._last_minute = int(start_s // 60.0)
        self.movements = 0

    def temperature_c(self, time_s: float) -> float:
        """Temperature at the tag."""
        return self._world.temperature_c(time_s) + self._offset_c + 0.15 * self._noise.smooth("t", time_s, 60.0)

    def humidity_pct(self, time_s: float) -> float:
        """Relative humidity at the tag."""
        return min(100.0, max(0.0, self._world.humidity_pct(time_s) + 0.5 * self._noise.smooth("rh", time_s, 80.0)))

    def pressure_pa(self, time_s: float) -> float:
        """Air pressure at the tag."""
        return self._world.pressure_pa(time_s) + 4.0 * self._noise.smooth("pa", time_s, 20.0)

    def acceleration_g(self, time_s: float) -> tuple[float, float, float]:
        """Gravity as the tag hangs, and the wind in the post."""
        shake = [0.006 * self._noise.smooth(f"shake {axis}", time_s, 1.5) for axis in range(3)]
        return self._lean[0] + shake[0], self._lean[1] + shake[1], 0.995 + shake[2]

    def battery_v(self, time_s: float) -> float:
        """Battery voltage in the cold that it is."""
        return self._battery.voltage_v(time_s, self.temperature_c(time_s))

    def charge_pct(self, time_s: float) -> float:
        """What is left in the battery."""
        return 100.0 * self._battery.charge(time_s)

    def movement_counter(self, time_s: float) -> int:
        """How often something bumped against the post, now and then."""
        minute = int(time_s // 60.0)
        if minute > self._last_minute:
            self._last_minute = minute
            self.movements += self._noise.chance("bump", minute) < 0.1
        return self.movements
