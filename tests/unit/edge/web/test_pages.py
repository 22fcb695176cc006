from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import httpx
import pytest

from edge.control.decided import Decided, HeldAt
from edge.control.on_site import MAX_BODY_BYTES, OnSite
from edge.control.order_records import HowFar
from edge.rules.engine import Explained
from edge.web import answers, at_socket, pages
from edge.web.answers import MAX_ITEMS
from edge.web.hosts import Hosts
from edge.web.pages import Pages
from edge.web.peers import Peer
from wire.entries import Alarm, Health, Verdict
from wire.orders import Order
from wire.sample import Clock

LAMPS = ("lamp-001", "lamp-002", "lamp-003")


def one(device: str, value: float = 35.0) -> Decided:
    held = HeldAt(level="plan", value=value, by="always", until_us=None)
    return Decided(device=device, point="dim_level", value=value, why={"en": "35 %", "fr": "35 %"}, levels=(held,))


def alarm(n: int, value: float) -> Alarm:
    return Alarm(id=f"a{n}", device="lamp-001", rule="r", severity="low", state="raised", raised_us=1, time_us=1,
                 values={"v": value})  # fmt: skip


class Node:
    def __init__(self) -> None:
        self.decided: Iterable[Decided] = [one("lamp-001"), one("lamp-002")]
        self.alarms: Sequence[Alarm] = []
        self.verdict: Verdict = "ok"

    async def look(self) -> Health:
        return Health(time_us=1, verdict=self.verdict)

    async def get(self, path: str) -> httpx.Response:
        pages = Pages(
            look=self.look,
            decided=lambda: self.decided,
            alarms=lambda: self.alarms,
            explain=self.explain,
            devices=LAMPS,
        )
        async with httpx.AsyncClient(transport=httpx.ASGITransport(pages.app()), base_url="http://localhost") as client:
            return await client.get(path)

    def explain(self, device: str) -> Sequence[Explained]:
        return [
            Explained(rule="r", device=device, when="x", clear="", state="over", since_us=1, begins_us=None,
                      decided=None, why="x has no value", values={"x": -math.inf})
        ]  # fmt: skip


@pytest.fixture
def node() -> Node:
    return Node()


async def test_control_shows_all_or_one_device(node: Node) -> None:
    assert [d["device"] for d in (await node.get("/control")).json()] == ["lamp-001", "lamp-002"]
    (found,) = (await node.get("/control/lamp-002")).json()
    assert (found["value"], found["levels"][0]["by"]) == (35.0, "always")
    assert (await node.get("/control/lamp-003")).json() == [], "it is there, and nothing is held for it"


@pytest.mark.parametrize("path", ["/control/lamp-01", "/rules/lamp-01"])
async def test_a_device_that_is_not_there_is_told_with_the_nearest_name(node: Node, path: str) -> None:
    answer = await node.get(path)
    assert answer.status_code == 404
    assert answer.json() == {"error": 'there is no device "lamp-01" (did you mean "lamp-001"?)'}
    answer = await node.get(path.replace("lamp-01", "z" * 5000))
    assert answer.status_code == 404
    assert len(answer.content) < 1000


async def test_rules_shows_where_each_stands(node: Node) -> None:
    (found,) = (await node.get("/rules/lamp-001")).json()
    assert (found["rule"], found["decided"], found["why"]) == ("r", None, "x has no value")


async def test_numbers_that_json_has_not_are_null(node: Node) -> None:
    node.alarms = [alarm(n, value) for n, value in enumerate((math.nan, math.inf, -math.inf, 1.5))]
    node.decided = [one("lamp-001", math.nan)]
    alarms: Any = (await node.get("/alarms")).json()
    assert [a["values"]["v"] for a in alarms] == [None, None, None, 1.5]
    assert (await node.get("/control")).json()[0]["value"] is None
    assert (await node.get("/rules/lamp-001")).json()[0]["values"] == {"x": None}


async def test_an_answer_is_bounded_and_says_what_it_leaves_out(node: Node) -> None:
    node.decided = (one("lamp-001") for _ in range(MAX_ITEMS + 7))
    answer = await node.get("/control")
    assert len(answer.json()) == MAX_ITEMS
    assert answer.headers["Left-Out"] == "7"
    node.alarms = [alarm(n, 1.0) for n in range(MAX_ITEMS)]
    answer = await node.get("/alarms")
    assert len(answer.json()) == MAX_ITEMS
    assert "Left-Out" not in answer.headers


async def test_others_have_their_turn_while_a_long_answer_is_made(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[float] = []

    async def turn(seconds: float) -> None:
        turns.append(seconds)

    monkeypatch.setattr(pages.asyncio, "sleep", turn)
    node.decided = (one("lamp-001") for _ in range(1000))
    await node.get("/control")
    assert len(turns) == 1000 / pages.TURN_ITEMS


async def test_health_is_503_when_the_node_has_failed(node: Node) -> None:
    assert (await node.get("/health")).status_code == 200
    node.verdict = "failed"
    answer = await node.get("/health")
    assert answer.status_code == 503
    assert answer.headers["Cache-Control"] == "no-store"


async def test_nothing_can_be_changed_here(node: Node) -> None:
    pages = Pages(look=node.look, decided=list, alarms=list, explain=node.explain, devices=LAMPS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(pages.app()), base_url="http://localhost") as client:
        for path in ("/health", "/control", "/control/lamp-001", "/alarms", "/rules/lamp-001"):
            for verb in ("POST", "PUT", "PATCH", "DELETE"):
                assert (await client.request(verb, path)).status_code == 405


# ---- orders, for whoever is logged in on the node

ROOT = Peer(uid=0, gid=0)
SET = {"order": "command", "by": "jean", "device": "lamp-001", "point": "dim_level", "value": 80}


class Cabinet:
    """A node that takes orders; who asks has an address."""

    def __init__(self) -> None:
        self.taken: list[Order] = []

    def _app(self, *, takes: bool = True) -> Any:
        async def durable() -> None:
            return

        async def look() -> Health:
            return Health(time_us=1, verdict="ok")

        on_site = OnSite(
            take=self.taken.append,
            how_far=lambda name: HowFar(stage="accepted") if name in [o.id for o in self.taken] else None,
            durable=durable,
            now=lambda: (1_800_000_000_000_000, Clock(1, synced=True)),
            draw_id=lambda: f"{len(self.taken)}",
        )
        pages = Pages(look=look, decided=list, alarms=list, explain=lambda _: [], on_site=on_site if takes else None)
        return pages.own_app()

    async def ask(self, verb: str, path: str, peer: Peer | None = ROOT, *, takes: bool = True, **more: Any) -> Any:
        app = self._app(takes=takes)

        async def from_peer(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": {"peer": peer}}, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(from_peer), base_url="http://node") as client:
            return await client.request(verb, path, **more)


async def test_an_order_is_taken_and_can_be_asked_about() -> None:
    cabinet = Cabinet()
    answer = await cabinet.ask("POST", "/orders", json=SET)
    assert (answer.status_code, answer.headers["Location"]) == (202, "/orders/site-0")
    assert answer.json() == {"id": "site-0", "stage": "accepted", "final": False, "read_back": None, "detail": ""}
    assert (await cabinet.ask("GET", "/orders/site-0")).json() == answer.json()
    answer = await cabinet.ask("GET", "/orders/site-7")
    assert (answer.status_code, answer.json()) == (404, {"error": "no order site-7 is known here"})


async def test_who_gives_an_order_is_the_peer_whatever_the_request_says() -> None:
    cabinet = Cabinet()
    for by in ("jean", "root", ""):
        await cabinet.ask("POST", "/orders", json=SET | {"by": by})
    await cabinet.ask("POST", "/orders", json={k: v for k, v in SET.items() if k != "by"})
    assert [o.by for o in cabinet.taken] == ["root for jean", "root", "root", "root"]


@pytest.mark.parametrize("peer", [None, Peer(uid=os.geteuid() + 54_321, gid=1)])
async def test_whoever_is_no_technician_may_read_and_not_act(peer: Peer | None) -> None:
    cabinet = Cabinet()
    assert (await cabinet.ask("GET", "/health", peer)).status_code == 200
    for verb, path in (("POST", "/orders"), ("GET", "/orders/site-0"), ("GET", "/quarantine"), ("GET", "/log"),
                       ("POST", "/quarantine/send")):  # fmt: skip
        answer = await cabinet.ask(verb, path, peer, json=SET)
        assert answer.status_code == 403
        assert "lamplighter-edge" in answer.json()["error"] or "use sudo" in answer.json()["error"]
    assert cabinet.taken == []


async def test_on_tcp_nothing_can_be_done_by_anyone(node: Node) -> None:
    pages = Pages(look=node.look, decided=list, alarms=list, explain=node.explain, devices=LAMPS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(pages.app()), base_url="http://127.0.0.1") as client:
        for verb, path in (("POST", "/orders"), ("GET", "/orders/site-0")):
            answer = await client.request(verb, path, json=SET)
            assert answer.status_code == 403
            assert "at the node's own socket only" in answer.json()["error"]
        assert (await client.get("/quarantine")).status_code == 404
        assert (await client.get("/log")).status_code == 404


@pytest.mark.parametrize("path", ["/health", "/control", "/control/lamp-001", "/alarms", "/rules/lamp-001", "/orders"])
async def test_a_page_that_calls_the_node_by_its_own_name_reads_nothing(node: Node, path: str) -> None:
    pages = Pages(look=node.look, decided=list, alarms=list, explain=node.explain, devices=LAMPS,
                  hosts=Hosts(["cab-17.local"]))  # fmt: skip
    transport = httpx.ASGITransport(pages.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8470") as client:
        for host in ("evil.example.org", "evil.example.org:8470", "10.0.0.1", "", "localhost@evil.org"):
            answer = await client.get(path, headers={"Host": host})
            assert answer.status_code == 421
            assert "cab-17.local" in answer.json()["error"]
        two = await client.get(path, headers=[("Host", "localhost"), ("Host", "evil.example.org")])
        assert two.status_code == 421
        for host in ("localhost", "LocalHost:81", "127.0.0.1", "[::1]:8470", "CAB-17.local.:8470"):
            assert (await client.get(path, headers={"Host": host})).status_code != 421


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"headers": {"Origin": "http://127.0.0.1:8470"}}, 403),
        ({"headers": {"Origin": "null"}}, 403),
        ({"headers": {"Content-Type": "text/plain"}}, 415),
        ({"headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 415),
        ({"headers": {"Content-Type": ""}}, 415),
        ({"takes": False}, 403),
    ],
)
async def test_what_a_browser_could_be_tricked_into_is_refused(how: dict[str, Any], status: int) -> None:
    cabinet = Cabinet()
    answer = await cabinet.ask("POST", "/orders", json=SET, **how)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert cabinet.taken == []


async def test_the_type_may_say_its_characters() -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert (await Cabinet().ask("POST", "/orders", json=SET, headers=headers)).status_code == 202


async def test_all_that_is_wrong_in_an_order_is_told() -> None:
    answer = await Cabinet().ask("POST", "/orders", json=SET | {"by": 3, "vaule": 3})
    assert answer.status_code == 400
    assert answer.json()["problems"] == [
        'vaule: no such key (did you mean "value"?)', "by: must be a text in quotes, not 3",
    ]  # fmt: skip
    answer = await Cabinet().ask("POST", "/orders", json=SET | {f"{n:0300}": 0 for n in range(40)})
    assert answer.status_code == 400
    assert len(answer.json()["problems"]) == at_socket.MAX_PROBLEMS


async def test_an_order_is_bounded_in_bytes_and_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    cabinet = Cabinet()
    headers = {"Content-Type": "application/json"}
    answer = await cabinet.ask("POST", "/orders", content=b" " * (MAX_BODY_BYTES + 1), headers=headers)
    assert answer.status_code == 413
    answer = await cabinet.ask("POST", "/orders", content=b" " * MAX_BODY_BYTES, headers=headers)
    assert answer.status_code == 400, "as much as that is read"
    monkeypatch.setattr(answers, "BODY_S", 0.01)

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    answer = await cabinet.ask("POST", "/orders", content=slowly(), headers=headers)
    assert answer.status_code == 408
    assert cabinet.taken == []
