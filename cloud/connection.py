"""Connection: uvicorn's, but one that does not say within HEAD_S what it wants is closed.

uvicorn bounds how long a connection idles after an answer; not how long the first byte, or the rest of a head, takes.
And one whose other end has gone without a word is given up GONE_MS after something was written that nobody confirms
(TCP_USER_TIMEOUT, RFC 5482): the kernel alone would go on for a quarter of an hour, and a node that has lost its power
would count as reachable for as long.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S: Final = 20.0
GONE_MS: Final = 60_000


class Connection(HttpToolsProtocol):
    """One connection of a client."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_MS)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._have_head()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Wait for the rest of the head."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """Wait no more: how long a body may take is bounded where it is read."""
        self._have_head()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._have_head()
        self._late = self.loop.call_later(HEAD_S, self.timeout_keep_alive_handler)

    def _have_head(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
