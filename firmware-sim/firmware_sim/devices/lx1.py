"""LX-1, the streetlight controller: its register table and what may be written to it.

Promises: registers 0 to 19 as DATASHEETS.md draws them; only the dim level and the operating mode can be
written, and a value outside their range is refused whole with exception 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from firmware_sim.faults import Faults, Kind
from firmware_sim.ledger import Value
from firmware_sim.modbus import READ_HOLDING, Refusal
from firmware_sim.physics.lamp import Lamp, Mode
from firmware_sim.registers import Field

MODEL = 0x4C58
FIRMWARE = 2 << 8 | 3
MAX_DIM = 1_000
_DIM_LEVEL, _MODE = 2, 14


class Lx1:
    """One controller around one lamp."""

    reads = READ_HOLDING
    size = 20
    table: Sequence[Field] = (
        Field("model", 0, "u16"),
        Field("status", 1, "bits", names=("lamp_on", "lamp_fault", "driver_overtemperature", "dark")),
        Field("dim_level", _DIM_LEVEL, "u16", 10),
        Field("dim_reached", 3, "u16", 10),
        Field("active_power", 4, "f32_cdab"),
        Field("supply_voltage", 6, "u16", 10),
        Field("supply_current", 7, "u16"),
        Field("driver_temperature", 8, "i16", 10),
        Field("power_factor", 9, "u16", 1_000),
        Field("active_energy", 10, "u32"),
        Field("operating_time", 12, "u32"),
        Field("mode", _MODE, "enum", names=("automatic", "manual", "safe")),
        Field("answers", 16, "u32"),
        Field("passages", 18, "u16"),
        Field("firmware_version", 19, "u16"),
    )

    def __init__(self, device: str, lamp: Lamp, faults: Faults, now_s: Callable[[], float]) -> None:
        self._device = device
        self._lamp = lamp
        self._faults = faults
        self._now_s = now_s

    def measure(self) -> dict[str, Value]:
        """All values now."""
        lamp = self._lamp
        lamp.broken = self._faults.active(self._device, Kind.FAILURE) is not None
        lamp.advance(self._now_s())
        return {
            "model": MODEL,
            "lamp_on": lamp.reached_pct > 0.0,
            "lamp_fault": lamp.broken,
            "driver_overtemperature": lamp.overheated,
            "dark": lamp.dark,
            "dim_level": lamp.dim_pct,
            "dim_reached": lamp.reached_pct,
            "active_power": lamp.power_w(),
            "supply_voltage": lamp.voltage_v(),
            "supply_current": lamp.current_a() * 1_000.0,
            "driver_temperature": lamp.driver_c,
            "power_factor": lamp.power_factor(),
            "active_energy": int(lamp.energy_wh),
            "operating_time": int(lamp.burned_s // 60.0),
            "mode": lamp.mode.name.lower(),
            "passages": lamp.passages_per_min(),
            "firmware_version": FIRMWARE,
        }

    def write(self, address: int, words: Sequence[int]) -> Refusal | None:
        """Set dim level or mode; they are not neighbours, so one write reaches one of them."""
        if len(words) != 1 or address not in {_DIM_LEVEL, _MODE}:
            return Refusal.ILLEGAL_ADDRESS
        word = words[0]
        self._lamp.advance(self._now_s())
        if address == _DIM_LEVEL:
            if word > MAX_DIM:
                return Refusal.ILLEGAL_VALUE
            self._lamp.dim_pct = word / 10
            return None
        if word > max(Mode):
            return Refusal.ILLEGAL_VALUE
        self._lamp.mode = Mode(word)
        return None

    def restart(self) -> None:
        """Back to automatic at the default level."""
        self._lamp.advance(self._now_s())
        self._lamp.restart()
