"""Air and noise at a street corner: traffic makes it, wind and rain take it away.

Promises: concentrations and sound levels are never negative, and follow the traffic of the same street.
"""

from __future__ import annotations

from firmware_sim.physics.noise import Noise
from firmware_sim.physics.world import World


class Corner:
    """One corner's air; a function of street time."""

    def __init__(self, world: World, noise: Noise) -> None:
        self._world = world
        self._noise = noise
        self._exposure = noise.between("exposure", 0.6, 1.4)

    def fumes(self, time_s: float) -> float:
        """Traffic of the last half hour as it hangs in the air, thinned by wind and rain."""
        lagged = sum(self._world.traffic(time_s - lag_s) for lag_s in (0.0, 600.0, 1_200.0, 1_800.0)) / 4.0
        wind = 1.0 + 0.4 * self._noise.smooth("wind", time_s, 1_500.0)
        return self._exposure * lagged * wind * (1.0 - 0.6 * self._world.rain(time_s))

    def pm2_5_ugm3(self, time_s: float) -> float:
        """Fine particles."""
        return max(0.0, 6.5 + 14.0 * self.fumes(time_s) + 1.1 * self._noise.smooth("pm2_5", time_s, 30.0))

    def pm10_ugm3(self, time_s: float) -> float:
        """Coarse particles, the fine ones included."""
        extra = 4.0 + 9.0 * self.fumes(time_s) + 1.0 * self._noise.smooth("pm10", time_s, 45.0)
        return self.pm2_5_ugm3(time_s) + max(0.0, extra)

    def no2_ugm3(self, time_s: float) -> float:
        """Nitrogen dioxide."""
        return max(0.0, 9.0 + 38.0 * self.fumes(time_s) + 2.0 * self._noise.smooth("no2", time_s, 40.0))

    def temperature_c(self, time_s: float) -> float:
        """Air temperature at the sensor."""
        return self._world.temperature_c(time_s) + 0.4 * self._noise.smooth("temperature", time_s, 180.0)

    def humidity_pct(self, time_s: float) -> float:
        """Relative humidity at the sensor."""
        return min(100.0, max(0.0, self._world.humidity_pct(time_s) + 0.9 * self._noise.smooth("rh", time_s, 150.0)))

    def sound_dba(self, time_s: float) -> float:
        """Sound level, A-weighted."""
        passing = max(0.0, self._noise.smooth("passing", time_s, 6.0)) * 6.0
        return 41.0 + 23.0 * self._world.traffic(time_s) ** 0.4 + passing
