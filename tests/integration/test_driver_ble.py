"""BLE with the real bleak on a Bluetooth daemon that misbehaves."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from conformance.driver_ble import DEAD_MAC, LAMP_MAC, PROBE, PROBE_TABLE, Bluez, bluetooth
from conformance.driver_rigs import Ledger, attach, listening, open_driver, profile_of, until
from drivers.errors import NotStored, Refused, Unreachable
from edge.sampling.intake import Gate, Report, failed
from wire.sample import Clock

PROFILE = profile_of("test-probe", PROBE_TABLE)
LAMP = attach("lamp", PROFILE, {"mac": LAMP_MAC})
DEAD = attach("dead", PROFILE, {"mac": DEAD_MAC})
MOISTURE = PROFILE.points["moisture"]


def node(ledger: Ledger, *attachments: Any, **keys: Any) -> Any:
    return open_driver("ble", {"connect_timeout_s": 0.5, **keys}, attachments or [LAMP], ledger)


@asynccontextmanager
async def running(ledger: Ledger, **keys: Any) -> AsyncIterator[Any]:
    async with node(ledger, **keys) as driver, listening(driver, [LAMP.device], ledger):
        await until(lambda: driver.counters()["connected"])
        yield driver


def beep(bluez: Bluez, n: int, mac: str = LAMP_MAC) -> None:
    bluez.advertise(mac, {0x0499: struct.pack(">Hh", n, 2000)})


def numbers(ledger: Ledger) -> list[Any]:
    return [s.values["sequence"] for s in ledger.samples]


async def test_a_repeat_of_the_packet_id_is_one_reading_also_after_a_restart() -> None:
    ledger = Ledger()
    async with bluetooth() as bluez:
        async with running(ledger) as driver:
            for n in (1, 1, 2, 2, 2, 3):
                beep(bluez, n)
            await ledger.count(3)
            await until(lambda: driver.counters().get("repeats", 0) >= 3)
        async with running(ledger) as driver:
            beep(bluez, 3)
            beep(bluez, 4)
            await ledger.count(4)
    assert numbers(ledger) == [1, 2, 3, 4]


async def test_what_the_node_could_not_keep_is_taken_from_the_next_repeat() -> None:
    ledger = Ledger()
    async with bluetooth() as bluez, running(ledger) as driver:
        ledger.fail = NotStored("full")
        beep(bluez, 1)
        await until(lambda: driver.counters().get("not_stored") == 1)
        ledger.fail = None
        beep(bluez, 1)
        await ledger.count(1)
    assert numbers(ledger) == [1]


async def test_what_waits_is_bounded_and_drops_are_counted() -> None:
    ledger = Ledger()
    ledger.hold = []
    async with bluetooth() as bluez, running(ledger, max_pending=2) as driver:
        for n in range(1, 6):
            beep(bluez, n)
        await until(lambda: driver.counters().get("dropped") == 3)
        ledger.release()
    assert numbers(ledger) == [1, 2]


async def test_bad_adverts_are_bad_readings_once() -> None:
    ledger = Ledger()
    async with bluetooth() as bluez, running(ledger) as driver:
        bluez.advertise(LAMP_MAC, {0x0499: b"\x00"})
        bluez.advertise(LAMP_MAC, {0x0499: b"\x00"})
        (sample,) = await ledger.count(1)
        assert sample.quality["sequence"] == "bad:the device gave only 1 bytes"
        bluez.advertise(LAMP_MAC, {0x1234: b"\x00"})  # somebody else's
        beep(bluez, 1)
        await ledger.count(2)
        assert driver.counters()["adverts"] >= 3


async def test_a_silent_scanner_is_started_again() -> None:
    ledger = Ledger()
    async with bluetooth() as bluez, running(ledger, silence_s=1) as driver:
        await until(lambda: bluez.starts >= 2)
        await until(lambda: driver.counters()["connected"])
        beep(bluez, 1)
        await ledger.count(1)
        assert driver.counters()["scanner_silences"] == 1


async def test_an_adapter_that_goes_and_comes_back() -> None:
    ledger = Ledger()
    async with bluetooth() as bluez, running(ledger, silence_s=1) as driver:
        bluez.remove_adapter()
        await until(lambda: driver.counters().get("scanner_failures", 0) >= 1)
        bluez.add_adapter()
        await until(lambda: bluez.scanning == 1)
        await until(lambda: driver.counters()["connected"])
        beep(bluez, 1)
        await ledger.count(1)


async def test_the_bus_dies_and_the_driver_goes_on_trying() -> None:
    ledger = Ledger()
    async with bluetooth() as bluez, running(ledger, silence_s=1) as driver:
        await bluez.stop()
        await until(lambda: driver.counters().get("scanner_failures", 0) >= 1)
        assert driver.counters()["connected"] == 0


async def test_passive_scanning_uses_monitors() -> None:
    ledger = Ledger()
    async with bluetooth() as bluez, running(ledger, scanning="passive"):
        assert len(bluez.monitors) == 1
        assert bluez.scanning == 0
        beep(bluez, 1)
        await ledger.count(1)


async def test_at_most_so_many_connections_at_a_time_and_one_for_each_device() -> None:
    ledger = Ledger()
    many = [attach(f"probe-{i}", PROFILE, {"mac": f"C4:00:00:00:01:{i:02d}"}) for i in range(6)]
    async with bluetooth() as bluez:
        bluez.connect_s = 0.05
        for attachment in many:
            bluez.characteristic(attachment.address.mac, PROBE, bytes.fromhex("0D8E01"))
        async with node(ledger, *many, connect_timeout_s=3) as driver:
            async with asyncio.timeout(10):
                samples = await asyncio.gather(*(driver.poll(a.device, [MOISTURE]) for a in many * 2))
        assert all(s.values == {"moisture": 34.7} for s in samples)
        assert bluez.most_connected == 2
        assert bluez.connected_at_once == 0


async def test_a_device_that_refuses_connections_is_left_alone() -> None:
    ledger = Ledger()
    async with bluetooth() as bluez, node(ledger) as driver:
        bluez.device(LAMP_MAC).fails = True
        with pytest.raises(Unreachable, match=r"Host is down$"):
            await driver.poll(LAMP.device, [MOISTURE])
        with pytest.raises(Unreachable, match=r"Host is down$"):  # the same words: it is the same reading
            await driver.poll(LAMP.device, [MOISTURE])
        assert bluez.devices[LAMP_MAC].connects == 1


async def test_a_refused_characteristic_is_bad_and_the_rest_stands() -> None:
    ledger = Ledger()
    async with bluetooth() as bluez, node(ledger) as driver:
        probe = bluez.characteristic(LAMP_MAC, PROBE, bytes.fromhex("0D8E01"))
        points = [MOISTURE, PROFILE.points["level"]]  # the device has no characteristic for the level
        sample = await driver.poll(LAMP.device, points)
        assert sample.values == {"moisture": 34.7, "level": None}
        assert sample.quality["level"].endswith("it has no such characteristic")
        probe.refuses = True
        with pytest.raises(Refused, match="read not permitted"):
            await driver.poll(LAMP.device, [MOISTURE])
        with pytest.raises(Refused):
            await driver.write(LAMP.device, PROFILE.points["level"], 5)


async def test_polls_and_the_scanner_do_not_disturb_each_other() -> None:
    ledger = Ledger()
    async with bluetooth() as bluez, node(ledger, LAMP, DEAD, connect_timeout_s=1) as driver:
        bluez.characteristic(LAMP_MAC, PROBE, bytes.fromhex("0D8E01"))
        first = asyncio.create_task(driver.poll(LAMP.device, [MOISTURE]))  # looks for the device by itself
        await asyncio.sleep(0)
        async with listening(driver, [LAMP.device], ledger):
            assert (await first).values == {"moisture": 34.7}
            await until(lambda: driver.counters()["connected"])
            bluez.characteristic(DEAD_MAC, PROBE, bytes.fromhex("0D8E01"))
            second = asyncio.create_task(driver.poll(DEAD.device, [MOISTURE]))  # waits for the scanner to hear it
            await asyncio.sleep(0.05)
            beep(bluez, 1, DEAD_MAC)
            assert (await second).values == {"moisture": 34.7}
            beep(bluez, 2)
            await ledger.count(1)
            driver._peers[DEAD_MAC].seen = None
            driver._peers[DEAD_MAC].sighted.clear()
            with pytest.raises(Unreachable, match="was not heard"):
                await driver.poll(DEAD.device, [MOISTURE])
        assert driver.counters().get("scanner_failures", 0) == 0


async def test_connections_do_not_stand_for_adverts_when_the_adapter_has_stopped_discovery() -> None:
    ledger = Ledger()
    async with bluetooth() as bluez, running(ledger, silence_s=2) as driver:
        probe = bluez.characteristic(LAMP_MAC, PROBE, bytes.fromhex("0D8E01"))
        beep(bluez, 1)
        await ledger.count(1)
        bluez.scanning, bluez.mute = 0, True  # the adapter has stopped; polls go on
        await driver.poll(LAMP.device, [MOISTURE])  # what was on its way before has come
        adverts = driver.counters()["adverts"]
        for _ in range(100):
            assert (await driver.poll(LAMP.device, [MOISTURE])).values == {"moisture": 34.7}
            if bluez.starts >= 2:
                break
            await asyncio.sleep(0.1)
        assert bluez.starts >= 2, "discovery was started again"
        assert driver.counters()["adverts"] == adverts
        assert numbers(ledger) == [1], "what a connection tells of the last advert is no reading"
        await until(lambda: driver.counters()["connected"])
        beep(bluez, 2)
        await ledger.count(2)
        assert probe.value


async def test_devices_of_one_address_hear_each_what_is_theirs() -> None:
    ledger = Ledger()
    other = profile_of(
        "test-service",
        {
            "driver": "ble",
            "ble": {"service": "fcd2", "decoder": "bthome-v2"},
            "point": {"battery": {"type": "int", "at": {"object": 1}}},
        },
    )
    third = profile_of("test-gatt", {**PROBE_TABLE, "ble": {}, "point": {"moisture": PROBE_TABLE["point"]["moisture"]}})
    tag, soil = attach("tag", other, {"mac": LAMP_MAC.lower()}), attach("soil", third, {"mac": LAMP_MAC})
    async with bluetooth() as bluez, node(ledger, LAMP, tag, soil) as driver:
        bluez.characteristic(LAMP_MAC, PROBE, bytes.fromhex("0D8E01"))
        bluez.connect_s = 0.05
        async with listening(driver, [LAMP.device, tag.device, soil.device], ledger):
            await until(lambda: driver.counters()["connected"])
            bluez.advertise(
                LAMP_MAC,
                {0x0499: struct.pack(">Hh", 5, 2000)},
                {"0000fcd2-0000-1000-8000-00805f9b34fb": bytes.fromhex("400161")},
            )
            await ledger.count(2)
            assert {s.device: dict(s.values) for s in ledger.samples} == {
                "lamp": {"sequence": 5, "temperature": 20.0},
                "tag": {"battery": 97},
            }
            async with asyncio.timeout(10):
                polled = await asyncio.gather(*(driver.poll(d, [MOISTURE]) for d in (LAMP.device, soil.device)))
        assert [(s.device, s.values) for s in polled] == [("lamp", {"moisture": 34.7}), ("soil", {"moisture": 34.7})]
        assert bluez.most_connected == 1, "one thing, one connection"


@pytest.mark.parametrize(
    ("which", "hangs"), [(DEAD, False), (DEAD, True), (LAMP, False)], ids=["unheard", "dead", "alive"]
)
async def test_a_device_at_rest_that_reports_by_exception_sends_its_heartbeats_and_no_more(
    which: Any, hangs: bool
) -> None:
    """On a clock of its own, for two hours."""
    reports = {n: Report(heartbeat_s=900) for n in PROFILE.points}
    gate = Gate(PROFILE.points, time_resolution_us=1_000_000, reports=reports)
    at_s = 0.0
    sent: list[float] = []
    async with bluetooth() as bluez, node(Ledger(), which, connect_timeout_s=0.3 if hangs else 0.1) as driver:
        if hangs:
            bluez.device(DEAD_MAC).hangs = True
        driver._nodes[which.device.id].peer.backoff._clock = lambda: at_s
        while at_s < 2 * 3600:
            try:
                sample = await driver.poll(which.device, [MOISTURE])
            except (Unreachable, Refused) as error:
                sample = failed(which.device.id, [MOISTURE], 0, Clock(1, synced=True), str(error))
            if gate.take(msgspec.structs.replace(sample, time_us=int(at_s * 1e6))) is not None:
                sent.append(at_s)
            at_s += 60
    assert sent == [900.0 * n for n in range(8)]
