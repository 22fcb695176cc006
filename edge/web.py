"""The node's own HTTP, read by a technician beside the cabinet.

`GET /health` is how the node is; 503 when the verdict is `failed`. `GET /control` says for every point that something
is held for what it should be and why, `GET /control/{device}` for one device; `GET /alarms` the alarms that stand;
`GET /rules/{device}` where each rule stands on a device. Nothing can be changed here.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from typing import Final

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge.decided import Decided
from edge.rules.engine import Explained
from wire.entries import Alarm, Health

MAX_CONNECTIONS: Final = 32


class Pages:
    """What there is to be read."""

    def __init__(
        self,
        *,
        look: Callable[[], Awaitable[Health]],
        decided: Callable[[], Iterable[Decided]],
        alarms: Callable[[], Sequence[Alarm]],
        explain: Callable[[str], Sequence[Explained]],
    ) -> None:
        self._look, self._decided, self._alarming, self._explain = look, decided, alarms, explain

    def app(self) -> Starlette:
        """The routes."""
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/control", self._control),
                Route("/control/{device}", self._control),
                Route("/alarms", self._alarms),
                Route("/rules/{device}", self._rules),
            ]
        )

    async def _health(self, _request: Request) -> Response:
        found = await self._look()
        return _json(found, 503 if found.verdict == "failed" else 200)

    async def _control(self, request: Request) -> Response:
        device = request.path_params.get("device")
        return _json([d for d in self._decided() if device in (None, d.device)])

    async def _alarms(self, _request: Request) -> Response:
        return _json(self._alarming())

    async def _rules(self, request: Request) -> Response:
        return _json(self._explain(request.path_params["device"]))


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
