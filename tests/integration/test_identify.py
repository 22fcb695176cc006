"""Devices that nobody knows, found on real lines: among neighbours, out of noise, at another speed, two at one unit."""

from __future__ import annotations

import asyncio
import random
import termios
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from conformance.driver_ble import bluetooth
from conformance.driver_modbus_server import ModbusServer, RtuPort, Unit
from conformance.driver_rigs import Ledger, attach, broker, now
from drivers import registry
from drivers.tables import parse
from edge.identify.looking import LookFor, LookReport, identify
from edge.identify.words import told
from edge.sampling.lines import AttachedLine
from edge.verbs.identify import alone
from support import strangers
from support.strangers import SPEAKING, all_profiles

PROFILES = all_profiles()


def line_of(protocol: str, table: Mapping[str, Any], attachments: Sequence[Any] = ()) -> AttachedLine:
    kind = registry.find(protocol)
    assert kind is not None
    settings = parse(kind.Line, table, file="site", key="line", problems=[])
    assert settings is not None
    return AttachedLine("line", kind, settings, tuple(attachments), {})


async def look(line: AttachedLine, **ask: Any) -> LookReport:
    driver = line.kind.open("line", line.settings, line.attachments, now, Ledger())
    async with driver:
        steps: list[str] = []
        given = LookFor(line="line", **ask)
        report = await identify(line, driver, given, list(PROFILES.values()), lambda word, _details: steps.append(word))
        assert steps
    return report


def unit_of(words: Mapping[strangers.Place, int]) -> Unit:
    return Unit({where: word for (_, where), word in words.items()})


def first(report: LookReport, n: int = 0) -> str:
    assert report.found, report
    return report.found[n].findings[0].profile if report.found[n].findings else ""


@asynccontextmanager
async def serving(server: ModbusServer) -> AsyncIterator[dict[str, Any]]:
    listener = await server.serve_tcp()
    try:
        yield {"host": "127.0.0.1", "port": listener.sockets[0].getsockname()[1]}
    finally:
        listener.close()
        server.disconnect()
        await listener.wait_closed()


async def test_a_scan_finds_every_model_on_a_bus_and_what_to_write() -> None:
    units = {3 + n: unit_of(words) for n, words in enumerate(strangers.MODBUS.values())}
    units[9] = Unit(exception=4)  # it is there, and refuses everything
    server = ModbusServer(units)
    lamp = attach("lamp", PROFILES["lx-1"], {"unit": 3})
    async with serving(server) as where:
        line = line_of("modbus", where, [lamp])
        async with asyncio.timeout(60):
            report = await look(line, units=(1, 10), seconds=60)
    assert [(f.address["unit"], first(report, n)) for n, f in enumerate(report.found)] == [
        *((3 + n, name) for n, name in enumerate(strangers.MODBUS)), (9, ""),
    ]  # fmt: skip
    assert report.found[0].known == ("lamp",)
    text = "\n".join(told(report, "en"))
    assert 'write: profile = "tm-3", line = "line", address = { unit = 4 }' in text
    assert "this is lamp" in text
    assert not any(function in (5, 6, 16) for _, function, _, _ in server.asked), "nothing is ever written"
    assert "rien" not in text
    assert "écrivez" in "\n".join(told(report, "fr"))


async def test_known_devices_are_read_on_while_somebody_looks() -> None:
    units = {1: unit_of(strangers.LX1), 7: unit_of(strangers.SDM630)}
    lamp = attach("lamp", PROFILES["lx-1"], {"unit": 1})
    async with serving(ModbusServer(units)) as where:
        line = line_of("modbus", where, [lamp])
        driver = line.kind.open("line", line.settings, line.attachments, now, Ledger())
        async with driver:
            ask = LookFor(line="line", units=(1, 12), seconds=30)
            looking = asyncio.create_task(identify(line, driver, ask, list(PROFILES.values()), lambda _w, _d: None))
            polls = 0
            while not looking.done():
                sample = await driver.poll(lamp.device, list(lamp.profile.points.values()))
                assert sample.values["supply_voltage"] == 230.0
                polls += 1
            report = await looking
    assert polls > 20
    assert [first(report, n) for n in range(2)] == ["lx-1", "eastron-sdm630"]


async def test_the_swapped_words_of_a_clone_are_told_with_the_key_to_write() -> None:
    words = {
        (space, where + (1 if where % 2 == 0 else -1)): word for (space, where), word in strangers.SDM630.items()
    }  # fmt: skip
    async with serving(ModbusServer({7: unit_of(words)})) as where:
        report = await look(line_of("modbus", where), unit=7)
    text = "\n".join(told(report, "en"))
    assert first(report) == "eastron-sdm630"
    assert "ABCD gives" in text
    assert 'write order = "CDAB" in the `at` of voltage_l1, ' in text


class Busy(RtuPort):
    """A serial line with a neighbour's traffic and noise on it."""

    def __init__(self, server: ModbusServer, seed: int) -> None:
        super().__init__(server)
        self._draw = random.Random(seed)

    def say(self, unit: int, answer: bytes) -> None:
        what = self._draw.randrange(4)
        if what == 0:
            self.noise(self._draw.randbytes(5))
        elif what == 1:
            super().say(31, b"\x03\x04\x00\x01\x00\x02")
        if self._draw.randrange(6):  # else it is lost
            super().say(unit, answer)


async def test_out_of_noise_and_a_neighbours_traffic() -> None:
    for seed, name in enumerate(("lx-1", "eastron-sdm120")):
        words = strangers.MODBUS[name]
        async with Busy(ModbusServer({7: unit_of(words)}), seed) as port:
            line = line_of("modbus", {"serial": port.path, "baud": 115_200, "timeout_s": 0.05, "quiet_s": 0.005})
            report = await look(line, unit=7, seconds=60)
        assert first(report) == name, report


class Picky(RtuPort):
    """A serial line whose device speaks at one speed: at any other nothing whole comes.

    A pseudo-terminal has no parity (Linux, pty_set_termios): some kernels forget it, others refuse it, as ports do that
    lack one.
    """

    def say(self, unit: int, answer: bytes) -> None:
        if termios.tcgetattr(self._slave)[4] == termios.B19200:
            super().say(unit, answer)
        else:
            self.noise(b"\xff\x00\xfe")


async def test_the_speed_of_a_line_is_found() -> None:
    async with Picky(ModbusServer({7: unit_of(strangers.TM3)})) as port:
        line = line_of("modbus", {"serial": port.path, "timeout_s": 0.1, "quiet_s": 0.005})
        ask = LookFor(line="line", unit=7, seconds=60)
        report = await alone(line, ask, list(PROFILES.values()), lambda _w, _d: None, sweep=True)
    assert report.settings == {"baud": 19_200, "parity": "N"}
    assert first(report) == "tm-3"
    assert 'baud = 19200, parity = "N"' in "\n".join(told(report, "en"))


class Twins(RtuPort):
    """Two devices at one unit number: both answer."""

    def say(self, unit: int, answer: bytes) -> None:
        super().say(unit, answer)
        asyncio.get_running_loop().call_later(0.005, super().say, unit, answer[:-2] + b"\x12\x34")


async def test_two_devices_at_one_number_are_told() -> None:
    alone = ModbusServer({7: unit_of(strangers.LX1)})
    async with RtuPort(alone) as port:
        one = await look(
            line_of("modbus", {"serial": port.path, "baud": 115_200, "timeout_s": 0.2, "quiet_s": 0.02}),
            unit=7,
            seconds=60,
        )
    assert "two_devices" not in one.found[0].notes
    async with Twins(ModbusServer({7: unit_of(strangers.LX1)})) as port:
        two = await look(
            line_of("modbus", {"serial": port.path, "baud": 115_200, "timeout_s": 0.2, "quiet_s": 0.02}),
            unit=7,
            seconds=60,
        )
    assert "two_devices" in two.found[0].notes
    assert "two devices seem to answer" in "\n".join(told(two, "en"))


async def test_what_is_published_is_found_among_strangers_topics() -> None:
    import aiomqtt

    async with broker() as one, aiomqtt.Client("127.0.0.1", one.port, identifier="devices") as devices:
        line = line_of("mqtt", {"host": "127.0.0.1", "port": one.port, "client_id": "node"})
        looking = asyncio.create_task(look(line, topic="#", seconds=4))
        mine = {name: evidence for name, (protocol, evidence) in SPEAKING.items() if protocol == "mqtt"}
        while not looking.done():
            for evidence in mine.values():
                await devices.publish(evidence.topic, evidence.payloads[0], qos=1)
            await devices.publish("weather/forecast", b'{"rain": [1, 2, 3]}', qos=1)
            await devices.publish("camera/1", random.Random(1).randbytes(2_000))
            await asyncio.sleep(0.1)
        report = await looking
    found = {str(f.address["topic"]): first(report, n) for n, f in enumerate(report.found)}
    assert found == {
        **{evidence.topic: name for name, evidence in mine.items()}, "weather/forecast": "", "camera/1": "",
    }  # fmt: skip


async def test_what_is_on_the_air_is_found_and_one_is_connected_to() -> None:
    sp1 = strangers.SP1
    async with bluetooth() as bluez:
        macs = {}
        for n, (name, (protocol, evidence)) in enumerate(SPEAKING.items()):
            if protocol == "ble" and evidence.adverts:
                macs[f"C6:00:00:00:00:{n:02X}"] = name
                advert = evidence.adverts[0]
                bluez.advertise(f"C6:00:00:00:00:{n:02X}", dict(advert.manufacturer), dict(advert.service))
        bluez.advertise("C6:00:00:00:00:FE", {0x004C: bytes(range(20))})
        bluez.characteristic("C6:00:00:00:00:FF", sp1["characteristic"], bytes.fromhex(sp1["data"]))
        bluez.advertise("C6:00:00:00:00:FF", {1: b"x"})
        line = line_of("ble", {"connect_timeout_s": 3})
        report = await look(line, seconds=1.5)
        found = {str(f.address["mac"]): first(report, n) for n, f in enumerate(report.found)}
        assert found == {**macs, "C6:00:00:00:00:FE": "", "C6:00:00:00:00:FF": ""}
        assert all(f.rssi == -60 for f in report.found)
        one = await look(line, mac="c6:00:00:00:00:ff", seconds=3)
    assert [f.address["mac"] for f in one.found] == ["C6:00:00:00:00:FF"]
    assert first(one) == "sp-1"


def test_a_report_crosses_the_socket_as_it_is() -> None:
    report = LookReport(line="a", protocol="modbus", profiles=3, found=())
    assert msgspec.json.decode(msgspec.json.encode(report), type=LookReport) == report
    assert list(told(report, "fr")) == ["ligne a : rien ne répond"]
