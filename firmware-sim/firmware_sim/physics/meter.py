"""The cabinet's supply: what three phases carry, as a meter sees it.

Promises: each phase carries the lamps that hang on it and a base load; imported energy never falls, exported
energy never grows (nothing in the street feeds back).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from firmware_sim.physics.lamp import Lamp
from firmware_sim.physics.noise import Noise
from firmware_sim.physics.steps import steps
from firmware_sim.physics.world import World

PHASES = 3
_BASE_W = 140.0
_BASE_FACTOR = 0.93
_STEP_S = 10.0


class Supply:
    """Three phases behind one meter."""

    def __init__(self, world: World, noise: Noise, start_s: float, lamps: Sequence[Lamp]) -> None:
        self._world = world
        self._noise = noise
        self._lamps = tuple(tuple(lamp for lamp in lamps if lamp.phase == phase) for phase in range(PHASES))
        self.import_kwh = noise.between("import", 900.0, 42_000.0)
        self.export_kwh = 0.0
        self.now_s = start_s

    def advance(self, time_s: float) -> None:
        """Live on to this moment, and the lamps with it."""
        for end_s, length_s in steps(self.now_s, time_s, _STEP_S):
            for lamp in (lamp for phase in self._lamps for lamp in phase):
                lamp.advance(end_s)
            watts = sum(self.phase_w(phase, end_s) for phase in range(PHASES))
            self.import_kwh += watts * length_s / 3_600_000.0
        self.now_s = max(self.now_s, time_s)

    def phase_w(self, phase: int, time_s: float) -> float:
        """Active power of one phase."""
        ripple = 1.0 + 0.08 * self._noise.smooth(f"base {phase}", time_s, 45.0)
        return _BASE_W * ripple + sum(lamp.power_w() for lamp in self._lamps[phase])

    def phase_va(self, phase: int, time_s: float) -> float:
        """Apparent power of one phase: active and reactive parts added as vectors."""
        base_w = self.phase_w(phase, time_s) - sum(lamp.power_w() for lamp in self._lamps[phase])
        reactive = base_w * math.tan(math.acos(_BASE_FACTOR))
        reactive += sum(lamp.power_w() * math.tan(math.acos(lamp.power_factor())) for lamp in self._lamps[phase])
        return math.hypot(self.phase_w(phase, time_s), reactive)

    def voltage_v(self, phase: int, time_s: float) -> float:
        """Voltage of one phase at the cabinet."""
        return self._world.voltage_v(time_s, phase)

    def frequency_hz(self, time_s: float) -> float:
        """Grid frequency."""
        return self._world.frequency_hz(time_s)
