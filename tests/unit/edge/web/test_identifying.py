"""Looking for devices over the node's HTTP, with a line in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest

from conformance.driver_rigs import attach, profile_of
from drivers import registry
from drivers.errors import Unreachable
from drivers.frames import Field, Frame
from drivers.guesses import Ask, Heard, Tell
from drivers.mqtt.guessing import Published
from edge.identify.on_lines import OnLines
from edge.sampling.last_samples import LastSamples
from edge.sampling.lines import AttachedLine
from edge.web.identifying import KEPT, LEFT_ALONE_S, Identifying
from edge.web.pages import Pages
from edge.web.peers import Peer, Technicians
from support.strangers import SPEAKING

BIN = {"driver": "mqtt", "mqtt": {"topic": "bins/{serial}/up"}, "point": {"n": {"type": "int", "at": {"value": "n"}}}}
LAMP = attach("lamp", profile_of("bin", BIN), {"serial": "A1"})


class Radio:
    """A driver that hears one bin, when it is let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.tell: Tell | None = None
        self.fails: Exception | None = None

    def frames(self, device: str) -> Sequence[Frame]:
        return [Frame(5, "in", b"\x01\x02\x03", (Field(1, 2, "n"),), "a topic")]

    async def look(self, ask: Ask, profiles: Sequence[Any], tell: Tell) -> Sequence[Heard]:
        self.tell = tell
        tell("listening", {"found": 0, "left_s": ask.seconds})
        await self.let.wait()
        if self.fails is not None:
            raise self.fails
        evidence: Published = SPEAKING["bn-1"][1]
        return [Heard(address={"topic": evidence.topic}, evidence=evidence)]


class Node:
    def __init__(self) -> None:
        kind = registry.find("mqtt")
        assert kind is not None
        self.radio, self.street, self.now = Radio(), LastSamples(), 0.0
        line = AttachedLine("air", kind, None, (LAMP,), {"lamp": SimpleNamespace()})  # type: ignore[dict-item]
        drivers: Any = {"air": self.radio}
        lines = OnLines([line], (), drivers, self.street, lambda: {"air": "no broker"}, lambda: self.now)
        self.street.expect("lamp", 10, 0)
        nothing: Any = lambda *_: []  # noqa: E731
        self.pages = Pages(
            look=nothing,
            decided=nothing,
            alarms=nothing,
            explain=nothing,
            devices={"lamp"},
            technicians=Technicians(own_uid=lambda: 1000),
            identifying=Identifying(lines, lambda: self.now),
        )

    def client(self, uid: int | None = 0, *, own: bool = True) -> httpx.AsyncClient:
        app = self.pages.own_app() if own else self.pages.app()

        async def with_peer(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = {"peer": None if uid is None else Peer(uid, 5)}
            await app(scope, receive, send)

        return httpx.AsyncClient(transport=httpx.ASGITransport(with_peer), base_url="http://localhost")


async def settled(turns: int = 200) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


async def ended(client: httpx.AsyncClient, one: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            found = (await client.get(f"/identify/{one}")).json()
            if found["report"] or found["error"]:
                return found
            await asyncio.wait({asyncio.ensure_future(asyncio.to_thread(lambda: None))})


async def test_devices_that_were_never_heard_are_told_with_their_last_error() -> None:
    node = Node()
    node.now = 30
    async with node.client(None, own=False) as client:
        answer = await client.get("/identify")
        (one,) = answer.json()["unheard"]
        assert one == {"device": "lamp", "line": "air", "for_s": 30.0, "why": "no broker"}
        node.street.devices["lamp"].why = "bad:no answer within 1 s"
        assert (await client.get("/identify")).json()["unheard"][0]["why"] == "bad:no answer within 1 s"
        node.street.devices["lamp"].good = 20
        assert (await client.get("/identify")).json()["unheard"] == []


async def test_frames_are_there_to_be_read() -> None:
    async with Node().client(None, own=False) as client:
        (frame,) = (await client.get("/frames/lamp")).json()
        assert frame == {
            "time_us": 5, "direction": "in", "about": "a topic", "hex": "010203",
            "fields": [{"first": 1, "length": 2, "name": "n", "hex": "0203"}],
        }  # fmt: skip
        missing = await client.get("/frames/lam")
        assert missing.status_code == 404
        assert 'did you mean "lamp"' in missing.json()["error"]


async def test_on_tcp_nobody_looks() -> None:
    async with Node().client(None, own=False) as client:
        assert (await client.post("/identify", json={"line": "air"})).status_code == 405
        assert (await client.get("/identify/x")).status_code == 404
    async with Node().client(4711) as client:
        assert (await client.post("/identify", json={"line": "air"})).status_code == 403
        assert (await client.get("/identify/x")).status_code == 403


async def test_a_look_is_followed_to_its_report() -> None:
    node = Node()
    async with node.client() as client:
        begun = await client.post("/identify", json={"line": "air", "topic": "#", "seconds": 9})
        assert begun.status_code == 202
        one = begun.json()["id"]
        assert begun.headers["location"] == f"/identify/{one}"
        while (looked := (await client.get(f"/identify/{one}")).json())["step"] == "":
            await asyncio.wait(
                {asyncio.ensure_future(asyncio.to_thread(lambda: None))}
            )  # profiles are read in a thread
        assert (looked["step"], looked["details"], looked["report"]) == ("listening", {"found": 0, "left_s": 9}, None)
        assert (await client.post("/identify", json={"line": "air"})).status_code == 409
        node.radio.let.set()
        report = (await ended(client, one))["report"]
    (found,) = report["found"]
    assert found["findings"][0]["profile"] == "bn-1"
    assert found["findings"][0]["address"] == {"serial": "BN000001"}


async def test_what_goes_wrong_is_told() -> None:
    node = Node()
    node.radio.let.set()
    node.radio.fails = Unreachable("the broker is away")
    async with node.client() as client:
        one = (await client.post("/identify", json={"line": "air"})).json()["id"]
        assert (await ended(client, one))["error"] == "the broker is away"
        node.radio.fails = ZeroDivisionError("bug")
        one = (await client.post("/identify", json={"line": "air"})).json()["id"]
        assert (await ended(client, one))["error"] == "ZeroDivisionError: bug"
        one = (await client.post("/identify", json={"line": "water"})).json()["id"]
        assert (await ended(client, one))["error"] == 'there is no line "water"'
        for body in ({}, {"line": "air", "unit": 256}, {"line": "air", "seconds": 1e9}, {"line": "air", "x": 1}, [1]):
            assert (await client.post("/identify", json=body)).status_code == 400, body
        assert (await client.get("/identify/nobody")).status_code == 404


@pytest.mark.slow
async def test_a_look_that_nobody_follows_ends_and_few_are_kept() -> None:
    node = Node()
    async with node.client() as client:
        ids = []
        for _ in range(KEPT + 2):
            node.radio.tell = None
            begun = await client.post("/identify", json={"line": "air"})
            assert begun.status_code == 202
            ids.append(begun.json()["id"])
            while node.radio.tell is None:
                await asyncio.wait({asyncio.ensure_future(asyncio.to_thread(lambda: None))})
            node.now += LEFT_ALONE_S + 1
            node.radio.tell("listening", {})
            await settled()
        assert (await client.get(f"/identify/{ids[0]}")).status_code == 404
        last = (await client.get(f"/identify/{ids[-1]}")).json()
        assert last["error"] == "nobody has asked how far it has come"
        assert msgspec.json.encode(last)
