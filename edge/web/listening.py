"""Listening: the sockets of the node's own HTTP, and uvicorn on them.

A Unix socket is put in the place of one that a node which was killed has left behind, and taken away at the end. Its
path may be long (`edge.web.reach`). It is open to every user of this machine: who may do what is decided by who they
are (`edge.web.peers`).

Bounds: those of `edge.web.connections`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from edge.web.connections import KEEP_ALIVE_S, MAX_HEAD_BYTES, Places, connections
from edge.web.reach import reach
from groundwork.liveness import Part, kept_going
from groundwork.serving import Server

log = logging.getLogger(__name__)

BACKLOG: Final = 64
AGAIN_S: Final = 60.0
EVERYONE: Final = 0o666


async def serve(app: ASGIApp, listener: socket.socket, alive: Part | None = None) -> None:
    """Serve until cancelled; begun anew where the server does not turn any more. `alive` is told that it does."""
    part = Part("http") if alive is None else alive
    with listener:
        await kept_going(part, lambda: _serve(app, listener, part))


async def _serve(app: ASGIApp, listener: socket.socket, alive: Part) -> None:
    config = uvicorn.Config(
        app,
        http=connections(Places()),  # type: ignore[arg-type]
        ws="none",
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
        server_header=False,
        proxy_headers=False,  # who asks is told by the connection, never by a header
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
    )
    server = Server(config, alive)
    try:
        await server.serve(sockets=[listener.dup()])  # uvicorn closes it
    finally:  # it leaves all of it to the end of the process when it is cancelled
        for each in getattr(server, "servers", ()):
            each.close()
        for connection in list(server.server_state.connections):
            connection.transport.abort()  # type: ignore[union-attr]
        for task in list(server.server_state.tasks):
            task.cancel()


class OwnSocket:
    """The node's own. Where it cannot be made the node goes on, and it is tried again every AGAIN_S."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.fault: str | None = None  # why nobody can act at the cabinet

    async def run(self, app: Callable[[], ASGIApp]) -> None:
        """Serve there until cancelled."""
        said = False
        while True:
            try:
                with unix(self._path) as listener:
                    self.fault = None
                    await serve(app(), listener)
            except OSError as error:
                self.fault = f"nobody can act at the cabinet: {error}"
                if not said:
                    log.error("%s", self.fault)  # noqa: TRY400 - no bug of ours
                said = True
            await asyncio.sleep(AGAIN_S)


def tcp(listen: str) -> socket.socket:
    """A listener on `host:port`. Bound here and not by uvicorn, which would end the process without a word.

    Raises:
        OSError: the address cannot be bound.
    """
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family)
    except OSError as error:
        number = error.errno or 0
        why = os.strerror(number) if number > 0 else error.strerror  # resolvers count below zero
        raise OSError(f'health.listen = "{listen}": {why}') from error


@contextlib.contextmanager
def unix(path: Path) -> Generator[socket.socket, None, None]:
    """A listener on a Unix socket.

    Raises:
        OSError: it cannot be made, something else has that name, or another process listens there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _make_room(path)
    beside = path.with_name(f".{os.getpid()}.{path.name}"[:60])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        beside.unlink(missing_ok=True)
        try:
            with reach(beside) as address:
                listener.bind(address)
            beside.chmod(EVERYONE)
            listener.listen(BACKLOG)
            made = beside.stat()
            beside.replace(path)  # at no moment is there none, or one that nobody hears
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        try:
            yield listener
        finally:
            with contextlib.suppress(OSError):
                if os.path.samestat(path.stat(), made):
                    path.unlink()


def _make_room(path: Path) -> None:
    """See that nothing stands there that should stay."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(f"{path} is there and is no socket: choose another control.socket, or move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(ConnectionRefusedError):
        probe.settimeout(1.0)
        with reach(path) as address:
            probe.connect(address)
        raise OSError(f"{path}: another process listens there: give each node a control.socket of its own")
