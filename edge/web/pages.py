"""The node's own HTTP, read by a technician beside the cabinet.

`GET /health` is how the node is, and each of its devices; 503 when the verdict is `failed`. `GET /samples/{device}`
has a device's last sample, where there is one; `GET /metrics` is for Prometheus. `GET /control` says for every point
that something is held for what it should be and why, `GET /control/{device}` for one device; `GET /alarms` the alarms
that stand; `GET /rules/{device}` where each rule stands on a device; `GET /identify` devices that were never heard,
`GET /frames/{device}` a device's last frames. A device that is not there is 404, with the nearest name. All of it is
answered on TCP, to whoever calls the node by one of its names (`edge.web.hosts`; else 421), and at the node's Unix
socket; on TCP there are also the pages of `edge.web.screens`. A request that a page of another site has sent is
refused (403).
`POST /orders` and `GET /orders/{id}` are there for technicians: at the socket by who they are (`edge.web.peers`; 403
for all others), on TCP by a session that a one-time code has begun (`edge.web.writing`). `GET /log` (`edge.web.deeds`),
`GET /quarantine`, `POST /quarantine/send` and `POST /identify` are there at the socket alone: a proxy before the node
can carry nothing that lets it do that.

Bounds: those of `edge.web.connections`; an answer has at most MAX_ITEMS, and `Left-Out` says how many more there are. A
body has at most `edge.control.on_site.MAX_BODY_BYTES`, and BODY_S to arrive. Numbers that JSON has not (NaN,
infinities) are null.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from importlib import import_module
from typing import Final, Protocol

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from drivers.errors import NotStored
from drivers.tables import suggest
from edge.control.decided import Decided
from edge.control.on_site import BadRequest, OnSite, read
from edge.outbox.contract import SendAgain, SentAgain, SetAside
from edge.rules.engine import Explained
from edge.sampling.device_states import DeviceState
from edge.web.answers import body_of as _body
from edge.web.answers import json_answer as _json
from edge.web.deeds import DeedRoute
from edge.web.first_look import FirstLook
from edge.web.hosts import Hosts, foreign
from edge.web.identifying import Identifying
from edge.web.peers import Peer, Technicians
from edge.web.writing import TechnicianRoutes
from wire.entries import Alarm, Health
from wire.sample import Sample

log = logging.getLogger(__name__)

MAX_ITEMS: Final = 4_000
MAX_NEAR_CHARS: Final = 500
MAX_ERROR_CHARS: Final = 2_000
MAX_PROBLEMS: Final = 20
TURN_ITEMS: Final = 50  # are put into words before the others on this loop have their turn


class NodeHealth(Health, frozen=True, kw_only=True):
    """What the city is told every minute, and each device beside it."""

    device_states: Sequence[DeviceState] = ()


class Quarantined(Protocol):
    """What of `edge.outbox.contract.Outbox` is about rows that were set aside."""

    async def set_aside(self) -> Sequence[SetAside]:
        """See `Outbox`."""
        ...

    async def send_again(self, ids: Collection[int] | None = None) -> tuple[int, int]:
        """See `Outbox`."""
        ...


class Pages:
    """What there is to be read, and what can be done on site."""

    def __init__(
        self,
        *,
        look: Callable[[], Awaitable[Health]],
        decided: Callable[[], Iterable[Decided]],
        alarms: Callable[[], Sequence[Alarm]],
        explain: Callable[[str], Sequence[Explained]],
        devices: Collection[str] = (),
        hosts: Hosts | None = None,
        on_site: OnSite | None = None,
        technicians: Technicians | None = None,
        quarantine: Quarantined | None = None,
        writing: TechnicianRoutes | None = None,
        identifying: Identifying | None = None,
        screens: FirstLook | None = None,
        deeds: DeedRoute | None = None,
        states: Callable[[], Sequence[DeviceState]] = list,
        sample: Callable[[str], Sample | None] = lambda _device: None,
        node: str = "",
    ) -> None:
        """Without `on_site` no orders are taken, without `quarantine` nothing is sent again, without `writing` there
        are no sessions, without `screens` no pages for people, without `deeds` no log."""
        self._screens, self._states, self._sample_of, self._node = screens, states, sample, node
        self._look, self._decided, self._alarming, self._explain = look, decided, alarms, explain
        self._devices, self._hosts, self._on_site = devices, hosts or Hosts(), on_site
        self._technicians, self._quarantine = technicians or Technicians(), quarantine
        self._writing = writing
        self._identifying, self._deeds = identifying, deeds

    def app(self) -> ASGIApp:
        """What is there on TCP: to be read, and to be done with a session."""
        told = [Route("/orders", self._elsewhere, methods=["GET", "POST"]), Route("/orders/{id}", self._elsewhere)]
        told = told if self._writing is None else self._writing.routes()
        screens = [] if self._screens is None else self._screens.routes()
        return self._guarded(Starlette(routes=[*self._readable(), *told, *screens]))

    def own_app(self) -> Starlette:
        """What is there at the node's own socket."""
        return Starlette(
            routes=[
                *self._readable(),
                Route("/orders", self._give, methods=["POST"]),
                Route("/orders/{id}", self._order),
                Route("/log", self._log),
                Route("/quarantine", self._set_aside),
                Route("/quarantine/send", self._send_again, methods=["POST"]),
                Route("/identify", self._look_for, methods=["POST"]),
                Route("/identify/{id}", self._looked),
            ]
        )

    def _readable(self) -> list[Route]:
        return [
            Route("/health", self._health),
            Route("/metrics", self._metrics),
            Route("/samples/{device}", self._sample),
            Route("/control", self._control),
            Route("/control/{device}", self._control),
            Route("/alarms", self._alarms),
            Route("/rules/{device}", self._rules),
            Route("/identify", self._unheard, methods=["GET"]),
            Route("/frames/{device}", self._frames),
        ]

    def _guarded(self, app: ASGIApp) -> ASGIApp:
        """The application, for requests that call this node by its name."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return
            named = [value for name, value in scope["headers"] if name == b"host"]
            host = named[0].decode("latin-1") if len(named) == 1 else None  # of two nobody can say which one counts
            why = self._hosts.why_not(host, (scope.get("server") or (None,))[0])
            if why is not None:
                await _json({"error": why}, 421)(scope, receive, send)
            elif (why := foreign(host, [value for name, value in scope["headers"] if name == b"origin"])) is not None:
                await _json({"error": why}, 403)(scope, receive, send)
            elif scope.get("state", {}).get("reserved") and scope["path"] != "/health":
                busy = {"error": "too many connections are open; this one is kept for /health"}
                await _json(busy, 503)(scope, receive, send)
            else:
                await app(scope, receive, send)

        return guarded

    async def _health(self, _request: Request) -> Response:
        found = await self._look()
        whole = NodeHealth(**msgspec.structs.asdict(found), device_states=self._states())
        return _json(whole, 503 if found.verdict == "failed" else 200)

    async def _metrics(self, _request: Request) -> Response:
        metrics = await asyncio.to_thread(import_module, "edge.web.metrics")
        found = await self._look()
        content = await asyncio.to_thread(metrics.text, found, self._states(), self._node)
        return Response(content, 200, {"Cache-Control": "no-store", "Content-Type": metrics.CONTENT_TYPE})

    async def _sample(self, request: Request) -> Response:
        device: str = request.path_params["device"]
        if device not in self._devices:
            return self._unknown(device)
        sample = self._sample_of(device)
        return _json([] if sample is None else [sample])

    async def _control(self, request: Request) -> Response:
        device: str | None = request.path_params.get("device")
        if device is not None and device not in self._devices:
            return self._unknown(device)
        found: list[Decided] = []
        for n, each in enumerate(self._decided()):
            if device in (None, each.device):
                found.append(each)
            if n % TURN_ITEMS == 0:
                await asyncio.sleep(0)
        return _listed(found)

    async def _alarms(self, _request: Request) -> Response:
        return _listed(self._alarming())

    async def _rules(self, request: Request) -> Response:
        device: str = request.path_params["device"]
        return _listed(self._explain(device)) if device in self._devices else self._unknown(device)

    async def _give(self, request: Request) -> Response:
        peer, turned_away = self._technician(request)
        if peer is None:
            return turned_away
        if self._on_site is None:
            return _json({"error": "no orders are taken here"}, 403)
        body = await _body(request)
        if isinstance(body, Response):
            return body
        try:
            given = read(body)
        except BadRequest as error:
            return _json({"error": str(error)[:MAX_ERROR_CHARS], "problems": error.problems[:MAX_PROBLEMS]}, 400)
        told = await self._on_site.give(msgspec.structs.replace(given, by=peer.author(given.by)))
        answer = _json(told, 202)
        answer.headers["Location"] = f"/orders/{told.id}"
        return answer

    async def _order(self, request: Request) -> Response:
        peer, turned_away = self._technician(request)
        if peer is None:
            return turned_away
        order: str = request.path_params["id"]
        told = None if self._on_site is None else self._on_site.told(order)
        return _json({"error": f"no order {order[:64]} is known here"}, 404) if told is None else _json(told)

    async def _log(self, request: Request) -> Response:
        peer, turned_away = self._technician(request)
        return turned_away if peer is None or self._deeds is None else await self._deeds.answer(request)

    async def _set_aside(self, request: Request) -> Response:
        peer, turned_away = self._technician(request)
        if peer is None or self._quarantine is None:
            return turned_away
        try:
            return _listed(await self._quarantine.set_aside())
        except NotStored as error:
            return _json({"error": str(error)}, 503)

    async def _send_again(self, request: Request) -> Response:
        peer, turned_away = self._technician(request)
        if peer is None or self._quarantine is None:
            return turned_away
        body = await _body(request)
        if isinstance(body, Response):
            return body
        try:
            ids = msgspec.json.decode(body, type=SendAgain).ids
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _json({"error": f'the body must be {{"ids": null}} or {{"ids": [1, 2]}}: {error}'}, 400)
        try:
            sent, unreadable = await self._quarantine.send_again(ids)
        except NotStored as error:
            return _json({"error": str(error)}, 503)
        log.warning("%s has sent %d rows again that were set aside", peer.name, sent)
        return _json(SentAgain(sent=sent, unreadable=unreadable))

    async def _unheard(self, _request: Request) -> Response:
        return (
            _json({"error": "nothing is looked for here"}, 404)
            if self._identifying is None
            else self._identifying.unheard()
        )

    async def _frames(self, request: Request) -> Response:
        device: str = request.path_params["device"]
        if device not in self._devices or self._identifying is None:
            return self._unknown(device)
        return self._identifying.frames(device)

    async def _look_for(self, request: Request) -> Response:
        peer, turned_away = self._technician(request)
        if peer is None or self._identifying is None:
            return turned_away
        body = await _body(request)
        return body if isinstance(body, Response) else self._identifying.begin(body)

    async def _looked(self, request: Request) -> Response:
        peer, turned_away = self._technician(request)
        if peer is None or self._identifying is None:
            return turned_away
        return self._identifying.looked(request.path_params["id"])

    async def _elsewhere(self, _request: Request) -> Response:
        return _json({"error": self._technicians.why_not(None)}, 403)

    def _technician(self, request: Request) -> tuple[Peer | None, Response]:
        """Who may act here, or with None the answer to whoever may not."""
        peer: Peer | None = request.scope.get("state", {}).get("peer")
        why = self._technicians.why_not(peer)
        if why is None and "origin" in request.headers:
            why = "orders are not taken from web pages; use lamplighter-edge"
        return (peer if why is None else None), _json({"error": why or "there is nothing of this here"}, 403)

    def _unknown(self, device: str) -> Response:
        near = suggest(device[:64], self._devices)[:MAX_NEAR_CHARS]
        return _json({"error": f'there is no device "{device[:64]}"{near}'}, 404)


def _listed(items: Sequence[object]) -> Response:
    answer = _json(items[:MAX_ITEMS])
    if len(items) > MAX_ITEMS:
        answer.headers["Left-Out"] = str(len(items) - MAX_ITEMS)
    return answer
