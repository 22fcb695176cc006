"""The node's own HTTP: `GET /health`, read by a technician beside the cabinet. 503 when the verdict is `failed`."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Generator
from typing import Final

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wire.entries import Health

MAX_CONNECTIONS: Final = 32


def app(look: Callable[[], Awaitable[Health]]) -> Starlette:
    """The routes."""

    async def health(_request: Request) -> Response:
        found = await look()
        return Response(
            msgspec.json.format(msgspec.json.encode(found)),
            status_code=503 if found.verdict == "failed" else 200,
            media_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    return Starlette(routes=[Route("/health", health)])


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: the node owns those."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve(look: Callable[[], Awaitable[Health]], listen: str, ready: Callable[[str], None]) -> None:
    """Serve until cancelled; `ready` is told the address with the real port.

    Raises:
        OSError: the address cannot be bound.
    """
    host, _, port = listen.rpartition(":")
    config = uvicorn.Config(
        app(look), log_config=None, access_log=False, lifespan="off",
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
