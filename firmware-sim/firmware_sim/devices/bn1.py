"""BN-1, the waste bin: JSON on `bins/<serial>/up`.

Promises: payloads byte for byte as DATASHEETS.md shows them, in its order of keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from firmware_sim.devices.uplink import Message, decimals
from firmware_sim.faults import Faults, Kind
from firmware_sim.ledger import Value
from firmware_sim.physics.bin import Bin


class Bn1:
    """One bin's sensor."""

    def __init__(self, device: str, serial: str, waste: Bin, faults: Faults, now_s: Callable[[], float]) -> None:
        self.topic = f"bins/{serial}/up"
        self._device = device
        self._bin = waste
        self._faults = faults
        self._now_s = now_s

    def measure(self) -> dict[str, Value]:
        """All values now."""
        waste = self._bin
        waste.broken = self._faults.active(self._device, Kind.FAILURE) is not None
        waste.advance(self._now_s())
        return {
            "fill_level": waste.seen_pct(),
            "temperature": waste.temperature_c(),
            "battery_voltage": waste.battery_v(),
            "tilted": waste.tilted(),
            "lid": "open" if waste.lid_open() else "closed",
        }

    def message(self, n: int, values: Mapping[str, Value]) -> Message:
        """The uplink with this number."""
        fill, fill_level = decimals(values["fill_level"], 1)
        temp, temperature = decimals(values["temperature"], 2)
        bat, battery_voltage = decimals(values["battery_voltage"], 2)
        tilted, lid = bool(values["tilted"]), str(values["lid"])
        text = f'{{"n": {n}, "fill": {fill}, "temp": {temp}, "bat": {bat}, '
        text += f'"tilt": {"true" if tilted else "false"}, "lid": "{lid}"}}'
        points: dict[str, Value] = {
            "n": n,
            "fill_level": fill_level,
            "temperature": temperature,
            "battery_voltage": battery_voltage,
            "tilted": tilted,
            "lid": lid,
        }
        return Message(text.encode(), points)
