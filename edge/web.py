"""The node's own HTTP, read by a technician beside the cabinet.

`GET /health` is how the node is; 503 when the verdict is `failed`. `GET /control` says for every point that something
is held for what it should be and why, `GET /control/{device}` for one device; `GET /alarms` the alarms that stand;
`GET /rules/{device}` where each rule stands on a device. A device that is not there is 404, with the nearest name.
`POST /orders` and `GET /orders/{id}` are for whoever is logged in on the node, and 403 for all others
(`edge.control.on_site`); nothing else here changes anything.

Bounds: MAX_CONNECTIONS at a time; an answer has at most MAX_ITEMS, and `Left-Out` says how many more there are. An
order's body has at most `edge.control.on_site.MAX_BODY_BYTES`, and BODY_S to arrive. Numbers that JSON has not (NaN,
infinities) are null.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Collection, Generator, Iterable, Sequence
from typing import Final

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from drivers.tables import suggest
from edge.control.decided import Decided
from edge.control.on_site import MAX_BODY_BYTES, OnSite, Unreadable, read, stranger
from edge.rules.engine import Explained
from wire.entries import Alarm, Health

MAX_CONNECTIONS: Final = 32
MAX_ITEMS: Final = 4_000
MAX_NEAR_CHARS: Final = 500
MAX_ERROR_CHARS: Final = 2_000
MAX_PROBLEMS: Final = 20
BODY_S: Final = 5.0
TURN_ITEMS: Final = 50  # are put into words before the others on this loop have their turn


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
        on_site: OnSite | None = None,
    ) -> None:
        """Without `on_site` no orders are taken."""
        self._look, self._decided, self._alarming, self._explain = look, decided, alarms, explain
        self._devices, self._on_site = devices, on_site

    def app(self) -> Starlette:
        """The routes."""
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/control", self._control),
                Route("/control/{device}", self._control),
                Route("/alarms", self._alarms),
                Route("/rules/{device}", self._rules),
                Route("/orders", self._give, methods=["POST"]),
                Route("/orders/{id}", self._order),
            ]
        )

    async def _health(self, _request: Request) -> Response:
        found = await self._look()
        return _json(found, 503 if found.verdict == "failed" else 200)

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
        site, turned_away = self._turned_away(request)
        if site is None:
            return turned_away
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _json({"error": "the Content-Type must be application/json"}, 415)
        try:
            async with asyncio.timeout(BODY_S):
                body = await _body(request)
        except TimeoutError:
            return _json({"error": f"the body did not come within {BODY_S:g} s"}, 408)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody hears it
        if body is None:
            return _json({"error": f"an order has at most {MAX_BODY_BYTES} bytes"}, 413)
        try:
            given = read(body)
        except Unreadable as error:
            return _json({"error": str(error)[:MAX_ERROR_CHARS], "problems": error.problems[:MAX_PROBLEMS]}, 400)
        told = await site.give(given)
        answer = _json(told, 202)
        answer.headers["Location"] = f"/orders/{told.id}"
        return answer

    async def _order(self, request: Request) -> Response:
        site, turned_away = self._turned_away(request)
        if site is None:
            return turned_away
        order: str = request.path_params["id"]
        told = site.told(order)
        return _json({"error": f"no order {order[:64]} is known here"}, 404) if told is None else _json(told)

    def _turned_away(self, request: Request) -> tuple[OnSite | None, Response]:
        """Where orders are taken, or with None the answer to whoever may not give any."""
        headers = dict(request.headers)
        if len(request.headers.getlist("host")) != 1:
            headers.pop("host", None)  # of two nobody can say which one counts
        why = stranger(None if request.client is None else request.client.host, headers)
        if why is None and self._on_site is not None:
            return self._on_site, Response()
        return None, _json({"error": why or "no orders are taken here"}, 403)

    def _unknown(self, device: str) -> Response:
        near = suggest(device[:64], self._devices)[:MAX_NEAR_CHARS]
        return _json({"error": f'there is no device "{device[:64]}"{near}'}, 404)


async def _body(request: Request) -> bytes | None:
    """The whole body; None where it is too large, and then the rest of it is not read."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _listed(items: Sequence[object]) -> Response:
    answer = _json(items[:MAX_ITEMS])
    if len(items) > MAX_ITEMS:
        answer.headers["Left-Out"] = str(len(items) - MAX_ITEMS)
    return answer


def _json(body: object, status: int = 200) -> Response:
    content = msgspec.json.format(msgspec.json.encode(body))
    return Response(content, status, {"Cache-Control": "no-store"}, "application/json")


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: the node owns those."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve(pages: Pages, listen: str, ready: Callable[[str], None]) -> None:
    """Serve until cancelled; `ready` is told the address with the real port.

    Raises:
        OSError: the address cannot be bound.
    """
    host, _, port = listen.rpartition(":")
    config = uvicorn.Config(
        pages.app(), log_config=None, access_log=False, lifespan="off",
        limit_concurrency=MAX_CONNECTIONS, timeout_keep_alive=5, timeout_graceful_shutdown=1, server_header=False,
        proxy_headers=False,  # who gives an order is told by the connection, never by a header
    )  # fmt: skip
    server = _Server(config)
    # Bound here and not by uvicorn, which would end the process without a word to the caller.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host.strip("[]"), int(port)), family=family)
    except OSError as error:
        number = error.errno or 0
        why = os.strerror(number) if number > 0 else error.strerror  # resolvers count below zero
        raise OSError(f'health.listen = "{listen}": {why}') from error
    with listener:
        ready(f"{host}:{listener.getsockname()[1]}")
        await server.serve(sockets=[listener])
