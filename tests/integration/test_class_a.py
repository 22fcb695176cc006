"""A LoRaWAN lamp of class A behind ChirpStack: it hears a command after its next uplink, and answers in the one after.

A real mosquitto and the real MQTT driver; ChirpStack and the lamp are played by a client of their own.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt
import pytest

from conformance.driver_rigs import Broker, Ledger, attach, broker, listening, open_driver, profile_of, until
from edge.control import actuators
from edge.control.actuators import Actuator, Actuators
from edge.control.arrays import Key, PriorityArrays
from edge.control.orders import OrderBook
from edge.control.trusted import TrustedTime
from wire.entries import Entry, Result
from wire.orders import Command
from wire.sample import Clock, Sample

EUI, APPLICATION = "a84041ffff1866c1", "17c82e96"
BASE = f"application/{APPLICATION}/device/{EUI}"
KEY: Key = ("lamp", "dim")
PROFILE = profile_of(
    "class-a",
    {
        "driver": "mqtt",
        "mqtt": {
            "topic": "application/{id}/device/{dev_eui}/event/up",
            "command_topic": "application/{id}/device/{dev_eui}/command/down",
        },
        "point": {
            "dim": {
                "type": "float",
                "range": [0, 100],
                "writable": True,
                "safe": 100,
                "settle_s": 3600,
                "at": {
                    "value": "object.dim",
                    "scale": 0.392156862745098,
                    "command": '{"devEui": "{dev_eui}", "confirmed": true, "fPort": 2, "object": {"dim": $value}}',
                },
            }
        },
    },
)
LAMP = attach("lamp", PROFILE, {"id": APPLICATION, "dev_eui": EUI})


class ChirpStack:
    """Queues downlinks; the lamp takes one with each uplink, and reports what it has."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client
        self.topics: list[str] = []
        self.downlinks: list[dict[str, Any]] = []
        self.queue: list[int] = []
        self.dim = 255

    async def run(self) -> None:
        async for message in self._client.messages:
            assert isinstance(message.payload, bytes)
            self.topics.append(str(message.topic))
            self.downlinks.append(json.loads(message.payload))
            self.queue.append(self.downlinks[-1]["object"]["dim"])

    async def uplink(self) -> None:
        """The lamp speaks, then hears what waits for it."""
        body = {"deviceInfo": {"devEui": EUI}, "object": {"dim": self.dim}}
        await self._client.publish(f"{BASE}/event/up", json.dumps(body), qos=1)
        if self.queue:
            self.dim = self.queue.pop(0)


class Cabinet:
    """As much of a node as an order goes through."""

    def __init__(self, driver: Any) -> None:
        self.results: list[Result] = []
        now = lambda: (time.time_ns() // 1000, Clock(1, synced=True))  # noqa: E731
        mono = lambda: time.monotonic_ns() // 1000  # noqa: E731
        point = PROFILE.points["dim"]
        self.control = PriorityArrays({KEY: point}, 1)
        how = Actuator(LAMP.device, point, point, polled=False, writing=PROFILE.writing["dim"])
        self.desk = OrderBook(
            control=self.control,
            acts=self,  # type: ignore[arg-type]
            trusted=TrustedTime(now, mono),
            now=now,
            monotonic_us=mono,
            insist=self._insist,
            wake=lambda key, after=None: self.actuators.wake(key, after),
        )
        self.actuators = Actuators({KEY: how}, self.control, lambda _: driver, self.desk)

    def _insist(self, *entries: Entry, kept: Any) -> asyncio.Future[None]:
        del kept
        self.results += [e for e in entries if isinstance(e, Result)]
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        durable.set_result(None)
        return durable

    def give(self, name: str, value: float, lasts_s: float = 3600) -> None:
        now_us = time.time_ns() // 1000
        given = {"issued_us": now_us, "expires_us": now_us + round(lasts_s * 1e6), "by": "ops", "level": "hypervisor"}
        self.desk.take(Command(id=name, device="lamp", point="dim", value=value, **given))  # type: ignore[arg-type]

    def stages(self, name: str) -> list[str]:
        return [r.stage for r in self.results if r.order == name]


class _Taking(Ledger):
    """Keeps samples, and shows them to the actuators as the node does."""

    cabinet: Cabinet | None = None

    def __call__(self, samples: Sequence[Sample], receipt: Any = None) -> asyncio.Future[None]:
        done = super().__call__(samples, receipt)
        for sample in samples:
            if self.cabinet is not None:
                self.cabinet.actuators.seen(sample)
        return done


@asynccontextmanager
async def street(server: Broker) -> AsyncIterator[tuple[Cabinet, ChirpStack, _Taking]]:
    ledger = _Taking()
    line = {"host": "127.0.0.1", "port": server.port, "client_id": "node", "session_expiry_s": 600}
    async with (
        aiomqtt.Client("127.0.0.1", server.port) as client,
        open_driver("mqtt", line, [LAMP], ledger) as driver,
        listening(driver, [LAMP.device], ledger),
    ):
        await client.subscribe("#", qos=1)
        await client.unsubscribe("#")
        await client.subscribe("application/+/device/+/command/down", qos=1)
        lamp = ChirpStack(client)
        playing = asyncio.create_task(lamp.run())
        await until(lambda: driver.counters()["connected"])
        cabinet = ledger.cabinet = Cabinet(driver)
        try:
            async with cabinet.actuators:
                yield cabinet, lamp, ledger
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a device without settle_s has to answer is over at once: only the profile's own time counts here."""
    monkeypatch.setattr(actuators, "REPORT_S", 0.05)


async def heard(lamp: ChirpStack, ledger: Ledger) -> None:
    """One uplink, and the node has taken it."""
    n = len(ledger.samples)
    await lamp.uplink()
    await ledger.count(n + 1)


async def test_an_order_is_sent_once_and_stays_applied_until_the_lamp_answers() -> None:
    async with broker() as server, street(server) as (cabinet, lamp, ledger):
        cabinet.give("o", 40)
        await until(lambda: lamp.downlinks)
        assert lamp.topics == [f"{BASE}/command/down"]
        assert lamp.downlinks == [{"devEui": EUI, "confirmed": True, "fPort": 2, "object": {"dim": 102}}]
        await asyncio.sleep(0.3)  # six times what it would be given without settle_s
        await heard(lamp, ledger)  # it says what it had, and hears
        await asyncio.sleep(0.1)
        assert cabinet.stages("o") == ["accepted", "applied"]
        cabinet.give("p", 40)  # somebody else wants the same
        await until(lambda: cabinet.stages("p") == ["accepted", "applied"])
        assert cabinet.stages("o")[-1] == "superseded"
        await heard(lamp, ledger)
        await until(lambda: cabinet.stages("p")[-1] == "verified")
        assert len(lamp.downlinks) == 1, "one downlink, and no other"


async def test_another_value_is_sent_at_once_and_verified_by_its_own_answer() -> None:
    async with broker() as server, street(server) as (cabinet, lamp, ledger):
        cabinet.give("o", 40)
        await until(lambda: len(lamp.downlinks) == 1)
        cabinet.give("p", 60)
        await until(lambda: len(lamp.downlinks) == 2)
        for _ in range(2):
            await heard(lamp, ledger)
        assert cabinet.stages("p") == ["accepted", "applied"], "it has said 40 by now"
        await heard(lamp, ledger)
        await until(lambda: cabinet.stages("p")[-1] == "verified")
        assert [d["object"]["dim"] for d in lamp.downlinks] == [102, 153]


async def test_an_order_that_ends_unanswered_is_followed_by_one_downlink_of_the_safe_value() -> None:
    async with broker() as server, street(server) as (cabinet, lamp, ledger):
        cabinet.give("o", 40, lasts_s=0.5)
        await until(lambda: lamp.downlinks)
        await asyncio.sleep(0.6)
        cabinet.desk.advance()
        await until(lambda: len(lamp.downlinks) == 2)
        assert cabinet.stages("o") == ["accepted", "applied", "expired"]
        for _ in range(4):  # it says 255, which it always had, then hears 102 and says that, then 255
            await heard(lamp, ledger)
            await asyncio.sleep(0.1)
        assert lamp.dim == 255
        assert [d["object"]["dim"] for d in lamp.downlinks] == [102, 255]
