"""Entrance: takes connections from the kernel, through the door, to uvicorn's protocol.

uvicorn leaves accepting to the event loop, which keeps whatever comes, and sees a connection only once TLS has shaken
hands. Bounds: those of `cloud.entrance.door`; HANDSHAKE_S for TLS; AGAIN_S after the system has given none, and where
it has no file descriptor left, a stranger goes for one.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from cloud.entrance.connection import Connection
from cloud.entrance.door import Door, Guest

LOG: Final = logging.getLogger("lamplighter.cloud")

HANDSHAKE_S: Final = 20.0
AGAIN_S: Final = 0.1
DEAF: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})
SHORT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Entrance:
    """Of one listening socket. On the event loop."""

    def __init__(self, listener: socket.socket, door: Door, make: Callable[[Guest], Connection]) -> None:
        """`make` makes the protocol of a connection."""
        self._listener = listener
        self._door = door
        self._make = make
        self._entering: set[asyncio.Task[None]] = set()

    async def accept(self, context: ssl.SSLContext | None) -> None:
        """Take connections until cancelled.

        Raises:
            OSError: the socket listens no more.
        """
        loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        short = False
        try:
            while True:
                try:
                    sock, address = await loop.sock_accept(self._listener)
                except OSError as error:
                    if error.errno in DEAF:
                        raise
                    if error.errno in SHORT:
                        if not short:
                            LOG.warning("no more connections can be taken: %s; see LimitNOFILE", error)
                        short = True
                        self._door.make_room()
                    await asyncio.sleep(AGAIN_S)  # anything else is about the one that has gone already (accept(2))
                    continue
                short = False
                guest = self._door.enter(address[0], sock)
                task = loop.create_task(self._serve(sock, guest, context))
                self._entering.add(task)
                task.add_done_callback(self._entering.discard)
        finally:
            for task in self._entering:
                task.cancel()

    async def _serve(self, sock: socket.socket, guest: Guest, context: ssl.SSLContext | None) -> None:
        served = False
        try:
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._make(guest),
                sock,
                ssl=context,
                ssl_handshake_timeout=None if context is None else HANDSHAKE_S,
            )
            served = True
        except (OSError, ssl.SSLError):
            pass  # the other end has gone, or speaks no TLS that is good enough: it has been told by TLS itself
        finally:
            if not served:
                self._door.leave(guest)
                sock.close()
