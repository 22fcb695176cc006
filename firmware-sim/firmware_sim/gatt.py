"""An SP-1 on the bus: connecting to it, and reading and writing its characteristics.

Promises: GATT objects are there before `ServicesResolved` is true, and go when the link goes; a silent probe
lets a connection attempt run into its time-out and drops a link that it had; a link on which nobody has asked
anything for `IDLE_S` is ended by the probe, to save its battery. The answer counter grows by one with each
measurement whose answer has left.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from dbus_fast import Message, Variant
from dbus_fast.aio.message_bus import MessageBus

from firmware_sim import bluez
from firmware_sim.bluez import Objects, Refused
from firmware_sim.devices.sp1 import INTERVAL, MAX_INTERVAL_S, MEASUREMENT, MIN_INTERVAL_S, SERVICE, Sp1
from firmware_sim.faults import Faults, Kind
from firmware_sim.flight import Flight
from firmware_sim.ledger import Ledger
from firmware_sim.pace import Pace

IDLE_S = 8.0
LINK_SETUP_S = 0.08
CONNECT_FAILS_S = 4.0
GARBAGE_BYTES = (1, 12)
_FAILED = "org.bluez.Error.Failed"
_NOT_CONNECTED = Refused("org.bluez.Error.NotConnected", "Not Connected")
_VALUE_NOT_ALLOWED = Refused(_FAILED, "Operation failed with ATT error: 0x13 (Value Not Allowed)")
_INVALID_LENGTH = Refused("org.bluez.Error.InvalidArguments", "Invalid Length")


@dataclass
class Probe:
    """One probe and its link."""

    device: str
    address: str
    sensor: Sp1
    pace: Pace
    random: random.Random
    path: str = ""
    connected: bool = False
    answers: int = 0
    asked_s: float = field(default=0.0)


class Gatt:
    """The calls about connected probes."""

    def __init__(self, bus: MessageBus, objects: Objects, *, faults: Faults, ledger: Ledger, flight: Flight) -> None:
        self._bus = bus
        self._objects = objects
        self._faults = faults
        self._ledger = ledger
        self._flight = flight

    async def connect(self, probe: Probe) -> None:
        """Set up the link, or fail as a radio fails."""
        if probe.connected:
            return
        if self._faults.silent(probe.device):
            await asyncio.sleep(CONNECT_FAILS_S)
            raise Refused(_FAILED, "Software caused connection abort")
        await asyncio.sleep(LINK_SETUP_S)
        probe.connected = True
        probe.asked_s = asyncio.get_running_loop().time()
        self._objects.change(probe.path, bluez.DEVICE, {"Connected": Variant("b", value=True)})
        for path, interfaces in _attributes(probe.path).items():
            self._objects.add(path, interfaces)
        self._objects.change(probe.path, bluez.DEVICE, {"ServicesResolved": Variant("b", value=True)})

    def disconnect(self, probe: Probe) -> None:
        """End the link, whoever wanted that."""
        if not probe.connected:
            return
        probe.connected = False
        for path in reversed(_attributes(probe.path)):
            self._objects.remove(path)
        down = {"Connected": Variant("b", value=False), "ServicesResolved": Variant("b", value=False)}
        self._objects.change(probe.path, bluez.DEVICE, down)

    def tend(self, probe: Probe, now_s: float) -> None:
        """Drop a link that is dead or idle."""
        if self._faults.silent(probe.device) or now_s - probe.asked_s > IDLE_S:
            self.disconnect(probe)

    async def call(self, probe: Probe, call: Message) -> None:
        """Answer ReadValue or WriteValue."""
        probe.asked_s = asyncio.get_running_loop().time()
        late_s = self._faults.delay_s(probe.device)
        await asyncio.sleep(late_s)
        probe.asked_s = asyncio.get_running_loop().time()
        if not probe.connected or self._faults.silent(probe.device):
            raise _NOT_CONNECTED
        self._wake(probe)
        broken = self._faults.active(probe.device, Kind.EXCEPTION)
        if broken is not None:
            raise Refused(_FAILED, f"Operation failed with ATT error: 0x{broken.code:02x}")
        measurement = (call.path or "").endswith(_MEASUREMENT_PATH)
        if call.member == "WriteValue":
            if measurement:
                raise Refused("org.bluez.Error.NotPermitted", "Write not permitted")
            probe.sensor.interval_s = _interval(call)
            await bluez.post(self._bus, Message.new_method_return(call))
        elif measurement:
            await self._measurement(probe, call, late_s)
        else:
            value = probe.sensor.interval_s.to_bytes(2, "little")
            await bluez.post(self._bus, Message.new_method_return(call, "ay", [value]))

    async def _measurement(self, probe: Probe, call: Message, late_s: float) -> None:
        if self._faults.active(probe.device, Kind.GARBAGE) is not None:
            noise = probe.random.randbytes(probe.random.randint(*GARBAGE_BYTES))
            await bluez.post(self._bus, Message.new_method_return(call, "ay", [noise]))
            return
        values = self._faults.hold(probe.device, probe.sensor.measure())
        probe.answers = probe.answers + 1 & 0xFFFF_FFFF
        data, points = probe.sensor.measurement(probe.answers, values)
        n = probe.answers
        with self._flight:
            await bluez.post(self._bus, Message.new_method_return(call, "ay", [data]))
            self._ledger.offered(probe.device, "gatt", points, n=n, late_s=late_s)

    def _wake(self, probe: Probe) -> None:
        reboot = self._faults.rebooted(probe.device)
        if reboot is not None:
            probe.sensor.restart()
            if reboot.reset_counters:
                probe.answers = 0


_SERVICE_PATH = "/service0010"
_MEASUREMENT_PATH = "/char0011"
_INTERVAL_PATH = "/char0013"


def _attributes(device: str) -> dict[str, bluez.Interfaces]:
    service = device + _SERVICE_PATH

    def characteristic(uuid: str, flags: list[str]) -> bluez.Interfaces:
        properties: Mapping[str, Variant] = {
            "UUID": Variant("s", uuid),
            "Service": Variant("o", service),
            "Value": Variant("ay", b""),
            "Flags": Variant("as", flags),
            "MTU": Variant("q", 64),
        }
        return {bluez.CHARACTERISTIC: dict(properties)}

    return {
        service: {
            bluez.SERVICE: {
                "UUID": Variant("s", SERVICE),
                "Device": Variant("o", device),
                "Primary": Variant("b", value=True),
            }
        },
        service + _MEASUREMENT_PATH: characteristic(MEASUREMENT, ["read"]),
        service + _INTERVAL_PATH: characteristic(INTERVAL, ["read", "write"]),
    }


def _interval(call: Message) -> int:
    value = bytes(cast("bytes", call.body[0]))
    if len(value) != 2:
        raise _INVALID_LENGTH
    interval_s = int.from_bytes(value, "little")
    if not MIN_INTERVAL_S <= interval_s <= MAX_INTERVAL_S:
        raise _VALUE_NOT_ALLOWED
    return interval_s
