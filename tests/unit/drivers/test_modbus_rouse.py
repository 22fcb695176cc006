"""Whoever stands before a silent device does not wait until its back-off lets it be asked."""

from __future__ import annotations

import asyncio

import pytest

from drivers.contract import Attachment, Rousing
from drivers.errors import Unreachable
from drivers.modbus.bus import ModbusDriver
from drivers.modbus.settings import Address, Line
from drivers.profile_files import SHIPPED, load_profiles
from wire.device import Device
from wire.sample import Clock


async def test_a_device_that_is_left_alone_is_asked_when_somebody_wants_it() -> None:
    ended = asyncio.Event()
    heard: list[bytes] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            heard.append(data)
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    profile = load_profiles([SHIPPED], [])["lx-1"]
    lamp = Device(id="lamp", kind="streetlight", profile="lx-1")
    line = Line(host="127.0.0.1", port=port, timeout_s=0.01, backoff_first_s=300)
    points = list(profile.points.values())
    driver = ModbusDriver(
        "north", line, [Attachment(lamp, profile, Address(unit=1))], lambda: (1, Clock(1, synced=True))
    )
    async with server, driver:
        assert isinstance(driver, Rousing)
        for _ in range(2):
            with pytest.raises(Unreachable):
                await driver.poll(lamp, points)
        await asyncio.sleep(0)
        asked = len(heard)
        with pytest.raises(Unreachable):
            await driver.poll(lamp, points)
        assert len(heard) == asked, "it is left alone"
        driver.rouse("lamp")
        driver.rouse("nobody")
        with pytest.raises(Unreachable):
            await driver.poll(lamp, points)
        assert len(heard) > asked
    async with asyncio.timeout(30):
        await ended.wait()
