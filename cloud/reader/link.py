"""Link: what the process that writes and one that reads say to each other, over a pair of Unix sockets.

    down   Begin, once; then State whenever the store has moved, and at least each STATE_S; Pause and Resume
    up     LookedAt when other nodes are looked at; Paused in answer to Pause; Beat each STATE_S

One that folds history is told BeginFold, Pause and Resume, and says FoldedSoFar each STATE_S, and Paused.

SQLite wakes nobody in another process: State is how a reader learns that there is more. A message is its length in 4
bytes and MessagePack. Neither end is a stranger to the other: one has started the other.

Bounds: MAX_BYTES a message; what is sent waits until the other end takes it.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final, Self

import msgspec

from cloud.records.tokens import NODE_NAME
from cloud.views.watching import Looked
from wire.time import Micros, Utc

STATE_S: Final = 1.0
MAX_BYTES: Final = 16 << 20  # a State that names as many nodes as there may be tokens, each twice, has 14 MB
_LENGTH: Final = 4


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag="begin"):
    """How the reader serves."""

    data: str
    history: str
    host: str
    tls_cert: str | None
    tls_key: str | None
    trusted_proxy: list[str]
    token_feeds: int
    token_requests: int
    feed_cut_s: float
    feed_keep_alive_s: float
    ticket_key: bytes
    cors_origins: list[str]


class BeginFold(msgspec.Struct, frozen=True, kw_only=True, tag="begin_fold"):
    """Which store is folded, and where to."""

    data: str
    history: str


class State(msgspec.Struct, frozen=True, kw_only=True, tag="state"):
    """Where the store stands. `fresh` are the nodes whose snapshots were taken since the last one, and
    `snapshots` is another text after each of them; `heard` is when nodes were heard last, of which the log does not
    tell: all in the first State; `jumped_us` is how far the clock was set meanwhile."""

    generation: int
    previous: int
    shared_through: int
    floor: int
    head: int
    snapshots: str
    fresh: list[str] = []
    heard: dict[str, Utc] = {}
    jumped_us: Micros = Micros(0)


class Pause(msgspec.Struct, frozen=True, tag="pause"):
    """Let the queries that run end, and begin none until Resume, or for at most `for_s`."""

    number: int
    for_s: float


class Resume(msgspec.Struct, frozen=True, tag="resume"):
    """Queries may begin again."""

    number: int


class LookedAt(msgspec.Struct, frozen=True, tag="watched"):
    """The nodes that somebody looks at there now."""

    nodes: list[str]


def looked_at(looked: Looked) -> LookedAt:
    """What is looked at, without what no node is called: a reader of a feed may name anything, at any length."""
    return LookedAt(sorted(filter(NODE_NAME.fullmatch, looked.nodes)))


class Paused(msgspec.Struct, frozen=True, tag="paused"):
    """Whether all queries have ended for this Pause."""

    number: int
    ended: bool


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """The event loop of the reader turns; it has taken in the log up to here."""

    through: int


class FoldedSoFar(msgspec.Struct, frozen=True, kw_only=True, tag="folded"):
    """How far the folder has come: the log read up to `through`, how many days are folded of those that are over, and
    how many hours of nodes are to be folded anew; `steps` it has done. `trouble` is why it cannot go on, in words."""

    through: int = 0
    days: int = 0
    days_over: int = 0
    marked: int = 0
    steps: int = 0
    trouble: str | None = None


Down = Begin | BeginFold | State | Pause | Resume
Up = LookedAt | Paused | Beat | FoldedSoFar
_decoder: Final = msgspec.msgpack.Decoder(Down | Up)


class Link:
    """One end. Many may send; one receives."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sending = asyncio.Lock()

    @classmethod
    async def over(cls, sock: socket.socket) -> Self:
        """The end that has this socket, which it owns from now on."""
        return cls(*await asyncio.open_unix_connection(sock=sock))

    async def send(self, message: Down | Up) -> None:
        """Send it; done when the other end has room for more.

        Raises:
            OSError: the other end has gone.
        """
        body = msgspec.msgpack.encode(message)
        if len(body) > MAX_BYTES:
            raise ValueError(f"a message of {len(body)} bytes; {MAX_BYTES} are the most")
        async with self._sending:
            self._writer.write(len(body).to_bytes(_LENGTH, "big") + body)
            await self._writer.drain()

    async def receive(self) -> Down | Up | None:
        """The next message, None when the other end has gone.

        Raises:
            ValueError: it is none.
        """
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH), "big")
            if length > MAX_BYTES:
                raise ValueError(f"a message of {length} bytes; {MAX_BYTES} are the most")
            body = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError):
            return None
        return _decoder.decode(body)

    def close(self) -> None:
        """Close this end."""
        self._writer.close()
