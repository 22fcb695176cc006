"""RuuviTag, data format 5 (RAWv2): 24 bytes of manufacturer data of company 0x0499.

Promises: encoded as Ruuvi's format page says, big-endian; the measurement sequence is the packet id and runs
from 0 to 65534, for 65535 means "not available". Ledger units: °C, %, Pa, g, V, dBm.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from firmware_sim.devices.advert import Advert
from firmware_sim.ledger import Value
from firmware_sim.physics.tag import TX_POWER_DBM, Tag

COMPANY = 0x0499
_FORMAT = 5
_PRESSURE_BASE_PA = 50_000
_BATTERY_BASE_MV = 1_600
_TX_BASE_DBM, _TX_STEP_DBM, _TX_BITS = -40, 2, 5
_AXES = ("acceleration_x", "acceleration_y", "acceleration_z")


class Ruuvitag:
    """One RuuviTag."""

    first, last = 0, 65_534

    def __init__(self, address: str, tag: Tag, now_s: Callable[[], float]) -> None:
        self._address = bytes.fromhex(address.replace(":", ""))
        self._tag = tag
        self._now_s = now_s

    def measure(self) -> dict[str, Value]:
        """All values now."""
        now_s, tag = self._now_s(), self._tag
        return {
            "temperature": tag.temperature_c(now_s),
            "relative_humidity": tag.humidity_pct(now_s),
            "pressure": tag.pressure_pa(now_s),
            **dict(zip(_AXES, tag.acceleration_g(now_s), strict=True)),
            "battery_voltage": tag.battery_v(now_s),
            "tx_power": TX_POWER_DBM,
            "movement_counter": tag.movement_counter(now_s),
        }

    def advert(self, n: int, values: Mapping[str, Value]) -> Advert:
        """The advert with this sequence number."""
        temperature = round(float(values["temperature"]) * 200)
        humidity = round(float(values["relative_humidity"]) * 400)
        pressure = round(float(values["pressure"])) - _PRESSURE_BASE_PA
        milli_g = [round(float(values[axis]) * 1_000) for axis in _AXES]
        millivolts = round(float(values["battery_voltage"]) * 1_000) - _BATTERY_BASE_MV
        tx_step = (int(values["tx_power"]) - _TX_BASE_DBM) // _TX_STEP_DBM
        moved = int(values["movement_counter"]) % 255  # 255 means "not available"
        data = struct.pack(
            ">BhHHhhhHBH",
            _FORMAT,
            temperature,
            humidity,
            pressure,
            *milli_g,
            millivolts << _TX_BITS | tx_step,
            moved,
            n,
        )
        points: dict[str, Value] = {
            "temperature": temperature / 200,
            "relative_humidity": humidity / 400,
            "pressure": pressure + _PRESSURE_BASE_PA,
            **{axis: value / 1_000 for axis, value in zip(_AXES, milli_g, strict=True)},
            "battery_voltage": (millivolts + _BATTERY_BASE_MV) / 1_000,
            "tx_power": tx_step * _TX_STEP_DBM + _TX_BASE_DBM,
            "movement_counter": moved,
            "sequence": n,
        }
        return Advert(n=n, points=points, manufacturer={COMPANY: data + self._address})
