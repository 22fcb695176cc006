"""Modbus as it is met in the field: joined reads that are refused, devices that need a pause, units that several
devices share, gateways that close their connections, ports that cannot be opened."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from conformance.driver_modbus_server import ModbusServer, RtuPort, Unit
from conformance.driver_rigs import Ledger, attach, open_driver, profile_of, until
from drivers.errors import Refused, Unreachable
from drivers.modbus.link import silence_s
from drivers.modbus.settings import Line
from drivers.profile import Profile
from edge.sampling.intake import Gate, Report, failed
from integration.test_driver_modbus import line, points
from wire.sample import Clock


def registers(*addresses: int, **whole: int) -> Profile:
    """A model with these holding registers, one a point."""
    table: dict[str, Any] = {"driver": "modbus", "modbus": whole, "point": {}}
    for a in addresses:
        table["point"][f"r{a}"] = {"type": "int", "writable": a == 0, "at": {"holding": a}}
        if a == 0:
            table["point"]["r0"]["safe"] = 0
    return profile_of(f"model-{addresses[0]}-{len(addresses)}", table)


def asked(server: ModbusServer, since: int = 0) -> list[tuple[int, int]]:
    return [(start, count) for _, _, start, count in server.asked[since:]]


async def polled(driver: Any, device: Any, *names: str) -> dict[str, Any]:
    return (await driver.poll(device.device, points(device, *names))).values


# ---- what is refused


@pytest.mark.parametrize("code", [1, 2, 3, 4])
async def test_gaps_and_points_that_do_not_exist(code: int) -> None:
    server = ModbusServer({
        1: Unit({0: 10, 1: 11, 4: 14}, no_such=code),
        2: Unit({0: 20, 1: 21}, no_such=code),
        3: Unit({a: a for a in range(40)}, most=10),
    })  # fmt: skip
    gaps = attach("gaps", registers(0, 1, 4), {"unit": 1})
    old = attach("old", registers(0, 1, 2), {"unit": 2})
    short = attach("short", registers(*range(40)), {"unit": 3})
    async with line(server, [gaps, old, short]) as driver:
        assert await polled(driver, gaps) == {"r0": 10, "r1": 11, "r4": 14}
        sample = await driver.poll(old.device, points(old))
        assert sample.values == {"r0": 20, "r1": 21, "r2": None}
        assert sample.quality.keys() == {"r2"}
        assert await polled(driver, short) == {f"r{a}": a for a in range(40)}
        for _ in range(3):
            await polled(driver, short)
        before = len(server.asked)
        for device in (gaps, old, short):
            await polled(driver, device)
        assert asked(server, before) == [(0, 2), (4, 1), (0, 2), (0, 10), (10, 10), (20, 10), (30, 10)]
        with pytest.raises(Refused, match=f"exception {code}"):
            await driver.poll(old.device, points(old, "r2"))


async def test_what_is_refused_delays_the_others_by_one_request_each() -> None:
    server = ModbusServer({1: Unit({a: a for a in range(120)}, most=2), 2: Unit({0: 5})}, gate=asyncio.Event())
    short, other = attach("short", registers(*range(120)), {"unit": 1}), attach("other", registers(0), {"unit": 2})
    async with line(server, [short, other], timeout_s=5) as driver:
        first = asyncio.create_task(polled(driver, short))
        await until(lambda: len(server.asked) == 1)
        second = asyncio.create_task(polled(driver, other))
        await asyncio.sleep(0)
        assert server.gate is not None
        server.gate.set()
        await asyncio.gather(first, second)
        assert [u for u, *_ in server.asked].index(2) == 1
        assert driver.counters()["refusals"] <= 8


async def test_a_busy_device_and_a_broken_connection_teach_nothing() -> None:
    server = ModbusServer({1: Unit({a: a for a in range(8)})})
    device = attach("d", registers(*range(8)), {"unit": 1})
    async with line(server, [device]) as driver:
        for code in (5, 6):
            server.units[1].exception = code
            with pytest.raises(Refused, match=f"exception {code}"):
                await polled(driver, device)
        server.units[1].exception = None
        server.disconnect()
        before = len(server.asked)
        assert len(await polled(driver, device)) == 8
        assert asked(server, before) == [(0, 8)]


async def test_a_device_that_cuts_its_answers_short_is_told_with_the_key() -> None:
    class Short(ModbusServer):
        async def answer(self, unit: int, request: bytes) -> bytes | None:
            return bytes([3, 20]) + bytes(20)  # also where less was asked for

    device = attach("d", registers(*range(40)), {"unit": 1})
    async with line(Short({}), [device], timeout_s=0.2) as driver:
        with pytest.raises(Unreachable, match="10 registers where"):
            await polled(driver, device)


# ---- pauses


@pytest.mark.parametrize(
    ("baud", "keys", "want_s"),
    [
        (9600, {}, 3.5 * 11 / 9600),
        (9600, {"parity": "E", "stop_bits": 2}, 3.5 * 12 / 9600),
        (1200, {}, 3.5 * 11 / 1200),
        (19_200, {}, 3.5 * 11 / 19_200),
        (38_400, {}, 0.00175),
        (115_200, {}, 0.00175),
        (115_200, {"pause_ms": 30}, 0.03),
        (1200, {"pause_ms": 1}, 3.5 * 11 / 1200),
    ],
)
def test_the_silence_of_a_serial_line(baud: int, keys: dict[str, Any], want_s: float) -> None:
    assert silence_s(Line(serial="/dev/x", baud=baud, **keys)) == pytest.approx(want_s)


async def test_a_meter_that_is_deaf_right_after_its_answer_is_read_whole() -> None:
    server = ModbusServer({1: Unit(dict.fromkeys(range(40), 7))}, deaf_s=0.004)
    meter = attach("meter", registers(0, 10, 20, max_gap=0), {"unit": 1})
    async with RtuPort(server) as port:
        keys = {"serial": port.path, "baud": 9600, "timeout_s": 0.3}
        async with open_driver("modbus", keys, [meter], Ledger()) as driver:
            for n in range(8):
                assert await polled(driver, meter) == {"r0": n or 7, "r10": 7, "r20": 7}
                await driver.write(meter.device, meter.profile.points["r0"], n + 1)


async def test_a_gateway_that_needs_a_pause_has_a_key_and_the_reason_names_it() -> None:
    server = ModbusServer({1: Unit(dict.fromkeys(range(40), 7))}, deaf_s=0.03)
    meter = attach("meter", registers(0, 10, 20, max_gap=0), {"unit": 1})
    async with line(server, [meter]) as driver:
        sample = await driver.poll(meter.device, points(meter))
        assert sample.values == {"r0": 7, "r10": None, "r20": None}
        assert sample.quality["r10"].endswith("if it needs a pause between requests, set pause_ms of its line")
    async with line(server, [meter], pause_ms=30, timeout_s=2) as driver:
        for n in range(10):
            assert await polled(driver, meter) == {"r0": n or 7, "r10": 7, "r20": 7}
            await driver.write(meter.device, meter.profile.points["r0"], n + 1)


async def test_single_devices_behind_such_a_gateway_are_told_of_the_key_too() -> None:
    server = ModbusServer({u: Unit({0: u}) for u in (1, 2)}, deaf_s=0.5)
    one, two = (attach(f"d{u}", registers(0), {"unit": u}) for u in (1, 2))
    why = ""
    async with line(server, [one, two], timeout_s=0.05, backoff_first_s=0.01) as driver:
        await polled(driver, one)
        for _ in range(4):
            with pytest.raises(Unreachable) as caught:
                await polled(driver, two)
            why = str(caught.value)
            await asyncio.sleep(0.02)
    assert "pause_ms" in why


# ---- late answers


def circuits(count: int = 3) -> list[Any]:
    """A controller with channels: devices that share one unit number, each with registers of its own."""
    return [attach(f"c{c}", registers(10 * c, 10 * c + 1), {"unit": 1}) for c in range(1, count + 1)]


def is_own(device: Any, values: dict[str, Any]) -> bool:
    return all(v in (None, int(n[1:])) for n, v in values.items())


@pytest.mark.parametrize("gateway", [False, True])
async def test_late_answers_are_never_those_of_another_circuit(gateway: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over serial, and over TCP to a gateway whose answers all have the number 0."""
    monkeypatch.setattr("drivers.modbus.link.HURRY_S", 0.02)
    unit = Unit({a: a for a in range(64)}, late=4, late_s=0.12)
    server = ModbusServer({1: unit}, unnumbered=True)
    devices = circuits()
    good = failed = 0

    async def go(driver: Any) -> None:
        nonlocal good, failed
        for _ in range(24):
            for device in devices:
                try:
                    values = await polled(driver, device)
                except Unreachable:
                    failed += 1
                    await asyncio.sleep(0.002)
                else:
                    good += 1
                    assert is_own(device, values), values

    keys = {"timeout_s": 0.07, "backoff_first_s": 0.001, "quiet_s": 0.001}
    if gateway:
        async with line(server, devices, **keys) as driver:
            await go(driver)
    else:
        async with (
            RtuPort(server) as port,
            open_driver("modbus", {"serial": port.path, "baud": 115_200, **keys}, devices, Ledger()) as driver,
        ):
            await go(driver)
    assert failed > 3
    assert good > 10


async def test_a_late_answer_to_a_write_or_a_cancelled_poll_is_no_answer_to_the_next() -> None:
    server = ModbusServer({1: Unit({a: a for a in range(64)})})
    first, second = attach("first", registers(0, 1), {"unit": 1}), attach("second", registers(20, 21), {"unit": 1})
    async with RtuPort(server) as port:
        keys = {"serial": port.path, "timeout_s": 0.3, "backoff_first_s": 0.001, "quiet_s": 0.001}
        async with open_driver("modbus", keys, [first, second], Ledger()) as driver:
            assert await polled(driver, second) == {"r20": 20, "r21": 21}
            server.gate = asyncio.Event()  # what is asked now is answered when the next question is there
            task = asyncio.create_task(polled(driver, first))
            await until(lambda: len(server.asked) == 2)
            task.cancel()
            await asyncio.wait([task])
            task = asyncio.create_task(polled(driver, second))
            await asyncio.sleep(0.05)
            server.gate.set()
            assert await task == {"r20": 20, "r21": 21}

            server.gate = asyncio.Event()
            with pytest.raises(Unreachable):
                await driver.write(first.device, first.profile.points["r0"], 0)
            await asyncio.sleep(0.002)
            task = asyncio.create_task(polled(driver, second))
            await asyncio.sleep(0.05)
            server.gate.set()
            assert await task == {"r20": 20, "r21": 21}


async def test_devices_that_share_a_dead_unit_cost_one_time_out_together() -> None:
    server = ModbusServer({1: Unit(silent=True)})
    devices = circuits()
    async with line(server, devices, timeout_s=0.05, backoff_first_s=60) as driver:
        for device in devices:
            with pytest.raises(Unreachable, match="no answer within"):
                await polled(driver, device)
    assert len(server.asked) == 1


# ---- gateways that close


async def test_a_gateway_that_closes_after_each_answer() -> None:
    server = ModbusServer({1: Unit({a: a for a in range(64)})}, hangs_up=True)
    lamp = attach("lamp", registers(0, 20, 40, max_gap=0), {"unit": 1})
    level = lamp.profile.points["r0"]
    async with line(server, [lamp], timeout_s=5) as driver:
        for n in range(8):
            assert await polled(driver, lamp) == {"r0": n, "r20": 20, "r40": 40}
            assert driver.counters()["connected"] == 1
            await driver.write(lamp.device, level, n + 1)
        for n in (3, 4):  # one after the other, as orders come
            await driver.write(lamp.device, level, n)
    writes = [value for _, function, _, value in server.asked if function == 6]
    assert writes == [1, 2, 3, 4, 5, 6, 7, 8, 3, 4], "each once"


async def test_a_gateway_that_closes_when_it_is_idle() -> None:
    server = ModbusServer({1: Unit({0: 5})})
    lamp = attach("lamp", registers(0), {"unit": 1})
    async with line(server, [lamp], timeout_s=5) as driver:
        for n in range(5):
            assert await polled(driver, lamp) == {"r0": 5}
            server.disconnect()
            await until(lambda: not driver._link.connected)
            assert driver.counters()["connected"] == 1
            await driver.write(lamp.device, lamp.profile.points["r0"], 5)
            assert server.connections == 2 * n + 2 - n


async def test_a_write_that_met_a_closing_connection_is_not_sent_again_by_itself() -> None:
    """What became of it nobody knows: whoever ordered it reads back first. The line is not down for that."""
    server = ModbusServer({1: Unit({0: 5})})
    lamp = attach("lamp", registers(0), {"unit": 1})
    async with line(server, [lamp], timeout_s=5) as driver:
        for _ in range(3):
            await polled(driver, lamp)
        server.gate = asyncio.Event()
        task = asyncio.create_task(driver.write(lamp.device, lamp.profile.points["r0"], 6))
        await until(lambda: len(server.asked) == 4)
        server.gate = None
        server.disconnect()
        with pytest.raises(Unreachable, match="whether the device took the value is not known"):
            await task
        assert driver.counters()["connected"] == 1
        assert [f for _, f, *_ in server.asked] == [3, 3, 3, 6]
        await driver.write(lamp.device, lamp.profile.points["r0"], 7)


# ---- what is said of it


@pytest.mark.parametrize("line_down", [False, True])
async def test_a_dead_device_that_reports_by_exception_sends_its_heartbeats_and_no_more(line_down: bool) -> None:
    server = ModbusServer({1: Unit(silent=True)})
    lamp = attach("lamp", registers(0, 1), {"unit": 1})
    reports = {n: Report(heartbeat_s=900) for n in lamp.profile.points}
    gate = Gate(lamp.profile.points, time_resolution_us=1_000_000, reports=reports)
    at_s = 0.0
    sent: list[float] = []
    async with line(server, [lamp], timeout_s=0.02) as driver:
        driver._line._clock = driver._slaves[1].backoff._clock = lambda: at_s
        if line_down:
            driver._link._line = Line(host="127.0.0.1", port=1)
        while at_s < 2 * 3600:
            with pytest.raises(Unreachable) as caught:
                await driver.poll(lamp.device, points(lamp))
            sample = failed("lamp", points(lamp), int(at_s * 1e6), Clock(1, synced=True), str(caught.value))
            if gate.take(sample) is not None:
                sent.append(at_s)
            at_s += 10
    assert sent == [900.0 * n for n in range(8)]


# ---- what cannot be opened


async def reason(table: dict[str, Any]) -> str:
    lamp = attach("lamp", registers(0), {"unit": 1})
    async with open_driver("modbus", table, [lamp], Ledger()) as driver:
        texts: list[str] = []
        for _ in range(2):
            with pytest.raises(Unreachable) as caught:
                await polled(driver, lamp)
            texts.append(str(caught.value))
        assert texts[0] == texts[1] == driver.notes()[0]
        assert driver.counters()["connected"] == 0
        return texts[0]


async def test_the_reason_why_a_port_or_a_host_cannot_be_opened(tmp_path: Path) -> None:
    gone, plain = tmp_path / "ttyUSB7", tmp_path / "file"
    plain.touch()
    assert "No such file or directory" in await reason({"serial": str(gone)})
    assert "it is no serial port" in await reason({"serial": str(plain)})
    assert "Is a directory" in await reason({"serial": str(tmp_path)})
    master, slave = os.openpty()
    try:
        fcntl.flock(slave, fcntl.LOCK_EX)  # as pyserial does, and many others
        assert "another program has it open" in await reason({"serial": os.ttyname(slave)})
    finally:
        os.close(master)
        os.close(slave)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        assert "Connection refused" in await reason({"host": "127.0.0.1", "port": port})
        assert "Connection refused" in await reason({"host": "localhost", "port": port})
    assert "is the name right?" in await reason({"host": "gateway.invalid"})


def all_reasons() -> Sequence[tuple[BaseException, str]]:
    return (
        (PermissionError(13, "Permission denied", "/dev/ttyUSB0"), "Permission denied (is the user"),
        (OSError(113, "No route to host"), "No route to host"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 5), [Errno 101] Network is unreachable"),
         "Connection refused (nothing listens there), Network is unreachable"),
        (TimeoutError(), "no answer in time"),
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (RuntimeError(), "RuntimeError"),
    )  # fmt: skip


@pytest.mark.parametrize(("error", "words"), all_reasons(), ids=lambda x: type(x).__name__)
def test_words_of_the_system(error: BaseException, words: str) -> None:
    from drivers.reasons import why

    assert why(error).startswith(words)
    wrapped = Exception("the library fails")
    wrapped.__cause__ = error
    assert isinstance(error, TimeoutError | RuntimeError) or why(wrapped).startswith(words)
