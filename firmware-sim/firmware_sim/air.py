"""The radio: beacons and probes as BlueZ would show them to whoever scans.

Promises: a device is on the bus from the first advert on that somebody heard; an advert counts as offered when
a packet id is heard for the first time; now and then an advert is repeated with the same packet id, as radios
do, and a repeat counts only if nobody heard the first. A connected probe does not advertise.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from dbus_fast import Variant
from dbus_fast.aio.message_bus import MessageBus

from firmware_sim import bluez
from firmware_sim.adapter import Adapter
from firmware_sim.bus import BusError
from firmware_sim.devices.advert import Advert, Advertiser, long_uuid
from firmware_sim.faults import Faults, Kind
from firmware_sim.flight import Flight
from firmware_sim.gatt import Gatt, Probe
from firmware_sim.ledger import Ledger
from firmware_sim.pace import Pace

REPEAT_CHANCE = 0.3
REPEAT_WITHIN_S = 0.15
TEND_EVERY_S = 0.5
_RSSI_DBM = (-88, -52)
_RSSI_SWING_DB = 4


@dataclass
class Beacon:
    """One device that speaks by adverts alone."""

    device: str
    address: str
    advertiser: Advertiser
    pace: Pace
    random: random.Random
    path: str = ""


class Air:
    """All devices within the adapter's reach."""

    def __init__(
        self,
        name: str,
        beacons: Sequence[Beacon],
        probes: Sequence[Probe],
        *,
        faults: Faults,
        ledger: Ledger,
        flight: Flight,
    ) -> None:
        self._root = f"/org/bluez/{name}"
        self._beacons = beacons
        self._probes = probes
        self._faults = faults
        self._ledger = ledger
        self._flight = flight
        self._strength = {
            device.address: random.Random(device.address).randint(*_RSSI_DBM) for device in (*beacons, *probes)
        }
        for device in (*beacons, *probes):
            device.path = f"{self._root}/dev_{device.address.replace(':', '_')}"

    async def run(self, address: str, ready: asyncio.Event) -> None:
        """Be `org.bluez` on this bus until cancelled."""
        bus = await MessageBus(bus_address=address).connect()
        try:
            async with asyncio.TaskGroup() as tasks:
                objects = bluez.Objects(bus)
                gatt = Gatt(bus, objects, faults=self._faults, ledger=self._ledger, flight=self._flight)
                probes = {probe.path: probe for probe in self._probes}
                adapter = Adapter(bus, self._root, objects, gatt, probes=probes, tasks=tasks)
                await adapter.open()
                ready.set()
                for beacon in self._beacons:
                    tasks.create_task(self._beam(beacon, adapter, objects))
                for probe in self._probes:
                    tasks.create_task(self._call_out(probe, adapter, objects))
                    tasks.create_task(self._tend(probe, gatt))
                with contextlib.suppress(OSError, EOFError):  # how a bus ends that did not say goodbye
                    await bus.wait_for_disconnect()
                message = "the private D-Bus daemon is gone"
                raise BusError(message)
        finally:
            bus.disconnect()

    async def _beam(self, beacon: Beacon, adapter: Adapter, objects: bluez.Objects) -> None:
        n = beacon.random.randint(beacon.advertiser.first, beacon.advertiser.last)
        while True:
            await beacon.pace.wait()
            if self._faults.silent(beacon.device):
                continue
            reboot = self._faults.rebooted(beacon.device)
            if reboot is not None and reboot.reset_counters:
                n = beacon.advertiser.last
            n = beacon.advertiser.first if n >= beacon.advertiser.last else n + 1
            values = self._faults.hold(beacon.device, beacon.advertiser.measure())
            advert = self._garble(beacon, beacon.advertiser.advert(n, values))
            heard = self._say(beacon.path, beacon.address, advert, adapter, objects)
            if heard:
                self._offered(beacon, advert)
            if beacon.random.random() < REPEAT_CHANCE:
                await asyncio.sleep(REPEAT_WITHIN_S * beacon.random.random())
                if self._faults.silent(beacon.device):
                    continue
                if self._say(beacon.path, beacon.address, advert, adapter, objects) and not heard:
                    self._offered(beacon, advert)

    def _offered(self, beacon: Beacon, advert: Advert) -> None:
        if advert.points:
            self._ledger.offered(beacon.device, "advert", advert.points, n=advert.n)

    def _garble(self, beacon: Beacon, advert: Advert) -> Advert:
        if self._faults.active(beacon.device, Kind.GARBAGE) is None:
            return advert

        def cut(data: bytes) -> bytes:
            return data[: beacon.random.randrange(len(data) - 1)]

        return Advert(
            manufacturer={company: cut(data) for company, data in advert.manufacturer.items()},
            service_data={short: cut(data) for short, data in advert.service_data.items()},
        )

    async def _call_out(self, probe: Probe, adapter: Adapter, objects: bluez.Objects) -> None:
        while True:
            await probe.pace.wait()
            if not probe.connected and not self._faults.silent(probe.device):
                self._say(probe.path, probe.address, probe.sensor.advert(), adapter, objects)

    async def _tend(self, probe: Probe, gatt: Gatt) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TEND_EVERY_S)
            gatt.tend(probe, loop.time())

    def _say(self, path: str, address: str, advert: Advert, adapter: Adapter, objects: bluez.Objects) -> bool:
        """Send one advert; whether anybody heard it."""
        rssi_dbm = self._strength[address] + random.randint(-_RSSI_SWING_DB, _RSSI_SWING_DB)
        if not adapter.scanners.hear(advert, rssi_dbm):
            return False
        heard = _properties(advert, rssi_dbm)
        if path in objects:
            objects.change(path, bluez.DEVICE, heard)
        else:
            objects.add(path, {bluez.DEVICE: {**_device(self._root, address, advert), **heard}})
        return True


def _properties(advert: Advert, rssi_dbm: int) -> dict[str, Variant]:
    properties = {"RSSI": Variant("n", rssi_dbm)}
    if advert.manufacturer:
        company = {number: Variant("ay", data) for number, data in advert.manufacturer.items()}
        properties["ManufacturerData"] = Variant("a{qv}", company)
    if advert.service_data:
        service = {long_uuid(number): Variant("ay", data) for number, data in advert.service_data.items()}
        properties["ServiceData"] = Variant("a{sv}", service)
    return properties


def _device(adapter: str, address: str, advert: Advert) -> dict[str, Variant]:
    properties = {
        "Adapter": Variant("o", adapter),
        "Address": Variant("s", address),
        "AddressType": Variant("s", "random"),
        "Alias": Variant("s", advert.name or address.replace(":", "-")),
        "Paired": Variant("b", value=False),
        "Trusted": Variant("b", value=False),
        "Blocked": Variant("b", value=False),
        "Connected": Variant("b", value=False),
        "ServicesResolved": Variant("b", value=False),
        "UUIDs": Variant("as", list(advert.uuids)),
    }
    if advert.name:
        properties["Name"] = Variant("s", advert.name)
    return properties
