"""Serving: uvicorn over one listening socket, with the taking of connections left to the door.

Bounds: connections as `cloud.entrance.door` counts them, by the file descriptors that the process may have, of which it
takes as many as it is allowed and can use; what comes on each as `cloud.entrance.connection` says; GRACE_S for what is
in hand when it is told to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from cloud.entrance.connection import Connection
from cloud.entrance.door import KNOWN, RESERVE, STRANGERS, Door, Guest
from cloud.entrance.listener import Entrance
from groundwork.serving import Server

LOG: Final = logging.getLogger("lamplighter.cloud")
BACKLOG: Final = 2_048
GRACE_S: Final = 2


class DoorServer(Server):
    """With the moment of readiness and the taking of connections left to us too."""

    def __init__(self, config: uvicorn.Config, door: Door) -> None:
        super().__init__(config)
        self._door = door
        self._ready = asyncio.Event()
        self._accepting: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def going(self, listener: socket.socket) -> AsyncGenerator[asyncio.Task[None]]:
        """Take connections for the length of a block; what is given ends early where none can be taken any more.

        Raises:
            OSError: the certificate or its key is none, or no more connections could be taken.
        """
        serving = asyncio.create_task(self.serve([listener]))
        try:
            await either(serving, event=self._ready)
            if serving.done():
                serving.result()
            yield serving
        finally:
            self.should_exit = True
            await asyncio.wait((serving,))
        serving.result()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and take what comes."""
        assert sockets is not None
        (listener,) = sockets
        await self.lifespan.startup()
        listener.listen(BACKLOG)
        self.servers = []  # what uvicorn would have taken connections with
        entrance = Entrance(listener, self._door, self._connection)
        self._accepting = asyncio.create_task(entrance.accept(self.config.ssl))
        self._accepting.add_done_callback(self._deaf)
        self.started = True
        self._ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more, and end what is open.

        Raises:
            OSError: no more could be taken before.
        """
        assert self._accepting is not None
        self._accepting.cancel()
        await asyncio.wait((self._accepting,))
        await super().shutdown(sockets)
        if not self._accepting.cancelled():
            self._accepting.result()

    def _deaf(self, accepting: asyncio.Task[None]) -> None:
        """Nobody gets in any more. It ends, and systemd starts it again; if it lived on, its watchdog would be fed."""
        if not accepting.cancelled():
            LOG.error("no connection can be taken any more: %r", accepting.exception())
            self.should_exit = True

    def _connection(self, guest: Guest) -> Connection:
        return Connection(self.config, self.server_state, {}, door=self._door, guest=guest)


def descriptors() -> int:
    """How many file descriptors there may be: as many as can be used, where the system allows them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = KNOWN + STRANGERS + RESERVE
    if soft != resource.RLIM_INFINITY and soft < wanted and (hard == resource.RLIM_INFINITY or hard > soft):
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft != resource.RLIM_INFINITY and soft < wanted:
        LOG.warning("%d file descriptors are allowed; for a whole city it needs %d (LimitNOFILE)", soft, wanted)
    return wanted if soft == resource.RLIM_INFINITY else soft


async def either(*ends: asyncio.Task[None], event: asyncio.Event) -> None:
    """Until one of them ends, or the event is set."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait((*ends, waiting), return_when="FIRST_COMPLETED")
    finally:
        waiting.cancel()


def config(app: ASGIApp, cert: Path | None, key: Path | None) -> uvicorn.Config:
    """What uvicorn is told: over TLS where there is a certificate."""
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=cert,
        ssl_keyfile=key,
    )


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address, which does not listen yet; it can be inherited.

    Raises:
        OSError: the address cannot be had.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except BaseException:
        listener.close()
        raise
    return listener


def url_of(host: str, listener: socket.socket, tls: bool) -> str:
    """Where it is served."""
    scheme = "https" if tls else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
