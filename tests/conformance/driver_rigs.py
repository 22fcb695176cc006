"""Rigs: one a protocol, each with a device that works, one that is dead, and a way to make it speak.

The suite in `test_drivers.py` runs over all of them.
"""
# ruff: noqa: ASYNC110, ASYNC220 -- a test may wait by looking, and block for a moment

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

from drivers import registry
from drivers.contract import RECENT, Attachment, Driver, Receipt
from drivers.profile import Profile
from drivers.profile_files import parse_profile
from drivers.tables import Problem, parse
from wire.device import Device, Point
from wire.sample import Clock, Sample, Value

CLOCK = Clock(7, True)


def now() -> tuple[int, Clock]:
    return time.time_ns() // 1000, CLOCK


class Ledger:
    """What a node would do with what drivers deliver: keep it, and remember receipts. `hold` delays durability."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.keys: dict[str, list[bytes]] = {}
        self.hold: list[tuple[asyncio.Future[None], Sequence[Sample], Receipt | None]] | None = None
        self.fail: Exception | None = None
        self._more = asyncio.Event()

    def __call__(self, samples: Sequence[Sample], receipt: Receipt | None = None) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.hold is not None:
            self.hold.append((future, samples, receipt))
            self._more.set()
        elif self.fail is not None and samples:
            future.set_exception(self.fail)
            future.exception()
        else:
            self._commit(future, samples, receipt)
        return future

    def _commit(self, future: asyncio.Future[None], samples: Sequence[Sample], receipt: Receipt | None) -> None:
        self.samples += samples
        if receipt is not None:
            self.keys.setdefault(receipt.source, []).append(receipt.key)
            del self.keys[receipt.source][:-RECENT]
        if not future.done():
            future.set_result(None)
        self._more.set()

    def release(self) -> None:
        held, self.hold = self.hold or [], None
        for entry in held:
            self._commit(*entry)

    async def recent(self, source: str) -> Sequence[bytes]:
        return list(self.keys.get(source, ()))

    async def count(self, n: int, timeout_s: float = 5.0) -> list[Sample]:
        """Wait for n samples, kept or held."""
        async with asyncio.timeout(timeout_s):
            while len(self.samples) + sum(len(s) for _, s, _ in self.hold or ()) < n:
                self._more.clear()
                await self._more.wait()
        return self.samples


def profile_of(name: str, table: dict[str, Any]) -> Profile:
    problems: list[Problem] = []
    head = {"kind": "thing", "model": "test", "source": ["test"], **table}
    profile = parse_profile(name, head, f"{name}.toml", problems)
    assert profile is not None, "\n".join(map(str, problems))
    return profile


def attach(device: str, profile: Profile, address: dict[str, Any]) -> Attachment:
    problems: list[Problem] = []
    kind = registry.find(profile.driver)
    assert kind is not None
    made = parse(kind.Address, address, file="site", key="address", problems=problems)
    assert made is not None, "\n".join(map(str, problems))
    assert not kind.fits(profile, made)
    return Attachment(Device(id=device, kind=profile.kind, profile=profile.name), profile, made)


def open_driver(
    protocol: str, line: dict[str, Any], attachments: Sequence[Attachment], receipts: Any, name: str = "line"
) -> Any:
    problems: list[Problem] = []
    kind = registry.find(protocol)
    assert kind is not None
    made = parse(kind.Line, line, file="site", key="line", problems=problems)
    assert made is not None, "\n".join(map(str, problems))
    return kind.open(name, made, attachments, now, receipts)


@asynccontextmanager
async def listening(driver: Driver, devices: Sequence[Device], ledger: Ledger) -> AsyncIterator[None]:
    task = asyncio.create_task(driver.listen(devices, ledger))
    try:
        yield
    finally:
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=5)
        assert done, "listen does not end when cancelled"
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def until(condition: Any, timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Rig:
    """What the suite needs of a protocol. `lamp` works, `dead` does not answer."""

    polls = True
    listens = False
    writes = True
    traced = True  # whether the driver is a `Traced`
    said: Mapping[str, bytes] = {}  # bytes of points as the wire had them, after `publish(3)` where it listens

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.driver: Any = None
        self.lamp: Attachment
        self.dead: Attachment
        self.expected: dict[str, Value] = {}

    @property
    def polled(self) -> list[Point]:
        return [self.lamp.profile.points[n] for n in self.expected]

    async def publish(self, n: int) -> dict[str, Value]:
        """Make the device speak by itself; returns the values."""
        raise NotImplementedError

    async def held(self, point: str) -> Value:
        """What the device itself says that a point was set to."""
        raise NotImplementedError


class FakeRig(Rig):
    listens = False
    traced = False

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Rig]:
        rig = cls()
        table = {
            "driver": "fake",
            "point": {
                "level": {"type": "float", "range": [0, 100], "writable": True, "at": {"start": 12.5}},
                "name": {"type": "text", "at": {"start": "lamp"}},
            },
        }
        profile = profile_of("fake-lamp", table)
        rig.lamp, rig.dead = attach("lamp", profile, {}), attach("dead", profile, {})
        rig.expected = {"level": 12.5, "name": "lamp"}
        driver = open_driver("fake", {}, [rig.lamp, rig.dead], rig.ledger)
        from drivers.errors import Unreachable

        driver.failures["dead"] = Unreachable("dead")
        async with driver as rig.driver:
            yield rig

    async def held(self, point: str) -> Value:
        return self.driver.values["lamp"][point]


LAMP = {
    "driver": "modbus",
    "point": {
        "level": {
            "type": "float",
            "unit": "%",
            "range": [0, 100],
            "writable": True,
            "at": {"holding": 2, "scale": 0.1},
        },
        "power": {"type": "float", "at": {"holding": 4, "as": "f32", "order": "CDAB"}},
        "on": {"type": "bool", "at": {"holding": 1, "bit": 0}},
        "energy": {"type": "int", "at": {"holding": 6, "as": "u32"}},
    },
}
WORDS = [19544, 0b1001, 655, 650, 0, 0x4241, 1, 2]


class ModbusTcpRig(Rig):
    said: ClassVar = {
        "level": b"\x02\x8f", "power": b"\0\0\x42\x41", "on": b"\0\x09", "energy": b"\0\x01\0\x02",
    }  # fmt: skip

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Rig]:
        from pymodbus.server import ModbusTcpServer

        rig = cls()
        rig._context = _pymodbus_devices()
        server = ModbusTcpServer(rig._context, address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        try:
            port = server.transport.sockets[0].getsockname()[1]
            async with rig._opened({"host": "127.0.0.1", "port": port, "timeout_s": 0.2}):
                yield rig
        finally:
            await server.shutdown()

    @asynccontextmanager
    async def _opened(self, line: dict[str, Any]) -> AsyncIterator[None]:
        profile = profile_of("test-lamp", LAMP)
        self.lamp, self.dead = attach("lamp", profile, {"unit": 1}), attach("dead", profile, {"unit": 9})
        self.expected = {"level": 65.5, "power": 48.25, "on": True, "energy": 65538}
        self._context[0].simdata[0].values[4:6] = [0, 0x4241]
        async with open_driver("modbus", line, [self.lamp, self.dead], self.ledger) as self.driver:
            yield

    async def held(self, point: str) -> Value:
        sample = await self.driver.poll(self.lamp.device, [self.lamp.profile.points[point]])
        return sample.values[point]


def _pymodbus_devices() -> Any:
    from pymodbus.simulator import DataType, SimData, SimDevice

    async def stall(*_: Any) -> None:
        await asyncio.sleep(3600)

    data = SimData(0, values=[*WORDS], datatype=DataType.REGISTERS)
    return [
        SimDevice(1, simdata=[data]),
        SimDevice(9, simdata=[SimData(0, values=[*WORDS], datatype=DataType.REGISTERS)], action=stall),
    ]


class ModbusRtuRig(ModbusTcpRig):
    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Rig]:
        from pymodbus.framer import FramerType
        from pymodbus.server import ModbusSerialServer

        rig = cls()
        rig._context = _pymodbus_devices()
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = f"{folder}/ours", f"{folder}/theirs"
            socat = subprocess.Popen(["socat", f"pty,raw,echo=0,link={ours}", f"pty,raw,echo=0,link={theirs}"])
            try:
                await until(lambda: Path(ours).exists() and Path(theirs).exists())
                server = ModbusSerialServer(rig._context, framer=FramerType.RTU, port=theirs, baudrate=9600)
                await server.serve_forever(background=True)
                try:
                    async with rig._opened({"serial": ours, "timeout_s": 0.3}):
                        yield rig
                finally:
                    await server.shutdown()
            finally:
                socat.send_signal(signal.SIGTERM)
                socat.wait(5)


class Broker:
    """A real mosquitto on a free port, in a folder of its own."""

    def __init__(self, folder: Path, port: int, extra: str = "") -> None:
        self.port = port
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\npersistence true\n"
            f"persistence_location {folder}/\nmax_queued_messages 10000\n{extra}"
        )
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._process = subprocess.Popen(
            ["mosquitto", "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"},
        )  # fmt: skip
        async with asyncio.timeout(5):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    await writer.wait_closed()
                    return

    def forget(self) -> None:
        """Lose what was written down, as a broker without persistence or with a new card does; while stopped."""
        self._config.with_name("mosquitto.db").unlink(missing_ok=True)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(5)
            self._process = None


@asynccontextmanager
async def broker(extra: str = "") -> AsyncIterator[Broker]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)  # mosquitto drops its rights when started as root
        one = Broker(Path(folder), free_port(), extra)
        await one.start()
        try:
            yield one
        finally:
            one.stop()


BIN = {
    "driver": "mqtt",
    "mqtt": {"topic": "bins/{serial}/up", "packet_id": "n", "command_topic": "bins/{serial}/set"},
    "point": {
        "n": {"type": "int", "at": {"value": "n"}},
        "fill": {"type": "float", "at": {"value": "fill"}},
        "level": {
            "type": "float",
            "range": [0, 100],
            "writable": True,
            "at": {"value": "level", "scale": 0.1, "command": '{"level": $value}'},
        },
    },
}


class MqttRig(Rig):
    polls = False
    listens = True
    said: ClassVar = {"n": b"3", "fill": b"43.5"}

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Rig]:
        import aiomqtt

        rig = cls()
        profile = profile_of("test-bin", BIN)
        rig.lamp, rig.dead = attach("lamp", profile, {"serial": "A1"}), attach("dead", profile, {"serial": "Z9"})
        async with broker() as rig.broker:
            line = {"host": "127.0.0.1", "port": rig.broker.port, "client_id": "node", "session_expiry_s": 600}
            async with aiomqtt.Client("127.0.0.1", rig.broker.port, identifier="device") as rig.device:
                await rig.device.subscribe("bins/A1/set", qos=1)
                async with open_driver("mqtt", line, [rig.lamp, rig.dead], rig.ledger) as rig.driver:
                    yield rig

    async def publish(self, n: int) -> dict[str, Value]:
        await self.device.publish("bins/A1/up", f'{{"n": {n}, "fill": 4{n % 10}.5}}', qos=1)
        return {"n": n, "fill": float(f"4{n % 10}.5")}

    async def held(self, point: str) -> Value:
        import json

        async with asyncio.timeout(5):
            async for message in self.device.messages:
                return json.loads(message.payload)[point] / 10
        return None
