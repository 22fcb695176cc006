"""TM-3, the three-phase energy meter: input registers laid out as on an Eastron SDM630.

Promises: registers 0 to 99 as DATASHEETS.md draws them, nothing writable. Sums are those of the phases shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from firmware_sim.ledger import Value
from firmware_sim.modbus import READ_INPUT, Refusal
from firmware_sim.physics.meter import PHASES, Supply
from firmware_sim.registers import Field


class Tm3:
    """One meter in front of one supply."""

    reads = READ_INPUT
    size = 100
    table: Sequence[Field] = (
        *(Field(f"voltage_l{phase + 1}", 2 * phase, "f32") for phase in range(PHASES)),
        *(Field(f"current_l{phase + 1}", 6 + 2 * phase, "f32") for phase in range(PHASES)),
        *(Field(f"active_power_l{phase + 1}", 12 + 2 * phase, "f32") for phase in range(PHASES)),
        Field("active_power", 52, "f32"),
        Field("apparent_power", 56, "f32"),
        Field("reactive_power", 60, "f32"),
        Field("power_factor", 62, "f32"),
        Field("frequency", 70, "f32"),
        Field("energy_import", 72, "f32"),
        Field("energy_export", 74, "f32"),
        Field("answers", 98, "u32"),
    )

    def __init__(self, supply: Supply, now_s: Callable[[], float]) -> None:
        self._supply = supply
        self._now_s = now_s

    def measure(self) -> dict[str, Value]:
        """All values now."""
        now_s, supply = self._now_s(), self._supply
        supply.advance(now_s)
        values: dict[str, Value] = {}
        active = apparent = reactive = 0.0
        for phase in range(PHASES):
            volts = supply.voltage_v(phase, now_s)
            watts, volt_amperes = supply.phase_w(phase, now_s), supply.phase_va(phase, now_s)
            values[f"voltage_l{phase + 1}"] = volts
            values[f"current_l{phase + 1}"] = volt_amperes / volts
            values[f"active_power_l{phase + 1}"] = watts
            active += watts
            apparent += volt_amperes
            reactive += max(0.0, volt_amperes**2 - watts**2) ** 0.5
        values["active_power"] = active
        values["apparent_power"] = apparent
        values["reactive_power"] = reactive
        values["power_factor"] = active / apparent
        values["frequency"] = supply.frequency_hz(now_s)
        values["energy_import"] = supply.import_kwh
        values["energy_export"] = supply.export_kwh
        return values

    def write(self, address: int, words: Sequence[int]) -> Refusal | None:  # noqa: ARG002
        """Nothing can be written."""
        return Refusal.ILLEGAL_FUNCTION

    def restart(self) -> None:
        """A meter keeps all it has: nothing is volatile."""
