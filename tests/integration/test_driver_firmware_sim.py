"""All three drivers with the shipped profiles against the simulated street: both were written from the data sheets
alone, so each is the other's witness. What the drivers say must be what the street's own ledger says, to the bit."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from conformance.driver_rigs import Ledger, attach, listening, open_driver, until
from drivers import registry
from drivers.profile_files import SHIPPED, load_profiles
from wire.sample import Sample

ROOT = Path(__file__).parents[2]
SCENE = """
seed = 3
[place]
lon = 5.0
lat = 47.3
[[modbus_tcp]]
name = "tcp"
[[modbus_rtu]]
name = "rtu"
[mqtt]
spawn = true
[[device]]
model = "LX-1"
id = "lamp-1"
server = "tcp"
unit = 1
[[device]]
model = "TM-3"
id = "meter-1"
server = "tcp"
unit = 2
[[device]]
model = "LX-1"
id = "lamp-2"
line = "rtu"
unit = 1
[[device]]
model = "BN-1"
id = "bin-1"
serial = "B1"
every_s = 0.3
[[device]]
model = "AQ-2"
id = "air-1"
serial = "A1"
every_s = 0.3
[[device]]
model = "ruuvitag"
id = "tag-1"
address = "C6:4C:50:00:00:01"
every_s = 0.3
[[device]]
model = "bthome"
id = "home-1"
address = "C6:4C:50:00:00:02"
every_s = 0.3
[[device]]
model = "SP-1"
id = "soil-1"
address = "C6:4C:50:00:01:01"
every_s = 0.3
"""
SITE = {
    "tcp": {"lamp-1": ("lx-1", {"unit": 1}), "meter-1": ("tm-3", {"unit": 2})},
    "rtu": {"lamp-2": ("lx-1", {"unit": 1})},
    "mqtt": {"bin-1": ("bn-1", {"serial": "B1"}), "air-1": ("aq-2", {"serial": "A1"})},
    "ble": {
        "tag-1": ("ruuvitag-df5", {"mac": "C6:4C:50:00:00:01"}),
        "home-1": ("bthome-v2", {"mac": "C6:4C:50:00:00:02"}),
        "soil-1": ("sp-1", {"mac": "C6:4C:50:00:01:01"}),
    },
}


@pytest.fixture
async def street(tmp_path: Path) -> AsyncIterator[tuple[Any, dict[str, Any], Path]]:
    (tmp_path / "scene.toml").write_text(SCENE)
    ledger, endpoints = tmp_path / "ledger", tmp_path / "endpoints"
    command = [sys.executable, "-m", "firmware_sim", "run", str(tmp_path / "scene.toml")]
    process = await asyncio.create_subprocess_exec(
        *command, "--ledger", str(ledger), "--endpoints", str(endpoints), stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "firmware-sim")},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        assert line.startswith(b"ready "), line
        yield process, json.loads(line.removeprefix(b"ready ")), ledger
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.communicate()


async def test_the_street_and_the_drivers_agree(street: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    process, ends, path = street
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", ends["dbus"])
    host, port = ends["modbus_tcp"]["tcp"].rsplit(":", 1)
    broker_host, broker_port = ends["mqtt"].rsplit(":", 1)
    lines: dict[str, tuple[str, dict[str, Any]]] = {
        "tcp": ("modbus", {"host": host, "port": int(port)}),
        "rtu": ("modbus", {"serial": ends["modbus_rtu"]["rtu"]}),
        "mqtt": ("mqtt", {"host": broker_host, "port": int(broker_port), "client_id": "node"}),
        "ble": ("ble", {}),
    }
    profiles = load_profiles([SHIPPED], [])
    heard, polled = Ledger(), []

    async def use(name: str) -> None:
        protocol, line = lines[name]
        kind = registry.find(protocol)
        assert kind is not None
        attached = [attach(d, profiles[p], address) for d, (p, address) in SITE[name].items()]
        opened = open_driver(protocol, line, attached, heard, name)
        async with opened as driver, listening(driver, [a.device for a in attached], heard):
            for _ in range(3):
                for a in attached:
                    if names := kind.polled(a.profile):
                        sample = await driver.poll(a.device, [a.profile.points[n] for n in names])
                        polled.append(sample)
                await asyncio.sleep(0.5)
            await until(lambda: all(len(samples(heard, d)) >= 3 for d in SITE[name]), 15)
            if name == "ble":
                process.send_signal(signal.SIGUSR1)
                await asyncio.wait_for(process.stdout.readline(), 10)

    def samples(ledger: Ledger, device: str) -> list[Sample]:
        return [s for s in (*ledger.samples, *polled) if s.device == device]

    await asyncio.gather(*map(use, lines))
    told: dict[tuple[str, Any], dict[str, Any]] = {}
    for entry in map(json.loads, path.read_text().splitlines()):
        told[entry["device"], entry["n"]] = entry["points"]
    compared = 0
    for sample in (*heard.samples, *polled):
        assert not sample.quality, sample
        profile = profiles[next(p for line in SITE.values() for d, (p, _) in line.items() if d == sample.device)]
        counter = next(n for n in ("answers", "n", "sequence", "packet_id") if n in profile.points)
        points = told[sample.device, sample.values[counter]]
        assert {n: v for n, v in sample.values.items() if n != "interval"} == points
        compared += len(points)
    assert compared > 200
    assert {s.device for s in (*heard.samples, *polled)} == {d for line in SITE.values() for d in line}
