"""Looking: who speaks on the air, how loudly, and what the characteristics of one device hold that profiles know.

Bounds: MAX_HEARD addresses, the last ADVERTS different adverts of each; `Ask.seconds`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from bleak import BleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakError

from drivers.ble.guessing import Advert, HeardAddress
from drivers.ble.settings import full_uuid
from drivers.guesses import Heard
from drivers.profile import Profile

MAX_HEARD: Final = 500
ADVERTS: Final = 8


class Air:
    """What was heard, by address."""

    def __init__(self) -> None:
        self.devices: dict[str, BLEDevice] = {}
        self._adverts: dict[str, deque[Advert]] = {}
        self._rssi: dict[str, int] = {}
        self._names: dict[str, str] = {}

    def __call__(self, device: BLEDevice, advert: AdvertisementData) -> None:
        """One advert."""
        mac = device.address.upper()
        if mac not in self._adverts and len(self._adverts) >= MAX_HEARD:
            return
        kept = self._adverts.setdefault(mac, deque(maxlen=ADVERTS))
        said = Advert(dict(advert.manufacturer_data), {full_uuid(u): d for u, d in advert.service_data.items()})
        if said not in kept:
            kept.append(said)
        self.devices[mac], self._rssi[mac] = device, advert.rssi
        if advert.local_name:
            self._names[mac] = advert.local_name

    def heard(self, mac: str = "", characteristics: dict[str, bytes] | None = None) -> list[Heard]:
        """What there is, the loudest first; only one where it is asked for."""
        loudest = sorted(self._adverts, key=lambda m: -self._rssi[m])
        return [
            Heard(
                address={"mac": each},
                evidence=HeardAddress(each, tuple(self._adverts[each]), characteristics or {}),
                rssi=self._rssi[each],
                notes={"name": self._names[each]} if each in self._names else {},
            )
            for each in loudest
            if not mac or each == mac.upper()
        ]


async def characteristics(client: BleakClient, profiles: Sequence[Profile]) -> dict[str, bytes]:
    """What a connected device gives of all the characteristics that profiles know."""
    known = {full_uuid(a.characteristic) for p in profiles for a in p.access.values() if a.characteristic is not None}
    found: dict[str, bytes] = {}
    for each in client.services.characteristics.values():
        if each.uuid in known:
            try:
                found[each.uuid] = bytes(await client.read_gatt_char(each))
            except BleakError:
                if not client.is_connected:
                    raise
    return found
