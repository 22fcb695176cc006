"""Modbus devices that answer, but not to every read: silent to what they would have to refuse, or cutting it short."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import groupby
from typing import Any

import pytest

from conformance.driver_modbus_server import ModbusServer, RtuPort, Unit
from conformance.driver_rigs import Ledger, attach, open_driver, profile_of
from drivers.errors import Refused, Unreachable
from integration.test_driver_modbus import line, points
from integration.test_driver_modbus_field import asked, registers

KEYS = {"timeout_s": 0.05, "backoff_first_s": 0.001, "quiet_s": 0.001}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """These devices need no pause after an answer; the driver, which cannot know that, waits for no more than this."""
    monkeypatch.setattr("drivers.modbus.link.HURRY_S", 0.01)


@asynccontextmanager
async def either(server: ModbusServer, devices: Sequence[Any], serial: bool) -> AsyncIterator[Any]:
    """The same over TCP and over a serial line."""
    async with AsyncExitStack() as stack:
        if serial:
            port = await stack.enter_async_context(RtuPort(server))
            keys = {"serial": port.path, "baud": 115_200, **KEYS}
            yield await stack.enter_async_context(open_driver("modbus", keys, devices, Ledger()))
        else:
            yield await stack.enter_async_context(line(server, devices, **KEYS))


class Street:
    """Polls on a clock of its own, a second each: what back-off leaves alone is due again in time."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.at_s = 0.0
        for slave in driver._slaves.values():
            slave._clock = slave.backoff._clock = lambda: self.at_s
        for unit in driver._units.values():
            unit.limits._clock = lambda: self.at_s

    async def poll(self, device: Any, every_s: float = 1.0) -> dict[str, Any]:
        self.at_s += every_s
        try:
            return (await self.driver.poll(device.device, points(device))).values
        except (Refused, Unreachable):
            return {}


@pytest.mark.parametrize("every_s", [1.0, 60.0])
@pytest.mark.parametrize("serial", [False, True])
async def test_a_device_that_is_silent_to_a_joined_read_is_read_apart(serial: bool, every_s: float) -> None:
    """Its registers are two apart, and it says nothing where one is asked for that it does not have."""
    server = ModbusServer({1: Unit({0: 10, 1: 11, 4: 14, 5: 15}, no_such=0)})
    wide = {n: {"type": "int", "at": {"holding": a, "as": "u32"}} for n, a in (("a", 0), ("b", 4))}
    device = attach("d", profile_of("wide", {"driver": "modbus", "point": wide}), {"unit": 1})
    async with either(server, [device], serial) as driver:
        street = Street(driver)
        polls = [await street.poll(device, every_s) for _ in range(3)]
        assert polls[1] == polls[2] == {"a": 10 << 16 | 11, "b": 14 << 16 | 15}
        before = len(server.asked)
        await street.poll(device, 0.1)
        assert asked(server, before)[-2:] == [(0, 2), (4, 2)], "remembered"
        assert driver.counters()["left_alone"] == 0


@pytest.mark.parametrize("serial", [False, True])
async def test_a_register_to_which_a_device_says_nothing_is_bad_and_the_others_are_read(serial: bool) -> None:
    server = ModbusServer({1: Unit({a: a for a in range(60) if a != 20}, no_such=0)})
    device = attach("d", registers(10, 20, 30, 40, max_gap=0), {"unit": 1})
    async with either(server, [device], serial) as driver:
        street = Street(driver)
        polls = [await street.poll(device) for _ in range(4)]
        assert polls[1] == polls[3] == {"r10": 10, "r20": None, "r30": 30, "r40": 40}
        before = len(server.asked)
        sample = await driver.poll(device.device, points(device))
        assert sample.quality == {"r20": "bad:no answer within 0.05 s"}
        assert (20, 1) not in asked(server, before)
        server.units[1].words[20] = 7
        await street.poll(device, 120)
        assert (await street.poll(device))["r20"] == 7


async def test_a_device_that_answers_long_reads_with_silence_is_read_in_shorter_ones() -> None:
    class Short(ModbusServer):
        async def answer(self, unit: int, request: bytes) -> bytes | None:
            answer = await super().answer(unit, request)
            return None if answer is None or answer[0] & 0x80 else answer

    server = Short({1: Unit({a: a for a in range(40)}, most=10)})
    device = attach("d", registers(*range(40)), {"unit": 1})
    async with line(server, [device], **KEYS) as driver:
        street = Street(driver)
        polls = [await street.poll(device) for _ in range(5)]
        assert polls[1] == polls[4] == {f"r{a}": a for a in range(40)}
        assert driver.counters()["unread"] <= 2 * len(polls)


async def test_a_gateway_that_says_it_had_no_answer_is_as_good_as_silence() -> None:
    server = ModbusServer({1: Unit({0: 0, 4: 4}, no_such=11)})
    device = attach("d", registers(0, 4), {"unit": 1})
    async with line(server, [device], **KEYS) as driver:
        street = Street(driver)
        polls = [await street.poll(device) for _ in range(3)]
        assert polls[1] == polls[2] == {"r0": 0, "r4": 4}


async def test_a_dead_device_is_knocked_at_once_a_step() -> None:
    server = ModbusServer({1: Unit({a: a for a in range(40)})})
    device = attach("d", registers(*range(0, 40, 4)), {"unit": 1})
    async with line(server, [device], **{**KEYS, "backoff_first_s": 1}) as driver:
        street = Street(driver)
        assert len(await street.poll(device)) == 10
        server.units[1].silent = True
        tried = list[float]()
        for _ in range(300):
            asked_before = len(server.asked)
            assert await street.poll(device) == {}
            tried += [street.at_s - 2] * (len(server.asked) - asked_before)
        assert tried == [0, 1, 3, 7, 15, 31, 63, 127, 255]
        server.units[1].silent = False
        assert len(await street.poll(device, 300)) == 10, "and it is read as before"
        assert asked(server)[-1] == (0, 37)


@pytest.mark.parametrize("serial", [False, True])
async def test_a_device_that_cuts_its_answers_short_is_read_in_smaller_pieces(
    serial: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server = ModbusServer({1: Unit({a: a for a in range(40)}, cuts=10)})
    device = attach("d", registers(*range(40)), {"unit": 1})
    with caplog.at_level("INFO", logger="drivers.modbus.limits"):
        async with either(server, [device], serial) as driver:
            street = Street(driver)
            assert await street.poll(device) == {f"r{a}": a for a in range(40)}, "at the first poll"
            before = len(server.asked)
            await street.poll(device)
            assert asked(server, before) == [(0, 10), (10, 10), (20, 10), (30, 10)]
            assert driver.counters()["unread"] == 1
            server.units[1].cuts = 125
            await street.poll(device, 100)
            await street.poll(device)
            assert asked(server)[-1] == (0, 40), "firmware may change"
    assert "max_registers = 10 in profile" in caplog.text


async def test_a_text_that_is_cut_short_is_bad_with_the_key_and_the_rest_is_read() -> None:
    server = ModbusServer({1: Unit({a: a for a in range(40)}, cuts=10)})
    table = {"name": {"type": "text", "at": {"holding": 0, "as": "text", "length": 20}}}
    table["level"] = {"type": "int", "at": {"holding": 20}}
    device = attach("d", profile_of("named", {"driver": "modbus", "point": table}), {"unit": 1})
    async with line(server, [device], **KEYS) as driver:
        street = Street(driver)
        for _ in range(3):
            street.at_s += 1
            sample = await driver.poll(device.device, points(device))
            assert sample.values == {"name": None, "level": 20}
            assert "set max_registers of its profile" in sample.quality["name"]


async def test_bits_that_are_cut_short_are_never_read_from_the_padding() -> None:
    class Short(ModbusServer):
        async def answer(self, unit: int, request: bytes) -> bytes | None:
            """60 bits at most, in 8 bytes."""
            answer = await super().answer(unit, request)
            assert answer is not None
            if answer[1] <= 8:
                return answer
            bits = int.from_bytes(answer[2:], "little") & (1 << 60) - 1
            return bytes([answer[0], 8]) + bits.to_bytes(8, "little")

    server = Short({1: Unit(bits=dict.fromkeys(range(200), True))})
    table = {f"b{a}": {"type": "bool", "at": {"coil": a}} for a in range(200)}
    device = attach("d", profile_of("bits", {"driver": "modbus", "point": table}), {"unit": 1})
    async with line(server, [device], **KEYS) as driver:
        assert set((await Street(driver).poll(device)).values()) == {True}


async def test_bits_of_which_a_device_gives_whole_bytes_are_not_found_anew_again_and_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It gives one byte at most: an answer with a byte says nothing of how many bits of it are padding."""

    class Short(ModbusServer):
        async def answer(self, unit: int, request: bytes) -> bytes | None:
            answer = await super().answer(unit, request)
            assert answer is not None
            return bytes([answer[0], 1]) + answer[2:3]

    server = Short({1: Unit(bits=dict.fromkeys(range(64), True))})
    table = {f"b{a}": {"type": "bool", "at": {"coil": a}} for a in range(16)}
    device = attach("d", profile_of("bits", {"driver": "modbus", "point": table}), {"unit": 1})
    with caplog.at_level("INFO", logger="drivers.modbus.limits"):
        async with line(server, [device], **KEYS) as driver:
            street = Street(driver)
            for _ in range(8):
                assert set((await street.poll(device, 100)).values()) == {True}
    assert "gives now what it refused" not in caplog.text


@pytest.mark.parametrize("serial", [False, True])
@pytest.mark.parametrize("every_s", [1.0, 301.0])
@pytest.mark.parametrize(("where", "max_gap"), [((10, 20, 30, 40), 0), ((10, 12, 14, 16), 8)])
async def test_a_device_that_says_nothing_to_its_first_point_is_found_all_the_same(
    where: tuple[int, ...], max_gap: int, every_s: float, serial: bool
) -> None:
    server = ModbusServer({1: Unit({a: a for a in range(60) if a != 10}, no_such=0)})
    device = attach("d", registers(*where, max_gap=max_gap), {"unit": 1})
    async with either(server, [device], serial) as driver:
        street = Street(driver)
        polls = [await street.poll(device, every_s) for _ in range(40)]
    assert polls[-1] == {"r10": None, **{f"r{a}": a for a in where[1:]}}


@pytest.mark.parametrize("serial", [False, True])
async def test_a_register_that_is_tried_again_in_vain_costs_no_reading_of_the_others(serial: bool) -> None:
    """All points are of one size; what tells their answers from an owed one was found when it was needed first."""
    server = ModbusServer({1: Unit({a: a for a in (10, 11, 30, 40)}, no_such=0)})
    device = attach("d", registers(10, 20, 30, 40, max_gap=0), {"unit": 1})
    async with either(server, [device], serial) as driver:
        street = Street(driver)
        polls = [await street.poll(device, 5.0) for _ in range(90)]
        assert (20, 1) in asked(server)[20:], "tried again"
    assert all(p == {"r10": 10, "r20": None, "r30": 30, "r40": 40} for p in polls[3:])


async def test_a_device_with_nothing_to_tell_answers_apart_is_left_alone_until_none_is_owed() -> None:
    server = ModbusServer({1: Unit({a: a for a in (10, 30, 40)}, no_such=0)})
    device = attach("d", registers(10, 20, 30, 40, max_gap=0), {"unit": 1})
    async with line(server, [device], **KEYS) as driver:
        street = Street(driver)
        good = [30 in (await street.poll(device, 10.0)).values() for _ in range(100)]
        in_vain = [len(list(run)) for well, run in groupby(good) if not well]
        assert len(in_vain) >= 3
        assert max(in_vain[1:]) <= 5, "a guess, and OWED_S"
        server.units[1].words[20] = 7
        assert 7 in [(await street.poll(device, 3600.0)).get("r20") for _ in range(12)]


async def test_a_device_that_says_nothing_to_half_of_what_is_asked_for_is_read_in_the_end() -> None:
    server = ModbusServer({1: Unit({a: a for a in range(0, 12, 2)}, no_such=0)})
    device = attach("d", registers(*range(12)), {"unit": 1})
    async with line(server, [device], **KEYS) as driver:
        street = Street(driver)
        polls = [await street.poll(device, 31.0) for _ in range(30)]
    assert polls[-1] == {f"r{a}": None if a % 2 else a for a in range(12)}
