"""One suite for every driver: what `drivers/contract.py` promises, on real servers of each protocol."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from conformance.driver_ble import BleRig
from conformance.driver_rigs import FakeRig, ModbusRtuRig, ModbusTcpRig, MqttRig, Rig, listening, now, until
from drivers.contract import Traced
from drivers.errors import DriverError, Misconfigured, Refused, Unreachable
from drivers.frames import EXCHANGES, FRAME_BYTES, Frame
from wire.device import Device

RIGS: dict[str, Any] = {
    "fake": FakeRig, "modbus-tcp": ModbusTcpRig, "modbus-rtu": ModbusRtuRig, "mqtt": MqttRig, "ble": BleRig,
}  # fmt: skip
POINTS = ("level", "power", "on", "energy", "n", "fill", "sequence", "temperature", "moisture", "fault")


@pytest.fixture(params=RIGS)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with RIGS[request.param].open() as opened:
        yield opened


async def test_poll_gives_the_values(rig: Rig) -> None:
    if not rig.polls:
        with pytest.raises(Misconfigured):
            await rig.driver.poll(rig.lamp.device, list(rig.lamp.profile.points.values()))
        return
    sample = await rig.driver.poll(rig.lamp.device, rig.polled)
    assert sample.device == "lamp"
    assert sample.values == rig.expected
    assert {n: type(v) for n, v in sample.values.items()} == {n: type(v) for n, v in rig.expected.items()}
    assert not sample.quality
    assert sample.clock.boot == 7


async def test_poll_of_some_points_gives_those(rig: Rig) -> None:
    if rig.polls:
        sample = await rig.driver.poll(rig.lamp.device, rig.polled[1:2])
        assert list(sample.values) == [rig.polled[1].name]


async def test_a_dead_device_is_unreachable_and_then_left_alone(rig: Rig) -> None:
    if not rig.polls:
        return
    with pytest.raises(Unreachable):
        await rig.driver.poll(rig.dead.device, rig.polled)
    async with asyncio.timeout(0.1):  # at once, without another time-out
        with pytest.raises(Unreachable):
            await rig.driver.poll(rig.dead.device, rig.polled)
    sample = await rig.driver.poll(rig.lamp.device, rig.polled)
    assert sample.values == rig.expected


async def test_many_polls_at_once(rig: Rig) -> None:
    if rig.polls:
        async with asyncio.timeout(10):
            samples = await asyncio.gather(*(rig.driver.poll(rig.lamp.device, rig.polled) for _ in range(5)))
        assert all(s.values.keys() == rig.expected.keys() for s in samples)


async def test_a_cancelled_poll_leaves_the_line_usable(rig: Rig) -> None:
    if not rig.polls:
        return
    task = asyncio.create_task(rig.driver.poll(rig.dead.device, rig.polled))
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    sample = await rig.driver.poll(rig.lamp.device, rig.polled)
    assert sample.values == rig.expected


async def test_a_stranger_is_misconfigured(rig: Rig) -> None:
    stranger = Device(id="stranger", kind="x", profile="x")
    with pytest.raises(Misconfigured):
        await rig.driver.poll(stranger, list(rig.lamp.profile.points.values()))


async def test_write_reaches_the_device(rig: Rig) -> None:
    level = rig.lamp.profile.points["level"]
    async with listening(rig.driver, [rig.lamp.device], rig.ledger):
        if rig.listens and not rig.polls:
            await until(lambda: rig.driver.counters()["connected"])
        await rig.driver.write(rig.lamp.device, level, 42.5)
        assert await rig.held("level") == 42.5


@pytest.mark.parametrize("value", [101, -0.1, float("nan"), "full", None, True])
async def test_what_a_point_does_not_take_is_refused_before_the_line(rig: Rig, value: Any) -> None:
    with pytest.raises(Refused):
        await rig.driver.write(rig.lamp.device, rig.lamp.profile.points["level"], value)


async def test_what_is_not_writable_is_misconfigured(rig: Rig) -> None:
    point = next(p for p in rig.lamp.profile.points.values() if not p.writable)
    with pytest.raises(Misconfigured):
        await rig.driver.write(rig.lamp.device, point, 1)


async def test_listen_returns_or_delivers(rig: Rig) -> None:
    if not rig.listens:
        async with asyncio.timeout(1):
            await rig.driver.listen([rig.lamp.device], rig.ledger)
        return
    async with listening(rig.driver, [rig.lamp.device, rig.dead.device], rig.ledger):
        await until(lambda: rig.driver.counters()["connected"])
        want = [await rig.publish(n) for n in (1, 2, 3)]
        samples = await rig.ledger.count(3)
        assert [dict(s.values) for s in samples] == want
        assert {s.device for s in samples} == {"lamp"}


async def test_counters_are_counts(rig: Rig) -> None:
    if rig.polls:
        await rig.driver.poll(rig.lamp.device, rig.polled)
    counters = rig.driver.counters()
    assert counters["connected"] in (0, 1)
    assert all(type(v) is int for v in counters.values())


async def test_a_driver_can_be_left_while_it_is_used(rig: Rig) -> None:
    if not rig.polls:
        return
    task = asyncio.create_task(rig.driver.poll(rig.dead.device, rig.polled))
    await asyncio.sleep(0.02)
    await rig.driver.__aexit__(None, None, None)
    with pytest.raises(DriverError):
        async with asyncio.timeout(5):
            await task


async def test_the_last_frames_of_a_device_are_there_named_by_its_profile(rig: Rig) -> None:
    if not rig.traced:
        return
    assert isinstance(rig.driver, Traced)
    assert rig.driver.frames("stranger") == ()
    before_us = now()[0]
    async with listening(rig.driver, [rig.lamp.device, rig.dead.device], rig.ledger):
        if rig.listens:
            await until(lambda: rig.driver.counters()["connected"])
        values = dict(rig.expected)
        for n in range(1, EXCHANGES + 5):
            if rig.listens:
                values |= await rig.publish(n)
                await rig.ledger.count(n)
            if rig.polls:
                await rig.driver.poll(rig.lamp.device, rig.polled)
        frames = rig.driver.frames("lamp")
        with contextlib.suppress(DriverError):
            await rig.driver.write(rig.lamp.device, rig.lamp.profile.points["level"], 42.5)
        told = rig.driver.frames("lamp")[-2:]
    assert 0 < len(frames) <= 2 * EXCHANGES
    assert all(0 < len(f.data) <= FRAME_BYTES for f in frames)
    times = [f.time_us for f in frames]
    assert times == sorted(times)
    assert before_us - 1_000_000 < times[0] <= times[-1] < now()[0] + 1_000_000
    assert {p for f in frames if f.direction == "in" for p in points_of(f)} == values.keys()
    for frame in frames:
        assert all(0 <= f.first < f.first + f.length <= len(frame.data) for f in frame.fields)
        if frame.direction == "in":
            assert points_of(frame), frame
    assert any(f.direction == "out" for f in told)
    assert not [f for f in rig.driver.frames("dead") if f.direction == "in"]


def points_of(frame: Frame) -> dict[str, bytes]:
    """The points that a frame is said to hold, and their bytes."""
    return {
        word.strip(","): frame.data[f.first : f.first + f.length]
        for f in frame.fields
        for word in f.name.split(" ")
        if word.strip(",") in POINTS
    }


async def test_the_bytes_of_a_point_are_those_that_the_device_gave(rig: Rig) -> None:
    if not rig.traced:
        return
    async with listening(rig.driver, [rig.lamp.device], rig.ledger):
        if rig.listens:
            await until(lambda: rig.driver.counters()["connected"])
            await rig.publish(3)
            await rig.ledger.count(1)
        if rig.polls:
            await rig.driver.poll(rig.lamp.device, rig.polled)
        found: dict[str, bytes] = {}
        for frame in rig.driver.frames("lamp"):
            if frame.direction == "in":
                found |= points_of(frame)
    assert {n: found.get(n) for n in rig.said} == rig.said
