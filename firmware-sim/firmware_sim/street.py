"""The composition root: builds a street from its scene and runs it.

Promises: `run` returns when `stop` is set, after all children are gone; one failing part ends the street with
its error; the endpoints are told, atomically, once everything answers. When `hush` returns, nothing more leaves
and the ledger no longer grows until `speak`.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from firmware_sim.air import Air, Beacon
from firmware_sim.broker import Broker
from firmware_sim.bus import private_bus
from firmware_sim.clock import StreetClock, wall_us
from firmware_sim.devices.aq2 import Aq2
from firmware_sim.devices.bn1 import Bn1
from firmware_sim.devices.bthome import Bthome
from firmware_sim.devices.lx1 import Lx1
from firmware_sim.devices.ruuvitag import Ruuvitag
from firmware_sim.devices.sp1 import Sp1
from firmware_sim.devices.tm3 import Tm3
from firmware_sim.errors import StreetError
from firmware_sim.faults import Faults
from firmware_sim.flight import Flight
from firmware_sim.gatt import Probe
from firmware_sim.ledger import Ledger
from firmware_sim.modbus import Registers, Unit
from firmware_sim.modbus_rtu import ModbusRtu
from firmware_sim.modbus_tcp import ModbusTcp
from firmware_sim.mqtt import Publishers, Speaker
from firmware_sim.pace import Pace
from firmware_sim.physics.air import Corner
from firmware_sim.physics.bin import Bin
from firmware_sim.physics.lamp import Lamp
from firmware_sim.physics.meter import PHASES, Supply
from firmware_sim.physics.noise import Noise
from firmware_sim.physics.soil import Soil
from firmware_sim.physics.tag import Tag
from firmware_sim.physics.world import World
from firmware_sim.scene import BEACON_MODELS, GATT_MODELS, MODBUS_MODELS, MQTT_MODELS, Device, Scene

HUSH_WITHIN_S = 12.0


class Street:
    """All devices of one scene and the lines that they hang on."""

    def __init__(self, scene: Scene, ledger: Ledger) -> None:
        self._scene = scene
        self._ledger = ledger
        self._clock = StreetClock(scene.start_s, scene.speed)
        self._faults = Faults(scene.faults, self._clock.elapsed_s)
        self._flight = Flight()
        place = scene.place
        self._world = World(scene.seed, place.lon, place.lat, place.utc_offset_h)
        self._lamps = {
            device.id: Lamp(self._world, self._noise(device), scene.start_s, index % PHASES)
            for index, device in enumerate(scene.of(("LX-1",)))
        }
        self.stop = asyncio.Event()

    async def run(self, ready: Callable[[dict[str, object]], None]) -> None:
        """Serve until `stop` is set."""
        async with AsyncExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="firmware-sim-")))
            try:
                async with asyncio.TaskGroup() as tasks:
                    endpoints = self._modbus(directory, tasks)
                    endpoints["mqtt"] = await self._mqtt(directory, stack, tasks)
                    endpoints["dbus"] = await self._ble(directory, stack, tasks)
                    endpoints["pid"] = os.getpid()
                    endpoints["ready_us"] = wall_us()
                    ready(endpoints)
                    await self.stop.wait()
                    raise _Stopped  # noqa: TRY301 - the way to end a task group in good order
            except* _Stopped:
                pass

    async def hush(self) -> None:
        """Fall silent, and return when what was in flight has landed."""
        self._faults.hushed = True
        try:
            await asyncio.wait_for(self._flight.landed(), HUSH_WITHIN_S)
        except TimeoutError:
            message = f"what was in flight has not landed within {HUSH_WITHIN_S:g} s"
            raise StreetError(message) from None

    def speak(self) -> None:
        """Speak again."""
        self._faults.hushed = False

    def _noise(self, device: Device) -> Noise:
        return Noise(self._scene.seed, device.id)

    def _random(self, device: Device) -> random.Random:
        return random.Random(f"{self._scene.seed}/{device.id}")

    def _modbus(self, directory: Path, tasks: asyncio.TaskGroup) -> dict[str, object]:
        units: dict[str, dict[int, Unit]] = {}
        for device in self._scene.of(MODBUS_MODELS):
            unit = Unit(device.id, self._registers(device), self._faults, self._ledger, self._random(device))
            units.setdefault(device.bus, {})[device.unit] = unit
        tcp, rtu = {}, {}
        for server in self._scene.servers:
            listening = ModbusTcp(server.name, server.host, server.port, units.get(f"server/{server.name}", {}))
            tcp[server.name] = f"{listening.host}:{listening.port}"
            tasks.create_task(listening.run())
        for line in self._scene.lines:
            wire = ModbusRtu(line.name, directory, line.baudrate, units.get(f"line/{line.name}", {}))
            rtu[line.name] = str(wire.path)
            tasks.create_task(wire.run())
        return {"modbus_tcp": tcp, "modbus_rtu": rtu}

    def _registers(self, device: Device) -> Registers:
        if device.model == "LX-1":
            return Lx1(device.id, self._lamps[device.id], self._faults, self._clock.now_s)
        lamps = tuple(self._lamps.values())
        return Tm3(Supply(self._world, self._noise(device), self._scene.start_s, lamps), self._clock.now_s)

    async def _mqtt(self, directory: Path, stack: AsyncExitStack, tasks: asyncio.TaskGroup) -> str | None:
        mqtt = self._scene.mqtt
        host, port = mqtt.host, mqtt.port
        if mqtt.spawn:
            host = "127.0.0.1"
            broker = Broker(directory, mqtt.port)
            stack.push_async_callback(broker.close)
            await broker.start()
            tasks.create_task(broker.watch())
            port = broker.port
        devices = self._scene.of(MQTT_MODELS)
        if devices:
            speakers = [self._speaker(device) for device in devices]
            publishers = Publishers((host, port), speakers, self._faults, self._ledger, self._flight)
            tasks.create_task(publishers.run())
        return f"{host}:{port}" if host else None

    def _speaker(self, device: Device) -> Speaker:
        noise, chances = self._noise(device), self._random(device)
        now_s = self._clock.now_s
        if device.model == "BN-1":
            waste = Bin(self._world, noise, self._scene.start_s)
            publisher = Bn1(device.id, device.serial, waste, self._faults, now_s)
        else:
            publisher = Aq2(device.serial, Corner(self._world, noise), now_s)
        return Speaker(device.id, publisher, Pace(device.every_s, chances), chances)

    async def _ble(self, directory: Path, stack: AsyncExitStack, tasks: asyncio.TaskGroup) -> str | None:
        beacons, probes = self._scene.of(BEACON_MODELS), self._scene.of(GATT_MODELS)
        if not beacons and not probes:
            return None
        address = await stack.enter_async_context(private_bus(directory))
        air = Air(
            self._scene.adapter,
            [self._beacon(device) for device in beacons],
            [self._probe(device) for device in probes],
            faults=self._faults,
            ledger=self._ledger,
            flight=self._flight,
        )
        ready = asyncio.Event()
        tasks.create_task(air.run(address, ready))
        await ready.wait()
        return address

    def _beacon(self, device: Device) -> Beacon:
        noise, chances = self._noise(device), self._random(device)
        tag = Tag(self._world, noise, self._scene.start_s)
        advertiser = (Ruuvitag if device.model == "ruuvitag" else Bthome)(device.address, tag, self._clock.now_s)
        return Beacon(device.id, device.address, advertiser, Pace(device.every_s, chances), chances)

    def _probe(self, device: Device) -> Probe:
        soil = Soil(self._world, self._noise(device), self._scene.start_s)
        sensor = Sp1(device.id, soil, self._faults, self._clock.now_s)
        chances = self._random(device)
        return Probe(device.id, device.address, sensor, Pace(device.every_s, chances), chances)


class _Stopped(Exception):
    """The street was asked to end."""


def write_endpoints(path: Path, endpoints: dict[str, object]) -> None:
    """Put the file there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(endpoints), indent=2) + b"\n")
    temporary.replace(path)
