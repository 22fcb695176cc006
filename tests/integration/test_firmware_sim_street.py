"""The simulated street against clients that are not ours: pymodbus, mbpoll, aiomqtt, bleak.

Each value that a client got must be in the ledger, under the same counter, and the other way round.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from bleak import BleakClient, BleakScanner
from bleak.exc import BleakDBusError, BleakError
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN_S = 10.0
pytestmark = pytest.mark.skipif(
    any(
        shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin") is None
        for program in ("mosquitto", "dbus-daemon")
    ),
    reason="needs mosquitto and dbus-daemon",
)

SCENE = """
seed = 5
start = "2026-11-20T22:00:00+01:00"
place = {lon = 5.041, lat = 47.322}
modbus_tcp = [{name = "north"}]
modbus_rtu = [{name = "line1"}]
mqtt = {spawn = true}
device = [
    {model = "LX-1", id = "lamp-{n:03}", count = 2, server = "north", unit = 1},
    {model = "LX-1", id = "lamp-003", line = "line1", unit = 7},
    {model = "TM-3", id = "meter-001", server = "north", unit = 100},
    {model = "BN-1", id = "bin-{n:03}", count = 2, serial = "BN{n:06}", every_s = 0.1},
    {model = "AQ-2", id = "air-001", serial = "AQ000001", every_s = 0.1},
    {model = "ruuvitag", id = "beacon-001", address = "C6:4C:50:00:00:01", every_s = 0.1},
    {model = "bthome", id = "beacon-002", address = "C6:4C:50:00:00:02", every_s = 0.1},
    {model = "SP-1", id = "soil-001", address = "C6:4C:50:00:01:01", every_s = 0.1},
]
"""


@dataclass
class Street:
    process: asyncio.subprocess.Process
    endpoints: dict[str, Any]
    file: Path

    def ledger(self, device: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.file.read_text().splitlines()]
        return [line for line in lines if line["device"] == device]

    async def hush(self) -> None:
        """A line is written when its answer has left, so a reader may be faster: compare in silence."""
        self.process.send_signal(signal.SIGUSR1)
        await self.says("silent")

    async def says(self, word: str) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(READY_WITHIN_S):
            while True:
                line = await self.process.stdout.readline()
                assert line, f"the street ended before it said {word}"
                if line.decode().split()[0] == word:
                    return


@asynccontextmanager
async def street(directory: Path, faults: str = "") -> AsyncIterator[Street]:
    scene, ledger, endpoints = directory / "scene.toml", directory / "ledger.jsonl", directory / "endpoints.json"
    scene.write_text(SCENE + faults)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "firmware_sim", "run", str(scene),
        "--ledger", str(ledger), "--endpoints", str(endpoints), "--seconds", "60",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "firmware-sim")},
    )  # fmt: skip
    up = Street(process, {}, ledger)
    try:
        await up.says("ready")
        up.endpoints = json.loads(endpoints.read_text())
        yield up
        if process.returncode is None:
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 10.0) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def tcp(up: Street) -> AsyncModbusTcpClient:
    host, port = up.endpoints["modbus_tcp"]["north"].split(":")
    return AsyncModbusTcpClient(host, port=int(port), timeout=1.0, retries=0)


def cdab(registers: list[int]) -> float:
    number: float = struct.unpack(">f", struct.pack(">HH", registers[1], registers[0]))[0]
    return number


def abcd(registers: list[int]) -> float:
    number: float = struct.unpack(">f", struct.pack(">HH", *registers))[0]
    return number


async def test_modbus_tcp_answers_are_in_the_ledger_as_read(tmp_path: Path) -> None:
    async with street(tmp_path) as up, tcp(up) as client:
        for count in (1, 2, 3):
            registers = (await client.read_holding_registers(0, count=20, device_id=1)).registers
            assert registers[0] == 0x4C58
            assert registers[16:18] == [0, count]
        meter = (await client.read_input_registers(0, count=100, device_id=100)).registers
        part = (await client.read_input_registers(0, count=6, device_id=100)).registers
        await up.hush()
        lines = up.ledger("lamp-001")
        assert [line["n"] for line in lines] == [1, 2, 3]
        points = lines[-1]["points"]
        assert points["active_power"] == cdab(registers[4:6]) > 50.0
        assert points["dim_reached"] == registers[3] / 10
        assert points["supply_voltage"] == registers[6] / 10
        assert points["lamp_on"] is True
        assert points["mode"] == "automatic"
        whole, partly = up.ledger("meter-001")
        assert (whole["n"], partly["n"]) == (1, None)
        assert whole["points"]["frequency"] == abcd(meter[70:72])
        assert partly["points"] == {f"voltage_l{phase}": abcd(part[2 * phase - 2 : 2 * phase]) for phase in (1, 2, 3)}


async def test_writes_are_honoured_and_refusals_named(tmp_path: Path) -> None:
    async with street(tmp_path) as up, tcp(up) as client:
        assert not (await client.write_register(2, 405, device_id=2)).isError()
        assert not (await client.write_registers(14, [1], device_id=2)).isError()
        assert (await client.read_holding_registers(2, count=1, device_id=2)).registers == [405]
        await asyncio.sleep(0.05)
        assert up.ledger("lamp-002")[-1] | {"time_us": 0} == {
            "device": "lamp-002", "via": "modbus", "n": None, "time_us": 0, "points": {"dim_level": 40.5},
        }  # fmt: skip
        refused = {
            3: client.write_register(2, 1_001, device_id=2),
            2: client.read_holding_registers(10, count=11, device_id=2),
            1: client.read_coils(0, count=1, device_id=2),
            11: client.read_holding_registers(0, count=1, device_id=77),
        }
        for code, call in refused.items():
            assert (await call).exception_code == code


async def test_serial_line_answers_pymodbus_and_survives_a_client_that_goes(tmp_path: Path) -> None:
    async with street(tmp_path) as up:
        for count in (1, 2):
            client = AsyncModbusSerialClient(
                up.endpoints["modbus_rtu"]["line1"], baudrate=9_600, timeout=1.0, retries=0
            )
            assert await client.connect()
            registers = (await client.read_holding_registers(0, count=20, device_id=7)).registers
            assert (registers[0], registers[17]) == (0x4C58, count)
            assert (await client.write_register(2, 2_000, device_id=7)).exception_code == 3
            client.close()
        await up.hush()
        assert [line["n"] for line in up.ledger("lamp-003")] == [1, 2]


@pytest.mark.skipif(shutil.which("mbpoll") is None, reason="needs mbpoll")
async def test_mbpoll_reads_both_lines(tmp_path: Path) -> None:
    async with street(tmp_path) as up:
        host, port = up.endpoints["modbus_tcp"]["north"].split(":")
        common = ["mbpoll", "-q", "-0", "-1", "-t", "4", "-r", "0", "-c", "20"]
        over_tcp = [*common, "-m", "tcp", "-p", port, "-a", "1", host]
        over_rtu = [
            *common,
            "-m",
            "rtu",
            "-b",
            "9600",
            "-P",
            "none",
            "-a",
            "7",
            up.endpoints["modbus_rtu"]["line1"],
        ]
        for command in (over_tcp, over_rtu):
            done = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, timeout=10, check=True
            )
            assert "19544" in done.stdout


async def test_publishes_count_only_when_somebody_subscribes(tmp_path: Path) -> None:
    async with street(tmp_path) as up:
        await asyncio.sleep(0.5)
        assert up.ledger("bin-001") == []
        host, port = up.endpoints["mqtt"].split(":")
        got: list[tuple[str, dict[str, Any]]] = []
        async with aiomqtt.Client(host, int(port), protocol=aiomqtt.ProtocolVersion.V5) as client:
            await client.subscribe("bins/+/up", qos=1)
            await client.subscribe("air/+/state", qos=1)
            async with asyncio.timeout(5.0):
                async for message in client.messages:
                    assert isinstance(message.payload, bytes)
                    got.append((message.topic.value, json.loads(message.payload)))
                    if len(got) == 20:
                        up.process.send_signal(signal.SIGUSR1)
                        break
            await up.says("silent")
            size = up.file.stat().st_size
            await asyncio.sleep(0.4)
            assert up.file.stat().st_size == size
            while len(client.messages):
                message = await anext(client.messages)
                assert isinstance(message.payload, bytes)
                got.append((message.topic.value, json.loads(message.payload)))
        for device, topic in (
            ("bin-001", "bins/BN000001/up"),
            ("bin-002", "bins/BN000002/up"),
            ("air-001", "air/AQ000001/state"),
        ):
            offered = {line["n"]: line["points"] for line in up.ledger(device)}
            received = {body["n"]: body for where, body in got if where == topic}
            assert offered.keys() == received.keys()
            assert min(offered) > 1  # what was said to nobody was counted by the device, and not in the ledger
            for n, body in received.items():
                if device == "air-001":
                    flat = {**body["air"], **body["gas"], "noise": body["noise"]}
                    assert flat.items() <= offered[n].items()
                else:
                    assert (body["fill"], body["bat"], body["lid"]) == tuple(
                        offered[n][point] for point in ("fill_level", "battery_voltage", "lid")
                    )
        up.process.send_signal(signal.SIGUSR2)
        await up.says("speaking")


@pytest.mark.parametrize("mode", ["active", "passive"])
async def test_bleak_hears_the_beacons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    async with street(tmp_path) as up:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", up.endpoints["dbus"])
        await asyncio.sleep(0.3)
        assert up.ledger("beacon-001") == []
        tags: dict[int, bytes] = {}
        homes: dict[int, bytes] = {}

        def heard(_device: object, advert: Any) -> None:
            if 0x0499 in advert.manufacturer_data:
                data = advert.manufacturer_data[0x0499]
                tags[int.from_bytes(data[16:18], "big")] = data
            for data in advert.service_data.values():
                homes[data[2]] = data

        bluez = {"or_patterns": [(0, 0xFF, b"\x99\x04"), (0, 0x16, b"\xd2\xfc")]} if mode == "passive" else {}
        async with BleakScanner(heard, scanning_mode=mode, bluez=bluez):  # type: ignore[arg-type]
            await asyncio.sleep(1.0)
            await up.hush()
            await asyncio.sleep(0.1)
        lines = {line["n"]: line["points"] for line in up.ledger("beacon-001")}
        assert len(lines) > 4
        assert lines.keys() == tags.keys()
        for n, data in tags.items():
            temperature, humidity, pressure = struct.unpack(">hHH", data[1:7])
            assert lines[n]["temperature"] == temperature / 200
            assert lines[n]["relative_humidity"] == humidity / 400
            assert lines[n]["pressure"] == pressure + 50_000
            assert data[18:] == bytes.fromhex("C64C50000001")
        offered = {line["n"]: line["points"] for line in up.ledger("beacon-002")}
        assert offered.keys() == homes.keys()
        for n, data in homes.items():
            assert offered[n]["temperature"] == struct.unpack("<h", data[6:8])[0] / 100


async def test_bleak_reads_and_writes_the_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measurement, interval = (f"7a1e000{digit}-5a6d-4c61-9b7e-6c616d700001" for digit in (2, 3))
    async with street(tmp_path) as up:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", up.endpoints["dbus"])
        for round_ in (1, 2):
            async with BleakClient("C6:4C:50:00:01:01", timeout=5.0) as client:
                data = await client.read_gatt_char(measurement)
                answers, temperature, moisture, _, millivolts, _ = struct.unpack("<IhHHHB", data)
                assert answers == round_
                await client.write_gatt_char(interval, (30).to_bytes(2, "little"), response=True)
                assert await client.read_gatt_char(interval) == b"\x1e\x00"
                with pytest.raises(BleakError):
                    await client.write_gatt_char(interval, (9).to_bytes(2, "little"), response=True)
        await up.hush()
        line = up.ledger("soil-001")[-1]
        assert (line["n"], line["via"]) == (2, "gatt")
        assert line["points"]["soil_temperature"] == temperature / 100
        assert line["points"]["soil_moisture"] == moisture / 100
        assert line["points"]["battery_voltage"] == millivolts / 1_000


async def test_faults_reach_the_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = """
fault = [
    {device = "lamp-001", kind = "slow", at_s = 0, for_s = 60, delay_s = 0.4},
    {device = "lamp-002", kind = "exception", at_s = 0, for_s = 60, code = 6},
    {device = "lamp-003", kind = "garbage", at_s = 0, for_s = 60},
    {device = "meter-001", kind = "silence", at_s = 0, for_s = 60},
    {device = "soil-001", kind = "exception", at_s = 0, for_s = 60, code = 14},
]
"""
    async with street(tmp_path, faults) as up, tcp(up) as first, tcp(up) as second:
        slow = asyncio.create_task(first.read_holding_registers(0, count=20, device_id=1))
        assert (await second.read_holding_registers(0, count=20, device_id=2)).exception_code == 6
        with pytest.raises(Exception, match="No response"):
            await second.read_input_registers(0, count=2, device_id=100)
        assert (await slow).registers[17] == 1
        await asyncio.sleep(0.05)
        assert up.ledger("lamp-001")[0]["late_s"] == 0.4
        client = AsyncModbusSerialClient(up.endpoints["modbus_rtu"]["line1"], baudrate=9_600, timeout=0.4, retries=0)
        assert await client.connect()
        with pytest.raises(Exception, match="No response"):
            await client.read_holding_registers(0, count=20, device_id=7)
        client.close()
        assert up.ledger("lamp-003") == up.ledger("lamp-002") == up.ledger("meter-001") == []
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", up.endpoints["dbus"])
        async with BleakClient("C6:4C:50:00:01:01", timeout=5.0) as probe:
            with pytest.raises((BleakDBusError, BleakError)):
                await probe.read_gatt_char("7a1e0002-5a6d-4c61-9b7e-6c616d700001")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pids: list[int]) -> bool:
    """Whether one runs: in a container nobody may collect those that have ended."""
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                return True
    return False


async def test_killed_it_leaves_no_orphan(tmp_path: Path) -> None:
    async with street(tmp_path) as up:
        started = children(up.process.pid)
        assert len(started) == 2
        up.process.kill()
        await up.process.wait()
        for _ in range(1_500):
            if not alive(started):
                break
            await asyncio.sleep(0.02)
        assert not alive(started)
