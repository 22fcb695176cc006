"""The simulator as a package for other people's tests: the fixture starts a street, and holds a reader against it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from pymodbus.client import AsyncModbusTcpClient

from firmware_sim.errors import StreetError
from firmware_sim.running import RunningStreet

SCENE = """
    seed = 3
    [place]
    lon = 5.04
    lat = 47.32
    [[modbus_tcp]]
    name = "quay"
    [[device]]
    model = "LX-1"
    id = "lamp-001"
    server = "quay"
    unit = 1
"""


async def read_all(address: str, times: int) -> None:
    host, port = address.split(":")
    async with AsyncModbusTcpClient(host, port=int(port)) as client:
        for _ in range(times):
            assert not (await client.read_holding_registers(0, count=20, device_id=1)).isError()


def test_a_street_of_a_text_is_read_and_held_against_its_ledger(
    street: Callable[[str | Path], RunningStreet],
) -> None:
    city = street(SCENE)
    asyncio.run(read_all(city.endpoints["modbus_tcp"]["quay"], 5))
    city.hush()
    assert len(city.offered()) == 5
    stored = [(line["device"], line["time_us"], line["points"]) for line in city.offered()]
    assert city.compare(stored).unknown == 0
    city.speak()
    asyncio.run(read_all(city.endpoints["modbus_tcp"]["quay"], 1))
    city.hush()
    assert len(city.offered()) == 6


def test_two_streets_stand_beside_each_other(street: Callable[[str | Path], RunningStreet], tmp_path: Path) -> None:
    file = tmp_path / "scene.toml"
    file.write_text(SCENE)
    one, other = street(SCENE), street(file)
    assert one.endpoints["modbus_tcp"] != other.endpoints["modbus_tcp"]


def test_what_is_wrong_with_a_scene_is_in_the_error(street: Callable[[str | Path], RunningStreet]) -> None:
    with pytest.raises(StreetError, match="LX-7"):
        street(SCENE.replace("LX-1", "LX-7"))
