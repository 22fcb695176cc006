"""Modbus on lines that misbehave: dead devices, late answers, refusals, lost connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from conformance.driver_modbus_server import ModbusServer, RtuPort, Unit, crc
from conformance.driver_rigs import LAMP, WORDS, Ledger, attach, open_driver, profile_of, until
from drivers.contract import Attachment
from drivers.errors import Refused, Unreachable
from drivers.profile import Profile


def words(*values: int) -> dict[int, int]:
    return dict(enumerate(values))


def lamps(profile: Profile, *units: int) -> list[Attachment]:
    return [attach(f"lamp-{u}", profile, {"unit": u}) for u in units]


def points(attachment: Attachment, *names: str) -> list[Any]:
    return [attachment.profile.points[n] for n in names or attachment.profile.points]


@asynccontextmanager
async def line(server: ModbusServer, attachments: Sequence[Attachment], **keys: Any) -> AsyncIterator[Any]:
    listener = await server.serve_tcp()
    port = listener.sockets[0].getsockname()[1]
    table = {"host": "127.0.0.1", "port": port, "timeout_s": 0.2, **keys}
    try:
        async with open_driver("modbus", table, attachments, Ledger()) as driver:
            yield driver
    finally:
        listener.close()
        server.disconnect()
        await listener.wait_closed()


async def test_one_dead_device_delays_the_others_by_one_time_out_a_step() -> None:
    """On a clock of its own: what is counted is requests on the wire, each of which the dead device lets time out."""
    profile = profile_of("lamp", LAMP)
    server = ModbusServer({1: Unit(words(*WORDS)), 2: Unit(words(*WORDS)), 9: Unit(silent=True)})
    dead, one, two = lamps(profile, 9, 1, 2)
    dead = replace(dead, address=replace(dead.address, timeout_s=0.05))  # the others may be slow on a busy machine
    at_s = 0.0
    tried: list[float] = []
    reasons: set[str] = set()
    async with line(server, [dead, one, two], timeout_s=5) as driver:
        for slave in driver._slaves.values():
            slave.backoff._clock = lambda: at_s
        for second in range(400):
            at_s = float(second)
            before = len(server.asked)
            polls = [asyncio.create_task(driver.poll(a.device, points(a))) for a in (dead, one, two)]
            done = await asyncio.gather(*polls, return_exceptions=True)
            asked = [u for u, *_ in server.asked[before:]]
            assert asked.count(9) <= 1, "never two of its time-outs in one round"
            assert (asked.count(1), asked.count(2)) == (1, 1)
            tried += [at_s] * asked.count(9)
            reasons.add(str(done[0]))
            assert [s.values["on"] for s in done[1:]] == [True, True]
    assert tried == [0, 1, 3, 7, 15, 31, 63, 127, 255]
    assert len(reasons) == 1, "the same words all the time: what changes is always reported"


async def test_commands_go_ahead_of_polls_also_inside_one() -> None:
    table = {**LAMP, "modbus": {"max_gap": 0, "max_registers": 2}}
    profile = profile_of("lamp", table)
    server = ModbusServer({1: Unit(words(*WORDS))}, gate=asyncio.Event())
    (lamp,) = lamps(profile, 1)
    async with line(server, [lamp], timeout_s=5) as driver:
        polls = [asyncio.create_task(driver.poll(lamp.device, points(lamp))) for _ in range(3)]
        await until(lambda: len(server.asked) == 1)
        command = asyncio.create_task(driver.write(lamp.device, profile.points["level"], 20))
        await asyncio.sleep(0.01)
        server.gate.set()
        await asyncio.gather(command, *polls)
    functions = [f for _, f, *_ in server.asked]
    assert functions.index(6) == 1
    assert functions.count(3) == 9


async def test_what_the_device_refuses_is_bad_and_the_rest_stands() -> None:
    profile = profile_of("lamp", {**LAMP, "modbus": {"max_gap": 0}})
    server = ModbusServer({1: Unit(words(*WORDS[:3])), 2: Unit(exception=4)})
    one, two = lamps(profile, 1, 2)
    async with line(server, [one, two]) as driver:
        sample = await driver.poll(one.device, points(one))
        assert sample.values == {"level": 65.5, "power": None, "on": True, "energy": None}
        reason = "bad:the device has no such register (exception 2)"
        assert sample.quality == {"power": reason, "energy": reason}
        with pytest.raises(Refused, match=r"the device has failed \(exception 4\)"):
            await driver.poll(two.device, points(two))
        server.units[1].words.pop(2)
        with pytest.raises(Refused, match="no such register"):
            await driver.write(one.device, profile.points["level"], 10)


async def test_a_block_refused_for_its_gaps_is_split_and_that_is_remembered() -> None:
    profile = profile_of("lamp", LAMP)
    server = ModbusServer({1: Unit({a: w for a, w in enumerate(WORDS) if a != 3})})
    (lamp,) = lamps(profile, 1)
    async with line(server, [lamp]) as driver:
        for _ in range(2):
            sample = await driver.poll(lamp.device, points(lamp))
            assert sample.values == {"level": 65.5, "power": 48.25, "on": True, "energy": 65538}
            assert not sample.quality
    assert [(s, n) for *_, s, n in server.asked] == [(1, 7), (1, 2), (4, 4), (1, 2), (4, 4)]


async def test_an_answer_that_stops_half_way_keeps_what_was_read() -> None:
    profile = profile_of("lamp", {**LAMP, "modbus": {"max_gap": 0}})
    server = ModbusServer({1: Unit(words(*WORDS), falls_silent_after=1)})
    (lamp,) = lamps(profile, 1)
    async with line(server, [lamp]) as driver:
        sample = await driver.poll(lamp.device, points(lamp))
    assert sample.values == {"level": 65.5, "power": None, "on": True, "energy": None}
    assert sample.quality["power"].startswith("bad:no answer within 0.2 s")


async def test_a_gateway_that_cannot_reach_the_device_counts_as_no_answer() -> None:
    profile = profile_of("lamp", LAMP)
    server = ModbusServer({1: Unit(exception=11)})
    (lamp,) = lamps(profile, 1)
    async with line(server, [lamp]) as driver:
        with pytest.raises(Unreachable, match="the gateway had no answer"):
            await driver.poll(lamp.device, points(lamp))
        with pytest.raises(Unreachable, match="the gateway had no answer"):
            await driver.poll(lamp.device, points(lamp))
        assert driver.counters()["left_alone"] == 1
    assert len(server.asked) == 1


async def test_a_lost_connection_blames_no_device() -> None:
    profile = profile_of("lamp", LAMP)
    server = ModbusServer({1: Unit(words(*WORDS)), 2: Unit(words(*WORDS))})
    attached = lamps(profile, 1, 2)
    async with line(server, attached) as driver:
        await driver.poll(attached[0].device, points(attached[0]))
        server.gate = asyncio.Event()
        task = asyncio.create_task(driver.poll(attached[0].device, points(attached[0])))
        await until(lambda: len(server.asked) == 2)
        server.gate = None
        server.disconnect()
        assert (await task).values["on"] is True, "asked once more, on a new connection"
        assert (await driver.poll(attached[1].device, points(attached[1]))).values["on"] is True
        assert driver.counters()["connected"] == 1
    assert server.connections == 2
    assert [u for u, *_ in server.asked] == [1, 1, 1, 2]


async def test_nobody_listens_then_somebody_does() -> None:
    profile = profile_of("lamp", LAMP)
    server = ModbusServer({1: Unit(words(*WORDS))})
    listener = await server.serve_tcp()
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    (lamp,) = lamps(profile, 1)
    async with open_driver("modbus", {"host": "127.0.0.1", "port": port}, [lamp], Ledger()) as driver:
        with pytest.raises(Unreachable, match=r"127.0.0.1:\d+ cannot be opened: Connection refused"):
            await driver.poll(lamp.device, points(lamp))
        with pytest.raises(Unreachable, match=r"127.0.0.1:\d+ cannot be opened: Connection refused"):
            await driver.poll(lamp.device, points(lamp))
        listener = await server.serve_tcp(port)
        await asyncio.sleep(1.05)
        assert (await driver.poll(lamp.device, points(lamp))).values["on"] is True
        listener.close()
        server.disconnect()


async def test_a_device_that_breaks_the_connection_is_left_alone_in_the_end() -> None:
    profile = profile_of("lamp", LAMP)
    server = ModbusServer({1: Unit(words(*WORDS))}, drop={9})
    good, rogue = lamps(profile, 1, 9)
    async with line(server, [good, rogue], backoff_first_s=60) as driver:
        driver._line._jitter = lambda _longest_s: 0.0  # the line itself may be opened again at once
        for _ in range(6):
            with pytest.raises(Unreachable):
                await driver.poll(rogue.device, points(rogue))
            assert (await driver.poll(good.device, points(good))).values["on"] is True
    assert [u for u, *_ in server.asked].count(9) == 2


async def test_bits_registers_texts_and_wide_numbers_are_written_and_read_back() -> None:
    table = {
        "driver": "modbus",
        "point": {
            "relay": {"type": "bool", "writable": True, "at": {"coil": 3}},
            "input": {"type": "bool", "at": {"discrete": 4}},
            "mode": {"type": "text", "writable": True, "at": {"holding": 0, "choices": {"0": "auto", "2": "safe"}}},
            "one": {"type": "int", "writable": True, "at": {"holding": 1, "as": "i16", "write": "multiple"}},
            "limit": {"type": "float", "writable": True, "at": {"holding": 2, "as": "f32", "order": "DCBA"}},
            "count": {"type": "int", "writable": True, "at": {"holding": 4, "as": "u64", "order": "CDAB"}},
            "name": {"type": "text", "writable": True, "at": {"holding": 8, "as": "text", "length": 4}},
        },
    }
    profile = profile_of("relay", table)
    server = ModbusServer({1: Unit(words(*[0] * 12), {3: False, 4: True})})
    (relay,) = lamps(profile, 1)
    want = {"relay": True, "mode": "safe", "one": -5, "limit": 2.5, "count": 2**40 + 3, "name": "été"}
    async with line(server, [relay]) as driver:
        for name, value in want.items():
            await driver.write(relay.device, profile.points[name], value)
        sample = await driver.poll(relay.device, points(relay))
        with pytest.raises(Refused, match="at most 8 bytes"):
            await driver.write(relay.device, profile.points["name"], "much too long")
        with pytest.raises(Refused, match="does not fit i16"):
            await driver.write(relay.device, profile.points["one"], 40_000)
    assert sample.values == {**want, "input": True}
    assert [f for _, f, *_ in server.asked][:6] == [5, 6, 16, 16, 16, 16]


PAIR = {
    "driver": "modbus",
    "modbus": {"max_gap": 0},
    "point": {"a": {"type": "int", "at": {"holding": 0}}, "b": {"type": "int", "at": {"holding": 10}}},
}


async def test_on_a_serial_line_a_late_answer_is_never_taken_for_the_next_one() -> None:
    profile = profile_of("pair", PAIR)
    server = ModbusServer({1: Unit({0: 111, 1: 0, 10: 222})})
    (pair,) = lamps(profile, 1)
    async with RtuPort(server) as port:
        keys = {"serial": port.path, "timeout_s": 0.1, "backoff_first_s": 0.05}
        async with open_driver("modbus", keys, [pair], Ledger()) as driver:
            server.units[1].silent = True
            with pytest.raises(Unreachable):
                await driver.poll(pair.device, points(pair, "a"))
            await asyncio.sleep(0.1)
            task = asyncio.create_task(driver.poll(pair.device, points(pair, "b")))
            await until(lambda: len(server.asked) == 2)
            port.say(1, bytes.fromhex("03 02 006F"))  # 111: the answer to the first question, same unit, same size
            with pytest.raises(Unreachable):
                await task
            server.units[1].silent = False
            await asyncio.sleep(0.25)
            sample = await driver.poll(pair.device, points(pair, "b"))
            assert sample.values == {"b": 222}


async def test_on_a_serial_line_noise_costs_one_answer_and_no_more() -> None:
    profile = profile_of("pair", PAIR)
    server = ModbusServer({1: Unit({0: 111, 1: 0, 10: 222}), 2: Unit({0: 5, 1: 0, 10: 6})})
    one, two = lamps(profile, 1, 2)
    async with RtuPort(server) as port:
        keys = {"serial": port.path, "timeout_s": 0.1, "backoff_first_s": 0.05}
        async with open_driver("modbus", keys, [one, two], Ledger()) as driver:
            port.noise(bytes(range(40)))
            for _ in range(5):
                try:
                    first = await driver.poll(one.device, points(one))
                except Unreachable:
                    await asyncio.sleep(0.1)
                else:
                    assert first.values == {"a": 111, "b": 222}
            assert (await driver.poll(two.device, points(two))).values == {"a": 5, "b": 6}


@pytest.mark.parametrize("at", [1, 3, 4], ids=["the function", "a high byte", "a low byte"])
async def test_on_a_serial_line_an_answer_with_a_wrong_bit_is_no_answer(at: int) -> None:
    profile = profile_of("pair", PAIR)
    server = ModbusServer({1: Unit({0: 111, 1: 0, 10: 222})})
    (pair,) = lamps(profile, 1)
    async with RtuPort(server) as port:
        keys = {"serial": port.path, "timeout_s": 0.1, "backoff_first_s": 0.05}
        async with open_driver("modbus", keys, [pair], Ledger()) as driver:
            server.units[1].silent = True
            task = asyncio.create_task(driver.poll(pair.device, points(pair, "a")))
            await until(lambda: len(server.asked) == 1)
            answer = bytes.fromhex("01 03 02 006F")
            damaged = bytearray(answer + crc(answer))
            damaged[at] ^= 1 << 4
            port.noise(bytes(damaged))
            with pytest.raises(Unreachable):
                await task


async def test_a_port_without_the_parity_is_told_so_each_time() -> None:
    """A pseudo-terminal, which has none, stands for it. pyserial would keep it locked, for the next try to find so."""
    profile = profile_of("lamp", LAMP)
    async with RtuPort(ModbusServer({1: Unit(words(*WORDS))})) as port:
        (lamp,) = lamps(profile, 1)
        told = []
        for _ in range(2):
            driver = open_driver("modbus", {"serial": port.path, "parity": "E", "timeout_s": 0.2}, [lamp], Ledger())
            async with driver:
                with pytest.raises(Unreachable) as failed:
                    await driver.poll(lamp.device, points(lamp))
                told.append(str(failed.value))
        assert told == [f'{port.path} cannot be opened: it has no parity "E"'] * 2
        async with open_driver("modbus", {"serial": port.path, "timeout_s": 0.2}, [lamp], Ledger()) as driver:
            assert (await driver.poll(lamp.device, points(lamp))).values["level"] == 65.5
