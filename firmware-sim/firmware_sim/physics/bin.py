"""A waste bin on the pavement: people fill it, a lorry empties it.

Promises: between two emptyings the level never falls by more than the sensor's own noise; it stays within
0 and 100 %.
"""

from __future__ import annotations

from firmware_sim.physics.battery import Battery
from firmware_sim.physics.noise import Noise
from firmware_sim.physics.steps import steps
from firmware_sim.physics.world import HOUR_S, World

FULL_PCT = 100.0
_ROUND_FROM_H, _ROUND_TO_H = 5.5, 7.0
_WORTH_EMPTYING_PCT = 30.0
_STEP_S = 300.0
_LID_SLOT_S = 8.0


class Bin:
    """One bin with an ultrasonic level sensor in its lid."""

    def __init__(self, world: World, noise: Noise, start_s: float) -> None:
        self._world = world
        self._noise = noise
        self._rate_pct_per_h = noise.between("rate", 2.5, 9.0)
        self._round_h = noise.between("round", _ROUND_FROM_H, _ROUND_TO_H)
        self._battery = Battery(noise, start_s, full_v=3.65, empty_v=2.9, life_years=5.0)
        self.level_pct = noise.between("level", 5.0, 85.0)
        self._emptied_day = world.local_day(start_s) if world.local_hour(start_s) > self._round_h else None
        self.broken = False
        self.now_s = start_s

    def advance(self, time_s: float) -> None:
        """Live on to this moment."""
        for end_s, length_s in steps(self.now_s, time_s, _STEP_S):
            rate = self._rate_pct_per_h * (0.05 + 1.6 * self._world.traffic(end_s))
            self.level_pct = min(FULL_PCT, self.level_pct + rate * length_s / HOUR_S)
            day = self._world.local_day(end_s)
            if day != self._emptied_day and self._world.local_hour(end_s) >= self._round_h:
                self._emptied_day = day
                if self.level_pct >= _WORTH_EMPTYING_PCT:
                    self.level_pct = self._noise.chance("rest", day) * 3.0
        self.now_s = max(self.now_s, time_s)

    def seen_pct(self) -> float:
        """What the ultrasonic sensor makes of it: a little unsteady."""
        return min(FULL_PCT, max(0.0, self.level_pct + 0.25 * self._noise.smooth("echo", self.now_s, 20.0)))

    def temperature_c(self) -> float:
        """Inside the lid: warmer than the air when the sun shines on it."""
        sun = max(0.0, self._world.sun_deg(self.now_s)) / 60.0
        return self._world.temperature_c(self.now_s) + 7.0 * sun + 0.3 * self._noise.smooth("lid", self.now_s, 120.0)

    def battery_v(self) -> float:
        """Battery voltage at the lid's temperature."""
        return self._battery.voltage_v(self.now_s, self.temperature_c())

    def lid_open(self) -> bool:
        """Somebody is just throwing something in."""
        slot = int(self.now_s // _LID_SLOT_S)
        return self._noise.chance("lid", slot) < 0.002 + 0.05 * self._world.traffic(self.now_s)

    def tilted(self) -> bool:
        """Knocked over: only a scheduled failure does that."""
        return self.broken
