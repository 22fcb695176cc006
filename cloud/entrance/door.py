"""Door: which connections are kept, from the moment that the kernel hands them over.

A connection is a stranger until a request with a valid token has come on it. Strangers are bounded by themselves, so
that they can take no place of those who have a token, and there is always a place for a newcomer: when a bound of
strangers is reached, the oldest stranger of the address that has most of them is closed. So nodes that connect all at
once from behind one carrier's address get in, for they are strangers only until their first head has arrived. TLS
handshakes count as strangers too.

Bounds, in connections, each with a file descriptor: `Bounds.of` the descriptors that the process may have. `known` with
a valid token, `strangers` without, `an_address` of them from one address (`cloud.entrance.addresses`); of one token
NODE_MOST (a node's) or TOKEN_MOST, more where it may have more feeds. Beyond its bound the idle connection of a token
whose last request is the longest ago is closed; where none is idle, the request is answered 429. Proxies that are
believed count as known from the start. On the event loop.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal, Protocol

import msgspec

from cloud.entrance.addresses import Proxies, key_of
from cloud.problem import too_many, unavailable
from cloud.records.tokens import Grant

LOG: Final = logging.getLogger("lamplighter.cloud")

KNOWN: Final = 12_288  # two connections of each of 4,000 nodes, 2,000 feeds, and 2,048 requests
STRANGERS: Final = 4_096
RESERVE: Final = 256  # descriptors for the store, its readers, the log and what Python opens
NODE_MOST: Final = 16
TOKEN_MOST: Final = 512
TELL_S: Final = 60.0


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How many connections are kept."""

    known: int
    strangers: int
    an_address: int

    @classmethod
    def of(cls, descriptors: int) -> Bounds:
        """What so many file descriptors allow: a quarter for strangers, a quarter of that for one address."""
        total = min(KNOWN + STRANGERS, max(64, descriptors - RESERVE))
        strangers = min(STRANGERS, total // 4)
        return cls(known=total - strangers, strangers=strangers, an_address=max(8, strangers // 4))


class Served(Protocol):
    """What the door knows of a connection once it is served."""

    @property
    def idle(self) -> bool:
        """Whether no request of it is in hand."""
        ...

    def cut(self) -> None:
        """Close it now."""
        ...


Standing = Literal["stranger", "known", "proxy", "gone"]


class Guest:
    """One connection, from its acceptance to its end."""

    __slots__ = ("address", "connection", "socket", "standing", "token")

    def __init__(self, address: str, sock: socket.socket) -> None:
        self.address = address
        self.socket = sock
        self.connection: Served | None = None  # None while TLS shakes hands
        self.standing: Standing = "stranger"
        self.token = ""  # the id of the one that it is known by

    @property
    def idle(self) -> bool:
        """Whether no request of it is in hand."""
        return self.connection is None or self.connection.idle

    def cut(self) -> None:
        """Close it; whoever serves it hears of that."""
        if self.connection is not None:
            self.connection.cut()
            return
        with suppress(OSError):  # it has gone by itself
            self.socket.shutdown(socket.SHUT_RDWR)


class Door:
    """Counts guests."""

    def __init__(
        self, bounds: Bounds, proxies: Proxies, clock: Callable[[], float], token_most: int = TOKEN_MOST
    ) -> None:
        """`clock` counts seconds and is never set back; `token_most` is how many connections one token may have."""
        self.bounds = bounds
        self._token_most = token_most
        self.proxies = proxies
        self.evicted = 0
        self.refused = 0  # connections that were ended for what came on them
        self._clock = clock
        self._known = 0
        self._strangers = 0
        self._of_address: dict[str, dict[Guest, None]] = {}  # the oldest first
        self._of_size: dict[int, dict[str, None]] = {}  # addresses, by how many strangers they have
        self._most = 0
        self._of_token: dict[str, dict[Guest, None]] = {}  # the one that has asked last is the last
        self._told_s = float("-inf")
        self._untold = 0

    @property
    def known(self) -> int:
        """Connections with a valid token."""
        return self._known

    @property
    def strangers(self) -> int:
        """Connections without one."""
        return self._strangers

    def enter(self, address: str, sock: socket.socket) -> Guest:
        """Let a connection in; another one may have to go for it."""
        guest = Guest(key_of(address), sock)
        if self.proxies.has(address) and self._known < self.bounds.known:
            guest.standing = "proxy"
            self._known += 1
            return guest
        of_address = self._of_address.get(guest.address, {})
        if len(of_address) >= self.bounds.an_address:
            self._evict(guest.address)
        elif self._strangers >= self.bounds.strangers:
            self.make_room()
        self._add(guest)
        return guest

    def leave(self, guest: Guest) -> None:
        """It has ended. May be called more than once."""
        if guest.standing == "stranger":
            self._remove(guest)
        elif guest.standing != "gone":
            self._known -= 1
            if guest.standing == "known":
                of_token = self._of_token[guest.token]
                del of_token[guest]
                if not of_token:
                    del self._of_token[guest.token]
        guest.standing = "gone"

    def know(self, guest: Guest, grant: Grant) -> None:
        """A request with a valid token has come on it.

        Raises:
            Problem: there are too many with a token, or too many of this one.
        """
        if guest.standing == "known":  # the token of its first request counts
            of_token = self._of_token[guest.token]
            of_token[guest] = of_token.pop(guest)  # it is the last to become idle again
        if guest.standing != "stranger":
            return  # a proxy's requests carry the tokens of many
        of_token = self._of_token.get(grant.id, {})
        most = NODE_MOST if grant.role == "node" else self._token_most
        if len(of_token) >= most:
            idle = next((other for other in of_token if other.idle), None)
            if idle is None:
                raise too_many(f"{len(of_token)} connections of this token have a request in hand; at most {most}")
            self.leave(idle)
            idle.cut()
        if self._known >= self.bounds.known:
            raise unavailable(f"{self._known} connections with a token are open; no more are served")
        self._remove(guest)
        guest.standing, guest.token = "known", grant.id
        self._of_token.setdefault(grant.id, {})[guest] = None
        self._known += 1

    def make_room(self) -> bool:
        """Close the oldest stranger of the address that has most; False when there is none."""
        addresses = self._of_size.get(self._most)
        if not addresses:
            return False
        self._evict(next(iter(addresses)))
        return True

    # ---- the strangers, by address ------------------------------------------------------------------------------

    def _evict(self, address: str) -> None:
        oldest = next(iter(self._of_address[address]))
        self.leave(oldest)
        oldest.cut()
        self.evicted += 1
        self._untold += 1
        now_s = self._clock()
        if now_s - self._told_s >= TELL_S:
            LOG.warning(
                "%d connections without a valid token were closed to make room for others, the last from %s; %d are"
                " open, %d with a token", self._untold, address, self._strangers + 1, self._known,
            )  # fmt: skip
            self._told_s, self._untold = now_s, 0

    def _add(self, guest: Guest) -> None:
        of_address = self._of_address.setdefault(guest.address, {})
        of_address[guest] = None
        self._strangers += 1
        self._resize(guest.address, len(of_address) - 1, len(of_address))

    def _remove(self, guest: Guest) -> None:
        of_address = self._of_address.get(guest.address)
        if of_address is None or guest not in of_address:
            return
        del of_address[guest]
        self._strangers -= 1
        self._resize(guest.address, len(of_address) + 1, len(of_address))
        if not of_address:
            del self._of_address[guest.address]

    def _resize(self, address: str, before: int, after: int) -> None:
        """Keep the greatest at hand: counts change by one, so this takes no longer with many addresses."""
        if before:
            del self._of_size[before][address]
            if not self._of_size[before]:
                del self._of_size[before]
        if after:
            self._of_size.setdefault(after, {})[address] = None
        if after > self._most or self._most not in self._of_size:
            self._most = after
