"""A private D-Bus daemon with an org.bluez of our own on it, so that the real bleak talks to beacons and a probe.

`Bluez` knows an adapter, adverts (also through advertisement monitors), connections, reads and writes; and it fails on
demand: silence, devices that do not connect, characteristics that refuse, an adapter or a bus that goes away.
"""
# ruff: noqa: TRY301 -- a test may wait by looking, and block for a moment
# No `from __future__ import annotations`: dbus-fast reads the annotations of methods as D-Bus signatures.

import asyncio
import os
import struct
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

from dbus_fast import BusType, DBusError, PropertyAccess, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusBool, DBusBytes, DBusDict, DBusObjectPath, DBusSignature, DBusStr
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property

from conformance.driver_rigs import Rig, attach, open_driver, profile_of
from wire.sample import Value

READ = PropertyAccess.READ
Strings = Annotated[list[str], DBusSignature("as")]
ByCompany = Annotated[dict[int, Variant], DBusSignature("a{qv}")]
Short = Annotated[int, DBusSignature("n")]
ADAPTER = "/org/bluez/hci0"


class Adapter(ServiceInterface):
    def __init__(self, bluez: "Bluez") -> None:
        super().__init__("org.bluez.Adapter1")
        self._bluez = bluez

    @dbus_property(access=READ, name="Address")
    def address(self) -> DBusStr:
        return "00:00:5E:00:53:00"

    @dbus_property(access=READ, name="Powered")
    def powered(self) -> DBusBool:
        return True

    @dbus_property(access=READ, name="Discovering")
    def discovering(self) -> DBusBool:
        return self._bluez.scanning > 0

    @dbus_property(access=READ, name="Roles")
    def roles(self) -> Strings:
        return ["central"]

    @dbus_method(name="SetDiscoveryFilter")
    async def set_filter(self, properties: DBusDict) -> None:
        pass

    @dbus_method(name="StartDiscovery")
    async def start(self) -> None:
        if self._bluez.refuse_scan:
            raise DBusError("org.bluez.Error.NotReady", "Resource Not Ready")
        if self._bluez.scanning:  # BlueZ: one discovery for each client, and bleak is one
            raise DBusError("org.bluez.Error.InProgress", "Operation already in progress")
        self._bluez.scanning += 1
        self._bluez.starts += 1
        if not self._bluez.mute:  # what is in range is heard again
            for device in self._bluez.devices.values():
                asyncio.get_running_loop().call_later(0.01, device.changed)

    @dbus_method(name="StopDiscovery")
    async def stop(self) -> None:
        if not self._bluez.scanning:
            raise DBusError("org.bluez.Error.Failed", "No discovery started")
        self._bluez.scanning -= 1


class Monitors(ServiceInterface):
    def __init__(self, bluez: "Bluez") -> None:
        super().__init__("org.bluez.AdvertisementMonitorManager1")
        self._bluez = bluez

    @dbus_method(name="RegisterMonitor")
    async def register(self, application: DBusObjectPath) -> None:
        self._bluez.monitors.append(application)
        self._bluez.starts += 1

    @dbus_method(name="UnregisterMonitor")
    async def unregister(self, application: DBusObjectPath) -> None:
        self._bluez.monitors.remove(application)


class Peripheral(ServiceInterface):
    def __init__(self, bluez: "Bluez", mac: str) -> None:
        super().__init__("org.bluez.Device1")
        self.path = f"{ADAPTER}/dev_{mac.replace(':', '_')}"
        self._bluez, self._mac = bluez, mac
        self.manufacturer: dict[int, bytes] = {}
        self.services: dict[str, bytes] = {}
        self.is_connected = False
        self.fails = self.hangs = False
        self.connects = 0
        self.chars: list[Characteristic] = []

    @dbus_property(access=READ, name="Address")
    def address(self) -> DBusStr:
        return self._mac

    @dbus_property(access=READ, name="Alias")
    def alias(self) -> DBusStr:
        return "thing"

    @dbus_property(access=READ, name="Adapter")
    def adapter(self) -> DBusObjectPath:
        return ADAPTER

    @dbus_property(access=READ, name="Connected")
    def connected(self) -> DBusBool:
        return self.is_connected

    @dbus_property(access=READ, name="ServicesResolved")
    def resolved(self) -> DBusBool:
        return self.is_connected

    @dbus_property(access=READ, name="RSSI")
    def rssi(self) -> Short:
        return -60

    @dbus_property(access=READ, name="ManufacturerData")
    def manufacturer_data(self) -> ByCompany:
        return {k: Variant("ay", v) for k, v in self.manufacturer.items()}

    @dbus_property(access=READ, name="ServiceData")
    def service_data(self) -> DBusDict:
        return {k: Variant("ay", v) for k, v in self.services.items()}

    @dbus_method(name="Connect")
    async def connect(self) -> None:
        self.connects += 1
        self._bluez.connected_at_once += 1
        self._bluez.most_connected = max(self._bluez.most_connected, self._bluez.connected_at_once)
        try:
            if self.hangs:
                await asyncio.sleep(3600)
            await asyncio.sleep(self._bluez.connect_s)
            if self.fails:
                raise DBusError("org.bluez.Error.Failed", "Host is down")
        except BaseException:
            self._bluez.connected_at_once -= 1
            raise
        self.is_connected = True
        self.emit_properties_changed({"Connected": True, "ServicesResolved": True})

    @dbus_method(name="Disconnect")
    async def disconnect(self) -> None:
        if self.is_connected:
            self._bluez.connected_at_once -= 1
            self.is_connected = False
            self.emit_properties_changed({"Connected": False, "ServicesResolved": False})

    def changed(self) -> None:
        if not self._bluez.bus.connected:
            return
        self.emit_properties_changed(
            {"RSSI": -60, "ManufacturerData": self.manufacturer_data, "ServiceData": self.service_data}
        )


class Service(ServiceInterface):
    def __init__(self, uuid: str, device: str) -> None:
        super().__init__("org.bluez.GattService1")
        self._uuid, self._device = uuid, device

    @dbus_property(access=READ, name="UUID")
    def uuid(self) -> DBusStr:
        return self._uuid

    @dbus_property(access=READ, name="Primary")
    def primary(self) -> DBusBool:
        return True

    @dbus_property(access=READ, name="Device")
    def device(self) -> DBusObjectPath:
        return self._device


class Characteristic(ServiceInterface):
    def __init__(self, uuid: str, service: str, value: bytes) -> None:
        super().__init__("org.bluez.GattCharacteristic1")
        self._uuid, self._service, self.value = uuid, service, value
        self.refuses = False

    @dbus_property(access=READ, name="UUID")
    def uuid(self) -> DBusStr:
        return self._uuid

    @dbus_property(access=READ, name="Service")
    def service(self) -> DBusObjectPath:
        return self._service

    @dbus_property(access=READ, name="Flags")
    def flags(self) -> Strings:
        return ["read", "write"]

    @dbus_method(name="ReadValue")
    async def read(self, options: DBusDict) -> DBusBytes:
        if self.refuses:
            raise DBusError("org.bluez.Error.NotPermitted", "Read not permitted")
        return self.value

    @dbus_method(name="WriteValue")
    async def write(self, value: DBusBytes, options: DBusDict) -> None:
        if self.refuses:
            raise DBusError("org.bluez.Error.NotPermitted", "Write not permitted")
        self.value = bytes(value)


class Bluez:
    """The fake daemon, and the devices in its range."""

    def __init__(self) -> None:
        self.scanning = self.starts = 0
        self.refuse_scan = self.mute = False
        self.monitors: list[str] = []
        self.connect_s = 0.0
        self.connected_at_once = self.most_connected = 0
        self.devices: dict[str, Peripheral] = {}
        self.bus: Any = None
        self._daemon: asyncio.subprocess.Process | None = None

    async def start(self, address: str, config: Path) -> None:
        self._daemon = await asyncio.create_subprocess_exec("dbus-daemon", f"--config-file={config}", "--nofork")
        async with asyncio.timeout(5):
            while True:
                self.bus = MessageBus(bus_type=BusType.SYSTEM)
                try:
                    await self.bus.connect()
                    break
                except (FileNotFoundError, ConnectionRefusedError):  # no socket yet, or one that nobody listens at yet
                    await asyncio.sleep(0.01)
        self.add_adapter()
        await self.bus.request_name("org.bluez")

    async def stop(self) -> None:
        if self._daemon is not None:
            self.bus.disconnect()
            self._daemon.terminate()
            await self._daemon.wait()
            self._daemon = None
            await asyncio.sleep(0.05)  # bleak's own connections notice

    def add_adapter(self) -> None:
        self.bus.export(ADAPTER, Adapter(self))
        self.bus.export(ADAPTER, Monitors(self))

    def remove_adapter(self) -> None:
        self.scanning = 0
        self.bus.unexport(ADAPTER)

    def device(self, mac: str) -> Peripheral:
        if mac not in self.devices:
            device = self.devices[mac] = Peripheral(self, mac)
            self.bus.export(device.path, device)
        return self.devices[mac]

    def advertise(self, mac: str, manufacturer: Any = None, services: Any = None) -> None:
        device = self.device(mac)
        device.manufacturer = manufacturer or {}
        device.services = services or {}
        if self.scanning or self.monitors:
            device.changed()

    def characteristic(self, mac: str, uuid: str, value: bytes) -> Characteristic:
        device = self.device(mac)
        service = f"{device.path}/service0001"
        if not device.chars:
            self.bus.export(service, Service("7a1e0001-5a6d-4c61-9b7e-6c616d700001", device.path))
        made = Characteristic(uuid, service, value)
        self.bus.export(f"{service}/char{len(device.chars) * 2 + 2:04x}", made)
        device.chars.append(made)
        return made


@asynccontextmanager
async def bluetooth() -> AsyncIterator[Bluez]:
    before = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:path={folder}/bus"
        config = Path(folder, "bus.conf")
        config.write_text(
            f"<busconfig><type>system</type><listen>{address}</listen><auth>EXTERNAL</auth>"
            '<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>'
            '<allow own="*"/></policy></busconfig>'
        )
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = address
        bluez = Bluez()
        try:
            await bluez.start(address, config)
            yield bluez
        finally:
            await bluez.stop()
            if before is None:
                del os.environ["DBUS_SYSTEM_BUS_ADDRESS"]
            else:
                os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = before


PROBE = "7a1e0002-5a6d-4c61-9b7e-6c616d700001"
SETTING = "7a1e0003-5a6d-4c61-9b7e-6c616d700001"
PROBE_TABLE = {
    "driver": "ble",
    "ble": {"manufacturer": 0x0499, "packet_id": "sequence"},
    "point": {
        "sequence": {"type": "int", "at": {"byte": 0, "as": "u16"}},
        "temperature": {"type": "float", "at": {"byte": 2, "as": "i16", "scale": 0.01}},
        "moisture": {"type": "float", "at": {"characteristic": PROBE, "byte": 0, "as": "u16", "scale": 0.01}},
        "fault": {"type": "bool", "at": {"characteristic": PROBE, "byte": 2, "bit": 0}},
        "level": {
            "type": "float",
            "range": [0, 100],
            "writable": True,
            "at": {"characteristic": SETTING, "byte": 0, "as": "u16", "order": "little", "scale": 0.1},
        },
    },
}
LAMP_MAC, DEAD_MAC = "C4:00:00:00:00:01", "C4:00:00:00:00:02"


class BleRig(Rig):
    listens = True
    said: ClassVar = {
        "sequence": b"\0\x03", "temperature": b"\x07\xd3", "moisture": b"\x0d\x8e", "fault": b"\x01",
        "level": b"\x64\0",
    }  # fmt: skip

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Rig]:
        rig = cls()
        profile = profile_of("test-probe", PROBE_TABLE)
        rig.lamp, rig.dead = (
            attach("lamp", profile, {"mac": LAMP_MAC.lower()}),
            attach("dead", profile, {"mac": DEAD_MAC}),
        )
        rig.expected = {"moisture": 34.7, "fault": True, "level": 10.0}
        async with bluetooth() as rig.bluez:
            rig.bluez.characteristic(LAMP_MAC, PROBE, bytes.fromhex("0D8E01"))
            rig.setting = rig.bluez.characteristic(LAMP_MAC, SETTING, bytes.fromhex("6400"))
            rig.bluez.device(DEAD_MAC).hangs = True
            rig.bluez.advertise(LAMP_MAC, {1: b"x"})
            rig.bluez.advertise(DEAD_MAC, {1: b"x"})
            line = {"connect_timeout_s": 1.5}  # a busy machine answers late, too
            async with open_driver("ble", line, [rig.lamp, rig.dead], rig.ledger) as rig.driver:
                yield rig

    async def publish(self, n: int) -> dict[str, Value]:
        self.bluez.advertise(LAMP_MAC, {0x0499: struct.pack(">Hh", n, 2000 + n)})
        return {"sequence": n, "temperature": (2000 + n) / 100}

    async def held(self, point: str) -> Value:
        return int.from_bytes(self.setting.value, "little") / 10
