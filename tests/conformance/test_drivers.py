"""One suite for every driver: what `drivers/contract.py` promises, on real servers of each protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from conformance.driver_ble import BleRig
from conformance.driver_rigs import FakeRig, ModbusRtuRig, ModbusTcpRig, MqttRig, Rig, listening, until
from drivers.errors import DriverError, Misconfigured, Refused, Unreachable
from wire.device import Device

RIGS: dict[str, Any] = {
    "fake": FakeRig, "modbus-tcp": ModbusTcpRig, "modbus-rtu": ModbusRtuRig, "mqtt": MqttRig, "ble": BleRig,
}  # fmt: skip


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
