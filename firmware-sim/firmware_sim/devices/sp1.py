"""SP-1, the soil probe: one GATT service with a measurement to read and an interval to set.

Promises: 13 little-endian bytes as DATASHEETS.md draws them; it measures anew at most once an interval, and
what lies between two measurements repeats the last.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from firmware_sim.devices.advert import Advert
from firmware_sim.faults import Faults, Kind
from firmware_sim.ledger import Value
from firmware_sim.physics.soil import Soil

SERVICE = "7a1e0001-5a6d-4c61-9b7e-6c616d700001"
MEASUREMENT = "7a1e0002-5a6d-4c61-9b7e-6c616d700001"
INTERVAL = "7a1e0003-5a6d-4c61-9b7e-6c616d700001"
MIN_INTERVAL_S, MAX_INTERVAL_S, DEFAULT_INTERVAL_S = 10, 3_600, 10
_LAYOUT = "<IhHHHB"


class Sp1:
    """One probe."""

    def __init__(self, device: str, soil: Soil, faults: Faults, now_s: Callable[[], float]) -> None:
        self._device = device
        self._soil = soil
        self._faults = faults
        self._now_s = now_s
        self.interval_s = DEFAULT_INTERVAL_S
        self._measured_s = float("-inf")
        self._last: dict[str, Value] = {}

    def measure(self) -> dict[str, Value]:
        """The last measurement, a fresh one if the interval is over."""
        now_s = self._now_s()
        if now_s - self._measured_s >= self.interval_s:
            self._measured_s = now_s
            self._soil.advance(now_s)
            self._last = {
                "soil_temperature": self._soil.seen_temperature_c(),
                "soil_moisture": self._soil.seen_moisture_pct(),
                "conductivity": self._soil.conductivity_us(),
                "battery_voltage": self._soil.battery_v(),
            }
        return {**self._last, "probe_fault": self._faults.active(self._device, Kind.FAILURE) is not None}

    def restart(self) -> None:
        """The interval is volatile."""
        self.interval_s = DEFAULT_INTERVAL_S

    def measurement(self, n: int, values: Mapping[str, Value]) -> tuple[bytes, dict[str, Value]]:
        """The characteristic's bytes, and what a reader finds in them."""
        temperature = round(float(values["soil_temperature"]) * 100)
        moisture = round(float(values["soil_moisture"]) * 100)
        conductivity = round(float(values["conductivity"]))
        millivolts = round(float(values["battery_voltage"]) * 1_000)
        fault = bool(values["probe_fault"])
        data = struct.pack(_LAYOUT, n, temperature, moisture, conductivity, millivolts, fault)
        return data, {
            "answers": n,
            "soil_temperature": temperature / 100,
            "soil_moisture": moisture / 100,
            "conductivity": conductivity,
            "battery_voltage": millivolts / 1_000,
            "probe_fault": fault,
        }

    def advert(self) -> Advert:
        """What it sends out to be found; there is no value in it."""
        return Advert(uuids=(SERVICE,), name="SP-1")
