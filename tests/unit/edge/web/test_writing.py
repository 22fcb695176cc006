from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from drivers.errors import Misconfigured, Refused, Unreachable
from edge.control.blinking import Blink
from edge.control.on_site import MAX_BODY_BYTES, OnSite
from edge.control.order_records import HowFar, NodeOrder
from edge.visit.log import MAX_HERE_S
from edge.web.asked import MAX_FIELDS
from edge.web.hosts import foreign
from edge.web.pages import Pages
from edge.web.writing import COOKIE, CSRF, TechnicianRoutes
from support.visits import NOW_US, Cabinet, code_for
from wire.entries import Health, Stage
from wire.orders import AlarmAct, Command, Relinquish
from wire.sample import Clock, Sample

HERE, THERE = "192.0.2.7", "192.0.2.8"
SET = {"order": "command", "device": "lamp-001", "point": "dim_level", "value": 40, "for_s": 600}
FORM = "application/x-www-form-urlencoded"


class Node:
    """Its HTTP on TCP, for technicians at some address."""

    def __init__(self) -> None:
        self.cabinet = Cabinet()
        self.orders: list[NodeOrder] = []
        self.stage: Stage = "accepted"
        on_site = OnSite(
            take=self.orders.append,
            how_far=lambda id_: HowFar(stage=self.stage, detail="why") if id_ in [o.id for o in self.orders] else None,
            durable=self.durable,
            now=lambda: (NOW_US, Clock(7, synced=True)),
            draw_id=lambda: str(len(self.orders)),
        )
        self.answers: dict[str, Sample | Exception] = {}
        self.restarted: list[tuple[str, str]] = []
        writing = TechnicianRoutes(self.cabinet.visiting, on_site, self)
        self.app = Pages(look=self.look, decided=list, alarms=list, explain=lambda _: [], writing=writing).app()
        self.clients: list[httpx.AsyncClient] = []

    async def read(self, device: str) -> Sample:
        answer = self.answers[device]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def restart(self, line: str, why: str) -> None:
        if line != "north":
            raise KeyError(line)
        self.restarted.append((line, why))

    async def durable(self) -> None:
        assert [v for v in self.cabinet.told if v.act == "acted"] or self.stage == "refused", "told with the order"

    async def look(self) -> Health:
        return Health(time_us=1, verdict="ok")

    def at(self, address: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=(address, 1))
        self.clients.append(httpx.AsyncClient(transport=transport, base_url="http://localhost"))
        return self.clients[-1]


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    yield node
    for client in node.clients:
        await client.aclose()


async def logged_in(client: httpx.AsyncClient, counter: int = 1, name: str = "M. Dupont") -> str:
    answer = await client.post("/session", json={"name": name, "code": code_for(name, counter)})
    assert answer.status_code == 201, answer.text
    client.headers[CSRF] = answer.json()["session"]["csrf"]
    return answer.json()["session"]["csrf"]


async def test_a_session_begins_is_shown_and_ends(node: Node) -> None:
    client = node.at(HERE)
    assert (await client.get("/session")).json() == {"session": None, "codes": True}
    answer = await client.post("/session", json={"name": "M. Dupont", "code": code_for("M. Dupont", 1)})
    assert answer.status_code == 201
    cookie = answer.headers["set-cookie"].lower()
    assert all(f in cookie for f in ("httponly", "samesite=strict", "path=/", "max-age=1800"))
    assert client.cookies[COOKIE] not in answer.text, "no script sees it"
    shown = (await client.get("/session")).json()["session"]
    assert (shown["by"], shown["left_s"], shown["here_until_us"]) == ("M. Dupont", 1_800.0, None)
    assert (await client.request("DELETE", "/session", headers={CSRF: shown["csrf"]})).status_code == 200
    assert (await client.get("/session")).json()["session"] is None
    assert [v.act for v in node.cabinet.told] == ["began", "left"]


async def test_a_wrong_code_is_401_and_then_429_with_when_to_come_again(node: Node) -> None:
    client = node.at(HERE)
    seen = [await client.post("/session", json={"name": "x", "code": "12345678"}) for _ in range(7)]
    assert [a.status_code for a in seen] == [401] * 5 + [429] * 2
    assert seen[0].json()["problem"] == "code"
    assert int(seen[6].headers["Retry-After"]) == seen[6].json()["retry_s"] == 4
    assert "set-cookie" not in seen[0].headers


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"{", b'{"name": 3, "code": 4}', b'{"name": "", "code": "1"}', b'{"name": "x"}', b"\xff"]
)
async def test_what_is_no_login(node: Node, body: bytes) -> None:
    answer = await node.at(HERE).post("/session", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert node.cabinet.visiting.wrong == 0


async def test_orders_are_by_the_technician_and_in_the_log_of_visits(node: Node) -> None:
    client = node.at(HERE)
    await logged_in(client)
    answer = await client.post("/orders", json=SET | {"by": "somebody else"})
    assert (answer.status_code, answer.json()["stage"]) == (202, "accepted")
    assert (await client.get(answer.headers["Location"])).json()["id"] == "site-0"
    assert (await client.get("/orders/x")).status_code == 404
    (order,) = node.orders
    assert isinstance(order, Command)
    assert (order.by, order.level, order.value) == ("M. Dupont", "technician", 40)
    acted = node.cabinet.told[-1]
    assert (acted.by, acted.device, acted.order) == ("M. Dupont", "lamp-001", "site-0")
    assert acted.detail == "dim_level = 40 for 600 s"


async def test_what_blinks_lasts_as_long_as_its_session(node: Node) -> None:
    client = node.at(HERE)
    csrf = await logged_in(client)
    form = {"csrf": csrf, "order": "blink", "device": "lamp-001", "point": "dim_level", "for_s": "120"}
    assert (await client.post("/orders", data=form)).status_code == 303
    (order,) = node.orders
    assert isinstance(order, Blink)
    assert (order.by, order.expires_us) == ("M. Dupont", NOW_US + 120_000_000)
    assert node.cabinet.told[-1].detail == "dim_level blinks for 120 s"
    sessions = node.cabinet.visiting.sessions
    assert sessions.lasts(order.visit)
    assert not sessions.lasts("v99")
    await client.request("DELETE", "/session")
    assert not sessions.lasts(order.visit)
    await logged_in(client, 2)
    await client.post("/orders", data=form | {"csrf": client.headers[CSRF]})
    again = node.orders[-1]
    assert isinstance(again, Blink)
    assert sessions.lasts(again.visit)
    assert not sessions.lasts(order.visit), "another code is another session"
    node.cabinet.passed_s += 1_800
    assert not sessions.lasts(again.visit)


async def test_an_order_that_is_refused_was_no_act(node: Node) -> None:
    client = node.at(HERE)
    await logged_in(client)
    node.stage = "refused"
    assert (await client.post("/orders", json=SET)).json()["detail"] == "why"
    assert [v.act for v in node.cabinet.told] == ["began"]
    bad = await client.post("/orders", json=SET | {"for_s": 1})
    assert (bad.status_code, bad.json()["problems"][0].partition(":")[0]) == (400, "for_s")


@pytest.mark.parametrize(("path", "verb"), [("/orders", "POST"), ("/here", "POST"), ("/session/end", "POST"),
                                            ("/session", "DELETE")])  # fmt: skip
async def test_nothing_is_changed_without_session_cookie_address_and_csrf(node: Node, path: str, verb: str) -> None:
    client, stranger = node.at(HERE), node.at(THERE)
    csrf = await logged_in(client)
    stranger.cookies[COOKIE] = client.cookies[COOKIE]  # heard on the radio
    for who, headers in (
        (node.at(HERE), {CSRF: csrf}),
        (stranger, {CSRF: csrf}),
        (client, {CSRF: "x"}),
        (client, {CSRF: ""}),
        (client, {CSRF: csrf, "Origin": "http://evil.example"}),
        (client, {CSRF: csrf, "Origin": "null"}),
    ):
        json = None if verb == "DELETE" else SET | {"for_s": 600}
        answer = await who.request(verb, path, json=json, headers=headers)
        assert answer.status_code == 403, answer.text
    assert node.orders == []
    assert (await client.get("/session")).json()["session"]["csrf"] == csrf
    assert (await client.get("/orders/x")).status_code == 404
    assert (await stranger.get("/orders/x")).status_code == (await stranger.get("/visits")).status_code == 403


async def test_pages_of_others_begin_no_session(node: Node) -> None:
    given = {"name": "M. Dupont", "code": code_for("M. Dupont", 1)}
    client = node.at(HERE)
    assert (await client.post("/session", data=given, headers={"Origin": "http://x.example"})).status_code == 403
    assert (await client.post("/session", data=given, headers={"Host": "x.example"})).status_code == 421
    assert (await client.post("/session", data=given, headers={"Origin": "http://localhost"})).status_code == 303


async def test_here_is_told_with_until_when(node: Node) -> None:
    client = node.at(HERE)
    await logged_in(client)
    answer = await client.post("/here", json={"for_s": 7_200})
    assert answer.json()["session"]["here_until_us"] == NOW_US + 7_200_000_000
    for bad in ("x", None, True, 0, -1, MAX_HERE_S + 1):
        assert (await client.post("/here", json={"for_s": bad})).status_code == 400
    assert [v["act"] for v in (await client.get("/visits")).json()] == ["began", "here"]


async def test_a_visit_has_a_bounded_number_of_acts(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.visit.log.MAX_ACTS", 3)
    client = node.at(HERE)
    await logged_in(client)
    assert (await client.post("/here", json={"for_s": 600})).status_code == 200
    assert [(await client.post("/orders", json=SET)).status_code for _ in range(4)] == [202, 202, 429, 429]
    assert (await client.post("/here", json={"for_s": 600})).status_code == 429
    assert len(node.orders) == 2
    assert (await client.request("DELETE", "/session")).status_code == 200


# ---- forms


async def test_forms_do_the_same_and_lead_back_to_a_page(node: Node) -> None:
    client = node.at(HERE)
    login = {"name": "M. Dupont", "code": code_for("M. Dupont", 1), "next": "/devices/lamp-001"}
    answer = await client.post("/session", data=login)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/devices/lamp-001")
    csrf = (await client.get("/session")).json()["session"]["csrf"]
    answer = await client.post("/orders", data={**SET, "value": "40", "for_s": "600", "csrf": csrf})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    on = {**SET, "point": "lamp_on", "value": "true", "csrf": csrf}
    assert (await client.post("/orders", data=on)).status_code == 303
    mode = {**SET, "point": "mode", "value": "manual", "csrf": csrf}
    assert (await client.post("/orders", data=mode)).status_code == 303
    release = {"order": "relinquish", "device": "lamp-001", "point": "mode", "csrf": csrf}
    assert (await client.post("/orders", data=release)).status_code == 303
    act = {"order": "alarm_act", "alarm": "a1", "act": "shelve", "for_s": "3600", "csrf": csrf}
    assert (await client.post("/orders", data=act)).status_code == 303
    assert [o.value for o in node.orders if isinstance(o, Command)] == [40, True, "manual"]
    assert isinstance(node.orders[3], Relinquish)
    assert isinstance(node.orders[4], AlarmAct)
    assert (await client.post("/here", data={"for_s": "3600", "csrf": csrf})).status_code == 303
    assert (await client.post("/session/end", data={"csrf": csrf})).status_code == 303
    details = ["dim_level = 40 for 600 s", "lamp_on = True for 600 s", "mode = manual for 600 s", "mode released",
               "shelve a1 for 3600 s"]  # fmt: skip
    assert [v.detail for v in node.cabinet.told if v.act == "acted"] == details
    assert [v.act for v in node.cabinet.told[-2:]] == ["here", "left"]


async def test_a_form_that_is_turned_away_says_why_in_the_query(node: Node) -> None:
    client = node.at(HERE)
    answer = await client.post("/session", data={"name": "x", "code": "1", "next": "/in"})
    assert answer.headers["Location"] == "/in?problem=code"
    csrf = await logged_in(client, 2)
    for data, problem in (
        ({**SET, "csrf": "x"}, "csrf"),
        ({**SET, "for_s": "soon", "csrf": csrf}, "order"),
        ({**SET, "order": "x", "csrf": csrf}, "order"),
    ):
        answer = await client.post("/orders", data=data)
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/?problem={problem}")
    node.stage = "refused"
    assert (await client.post("/orders", data={**SET, "csrf": csrf})).headers["Location"] == "/?problem=refused"


async def test_a_value_that_nests_without_end_is_a_text(node: Node) -> None:
    client = node.at(HERE)
    csrf = await logged_in(client)
    answer = await client.post("/orders", data={**SET, "value": "[" * 4_000, "csrf": csrf})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert [o.value for o in node.orders if isinstance(o, Command)] == ["[" * 4_000]


@pytest.mark.parametrize("to", ["//evil.example", "http://evil.example", "/\\evil.example", "", "/a\r\nX: y", "/?a=b"])
async def test_a_form_leads_to_no_other_site(node: Node, to: str) -> None:
    data = {"name": "M. Dupont", "code": code_for("M. Dupont", 1), "next": to}
    assert (await node.at(HERE).post("/session", data=data)).headers["Location"] == "/"


async def test_what_comes_is_bounded(node: Node) -> None:
    client = node.at(HERE)
    many: dict[str, Any] = {f"f{n}": "x" for n in range(MAX_FIELDS + 1)}
    assert (await client.post("/session", data=many)).status_code == 400
    assert (await client.post("/session", data={"name": "x" * MAX_BODY_BYTES})).status_code == 413
    text = {"Content-Type": "text/plain"}
    assert (await client.post("/session", content=b"{}", headers=text)).status_code == 415
    bad = await client.post("/session", content=b"name=%ff", headers={"Content-Type": FORM})
    assert bad.status_code == 400


@pytest.mark.parametrize(
    ("host", "origins", "taken"),
    [
        ("cab-1:8080", [], True),
        ("cab-1:8080", [b"http://cab-1:8080"], True),
        ("CAB-1:8080", [b"https://cab-1:8080"], True),
        ("cab-1:8080", [b"http://cab-1"], False),
        ("cab-1", [b"null"], False),
        ("cab-1", [b"file://cab-1"], False),
        ("cab-1", [b"http://cab-1.evil"], False),
        ("cab-1", [b"http://cab-1", b"http://cab-1"], False),
        (None, [b"http://cab-1"], False),
    ],
)
def test_whose_pages_are_this_nodes(host: str | None, origins: list[bytes], taken: bool) -> None:
    assert (foreign(host, origins) is None) == taken


SYNCED = Clock(1, synced=True)


@pytest.mark.parametrize(
    ("answer", "status", "problem"),
    [
        (Sample("lamp-001", NOW_US, SYNCED, {"power": 12.5}), 200, None),
        (Sample("lamp-001", NOW_US, SYNCED, {"power": None}, {"power": "bad: no answer within 1 s"}), 503, "silent"),
        (Unreachable("the line is not open"), 503, "silent"),
        (Refused("it speaks by itself: nobody can ask it"), 409, "not_asked"),
        (Misconfigured("no such unit"), 409, "not_asked"),
        (KeyError("lamp-001"), 404, "unknown"),
    ],
)
async def test_a_device_is_read_now(node: Node, answer: Sample | Exception, status: int, problem: str | None) -> None:
    node.answers["lamp-001"] = answer
    client = node.at(HERE)
    assert (await client.post("/devices/lamp-001/read", json={})).status_code == 403, (
        "without a session nothing is done"
    )
    csrf = await logged_in(client)
    told = await client.post("/devices/lamp-001/read", json={})
    assert told.status_code == status
    assert told.json().get("problem") == problem
    if status == 200:
        assert told.json()["values"] == {"power": 12.5}
    form = await client.post("/devices/lamp-001/read", data={"csrf": csrf, "next": "/devices/lamp-001"})
    assert form.status_code == 303
    assert form.headers["location"] == "/devices/lamp-001" + (f"?problem={problem}" if problem else "")
    acted = [v for v in node.cabinet.told if v.act == "acted"]
    assert [(v.by, v.device, v.detail) for v in acted] == (
        [("M. Dupont", "lamp-001", "read")] * 2 if isinstance(answer, Sample) else []
    )


async def test_a_line_is_restarted(node: Node) -> None:
    client = node.at(HERE)
    assert (await client.post("/lines/north/restart", json={})).status_code == 403
    csrf = await logged_in(client)
    assert (await client.post("/lines/north/restart", json={})).status_code == 202
    assert (await client.post("/lines/south/restart", json={})).status_code == 404
    form = await client.post("/lines/north/restart", data={"csrf": csrf, "next": "/"})
    assert (form.status_code, form.headers["location"]) == (303, "/")
    assert node.restarted == [("north", "M. Dupont has asked for it")] * 2
    assert [v.detail for v in node.cabinet.told if v.act == "acted"] == ["line north restarted"] * 2
