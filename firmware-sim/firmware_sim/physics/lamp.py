"""A dimmable LED luminaire behind a controller with a photocell.

Promises: the light follows its target at 20 %/s; power, current, heat, energy and operating time follow the
light; state only moves forward in street time. Modes: automatic burns at the dim level while the photocell
sees dark, manual burns at the dim level always, safe burns at full light always.
"""

from __future__ import annotations

import math
from enum import IntEnum

from firmware_sim.physics.noise import Noise
from firmware_sim.physics.steps import steps
from firmware_sim.physics.world import World

SLEW_PCT_PER_S = 20.0
DARK_BELOW_DEG = -0.8
LIGHT_ABOVE_DEG = 0.4
OVERTEMPERATURE_C = 75.0
RECOVERED_C = 68.0
DEFAULT_DIM_PCT = 100.0
_STANDBY_W = 0.6
_HEAT_TAU_S = 900.0
_HEAT_AT_FULL_K = 31.0
_STEP_S = 5.0


class Mode(IntEnum):
    """Operating mode as register 14 counts it."""

    AUTOMATIC = 0
    MANUAL = 1
    SAFE = 2


class Lamp:
    """One luminaire; `phase` is the mains phase (0, 1 or 2) that it hangs on."""

    def __init__(self, world: World, noise: Noise, start_s: float, phase: int) -> None:
        self._world = world
        self._noise = noise
        self.phase = phase
        self.rated_w = noise.between("rated", 56.0, 64.0)
        self._cell_offset_deg = noise.between("photocell", -0.25, 0.25)
        self.mode = Mode.AUTOMATIC
        self.dim_pct = DEFAULT_DIM_PCT
        self.broken = False
        self.dark = world.sun_deg(start_s) < (DARK_BELOW_DEG + LIGHT_ABOVE_DEG) / 2.0
        self.reached_pct = self._target_pct()
        self.driver_c = world.temperature_c(start_s) + _HEAT_AT_FULL_K * self.power_w() / self.rated_w
        self.overheated = False
        self.burned_s = noise.between("burned", 4_000.0, 16_000.0) * 3_600.0
        self.energy_wh = self.burned_s / 3_600.0 * self.rated_w * 0.7
        self.now_s = start_s

    def advance(self, time_s: float) -> None:
        """Live on to this moment."""
        for end_s, length_s in steps(self.now_s, time_s, _STEP_S):
            self._see(end_s)
            self._step(end_s, length_s)
        self.now_s = max(self.now_s, time_s)

    def restart(self) -> None:
        """Forget what is volatile, as in a power cycle: automatic, at the default level, dark until it slews up."""
        self.mode = Mode.AUTOMATIC
        self.dim_pct = DEFAULT_DIM_PCT
        self.reached_pct = 0.0

    def power_w(self) -> float:
        """Active power of lamp, driver and controller."""
        if self.reached_pct <= 0.0:
            return _STANDBY_W
        share = self.reached_pct / 100.0
        return _STANDBY_W + self.rated_w * (0.07 + 0.93 * share**1.08)

    def power_factor(self) -> float:
        """Poor when the driver idles, near one at full load."""
        load = self.power_w() / self.rated_w
        return min(0.985, 0.42 + 0.565 * (1.0 - math.exp(-4.5 * load)))

    def voltage_v(self) -> float:
        """Mains at the lamp: its phase's voltage less a little for the cable."""
        return self._world.voltage_v(self.now_s, self.phase) - self._noise.between("cable", 0.2, 2.4)

    def current_a(self) -> float:
        """Current drawn, reactive part included."""
        return self.power_w() / (self.voltage_v() * self.power_factor())

    def passages_per_min(self) -> int:
        """What the motion sensor counted in the last full minute."""
        minute = int(self.now_s // 60.0)
        mean = 22.0 * self._world.traffic(self.now_s)
        return max(0, round(mean + 1.8 * math.sqrt(mean) * (2.0 * self._noise.chance("passages", minute) - 1.0)))

    def _target_pct(self) -> float:
        if self.broken:
            return 0.0
        if self.mode is Mode.SAFE:
            return 100.0
        if self.mode is Mode.MANUAL or self.dark:
            return self.dim_pct
        return 0.0

    def _see(self, time_s: float) -> None:
        elevation = self._world.sun_deg(time_s) + self._cell_offset_deg
        if elevation < DARK_BELOW_DEG:
            self.dark = True
        elif elevation > LIGHT_ABOVE_DEG:
            self.dark = False

    def _step(self, end_s: float, length_s: float) -> None:
        target, most = self._target_pct(), SLEW_PCT_PER_S * length_s
        self.reached_pct += max(-most, min(most, target - self.reached_pct))
        watts = self.power_w()
        self.energy_wh += watts * length_s / 3_600.0
        if self.reached_pct > 0.0:
            self.burned_s += length_s
        settled_c = self._world.temperature_c(end_s) + _HEAT_AT_FULL_K * watts / self.rated_w
        self.driver_c += (settled_c - self.driver_c) * (1.0 - math.exp(-length_s / _HEAT_TAU_S))
        self.overheated = self.driver_c > (RECOVERED_C if self.overheated else OVERTEMPERATURE_C)
