"""Connections: how many there may be of the node's own HTTP, from where, and for how long.

A new connection takes the place of the one that has idled longest, of its own address first: whoever opens many gets
in their own way. What cannot be let in because all others are at work gets one of RESERVED places, where nothing but
health is answered; TOLD beyond them are told 503 and when to come again, whatever they ask, and the rest is closed. h11
parses requests, whatever is installed beside it, for it bounds their heads.

Bounds: MAX_CONNECTIONS at a time, MAX_OF_ONE of one address, RESERVED more for health, TOLD more for TOLD_S;
MAX_HEAD_BYTES a request's head and HEAD_S for it to come, REQUEST_S for a whole request and its answer, KEEP_ALIVE_S
idle.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any, Final, Protocol

from uvicorn.protocols.http.h11_impl import H11Protocol

from edge.web.busy import UNASKED
from edge.web.peers import Peer, peer_of

MAX_CONNECTIONS: Final = 32
MAX_OF_ONE: Final = 16
RESERVED: Final = 4
TOLD: Final = 64
TOLD_S: Final = 1.0  # for the answer to arrive before the connection is closed under what was asked
MAX_HEAD_BYTES: Final = 16 * 1024
HEAD_S: Final = 5.0
REQUEST_S: Final = 20.0
KEEP_ALIVE_S: Final = 5


class HeldConnection(Protocol):
    """A connection, as far as places go."""

    reserved: bool

    @property
    def idle(self) -> bool:
        """Whether nothing is being answered on it."""
        ...

    def end(self) -> None:
        """Close it at once."""
        ...


class Places:
    """Who is in. On the event loop."""

    def __init__(self) -> None:
        self._in: dict[HeldConnection, str] = {}  # and the address, oldest first
        self._told: set[HeldConnection] = set()

    def enter(self, one: HeldConnection, address: str) -> bool:
        """Let a connection in, closing another for it where one idles; False where it must be closed itself."""
        of_one = [c for c, a in self._in.items() if a == address and not c.reserved]
        normal = [c for c in self._in if not c.reserved]
        if len(of_one) >= MAX_OF_ONE or len(normal) >= MAX_CONNECTIONS:
            crowd = of_one if len(of_one) >= MAX_OF_ONE else normal
            idle = next((c for c in crowd if c.idle), None)
            if idle is not None:
                self._out(idle)
            else:
                one.reserved = True
                reserved = [c for c in self._in if c.reserved]
                if len(reserved) >= RESERVED:
                    idle = next((c for c in reserved if c.idle), None)
                    if idle is None:
                        return False
                    self._out(idle)
        self._in[one] = address
        return True

    def tell(self, one: HeldConnection) -> bool:
        """Whether one that cannot be let in is told so, or just closed."""
        if len(self._told) >= TOLD:
            return False
        self._told.add(one)
        return True

    def _out(self, one: HeldConnection) -> None:
        del self._in[one]
        one.end()

    def leave(self, one: HeldConnection) -> None:
        """It has ended."""
        self._in.pop(one, None)
        self._told.discard(one)


class Connection(H11Protocol):
    """uvicorn's, with a place, deadlines, and the peer of a Unix socket in its `state`."""

    reserved = False
    _turned_away = False
    _places: Places
    _late: asyncio.TimerHandle | None = None
    _late_for: object = None  # the request whose deadline that is; None for a head

    @property
    def idle(self) -> bool:
        """See `HeldConnection`."""
        return self.cycle is None or self.cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Find a place, and wait for the first head."""
        super().connection_made(transport)
        peer = _peer(transport)
        address = f"uid {peer.uid}" if peer is not None else (self.client or ("",))[0]
        if not self._places.enter(self, address):
            self._turned_away = True
            if self._places.tell(self):
                self.transport.write(UNASKED)
                self.transport.write_eof()
                self._expect(None, TOLD_S)
            else:
                self.end()
            return
        self.app_state = {**self.app_state, "peer": peer, "reserved": self.reserved}
        self._expect(None, HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._places.leave(self)
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A head has to come as a whole, and a request to end."""
        if self.transport.is_closing() or self._turned_away:  # what is not read would take the answer away (RFC 9293)
            return
        if self.idle and self._late is None:
            self._expect(None, HEAD_S)
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """What comes next has a deadline of its own."""
        self._expect_nothing()
        super().on_response_complete()
        self._look()

    def _look(self) -> None:
        """A request is being answered that was not before."""
        if not self.idle and self._late_for is not self.cycle:
            self._expect(self.cycle, REQUEST_S)

    def _expect(self, what: object, within_s: float) -> None:
        self._expect_nothing()
        self._late_for = what
        self._late = self.loop.call_later(within_s, self.end)

    def _expect_nothing(self) -> None:
        if self._late is not None:
            self._late.cancel()
        self._late = self._late_for = None

    def end(self) -> None:
        """See `HeldConnection`."""
        self._expect_nothing()
        self.transport.abort()


def connections(places: Places) -> Callable[..., Connection]:
    """What uvicorn makes its connections of, for one set of places."""
    return type("PlacedConnection", (Connection,), {"_places": places})


def _peer(transport: asyncio.Transport) -> Peer | None:
    found: Any = transport.get_extra_info("socket")
    if found is None or found.family != socket.AF_UNIX:
        return None
    with socket.socket(fileno=os.dup(found.fileno())) as connection:  # uvloop's own has no getsockopt
        return peer_of(connection)
