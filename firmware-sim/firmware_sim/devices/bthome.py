"""A BTHome v2 thermometer: unencrypted service data of UUID 0xFCD2.

Promises: objects in ascending order as the format asks for: packet id, battery, temperature, humidity,
little-endian. The packet id is one byte and wraps from 255 to 0. Ledger units: %, °C, %.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from firmware_sim.devices.advert import Advert
from firmware_sim.ledger import Value
from firmware_sim.physics.tag import Tag

SERVICE = 0xFCD2
_VERSION_2_PLAIN = 0x40
_PACKET_ID, _BATTERY, _TEMPERATURE, _HUMIDITY = 0x00, 0x01, 0x02, 0x03


class Bthome:
    """One thermometer."""

    first, last = 0, 255

    def __init__(self, _address: str, tag: Tag, now_s: Callable[[], float]) -> None:
        self._tag = tag
        self._now_s = now_s

    def measure(self) -> dict[str, Value]:
        """All values now."""
        now_s, tag = self._now_s(), self._tag
        return {
            "battery": tag.charge_pct(now_s),
            "temperature": tag.temperature_c(now_s),
            "relative_humidity": tag.humidity_pct(now_s),
        }

    def advert(self, n: int, values: Mapping[str, Value]) -> Advert:
        """The advert with this packet id."""
        battery = round(float(values["battery"]))
        temperature = round(float(values["temperature"]) * 100)
        humidity = round(float(values["relative_humidity"]) * 100)
        data = struct.pack(
            "<BBBBBBhBH",
            _VERSION_2_PLAIN, _PACKET_ID, n, _BATTERY, battery, _TEMPERATURE, temperature, _HUMIDITY, humidity,
        )  # fmt: skip
        points: dict[str, Value] = {
            "packet_id": n,
            "battery": battery,
            "temperature": temperature / 100,
            "relative_humidity": humidity / 100,
        }
        return Advert(n=n, points=points, service_data={SERVICE: data})
