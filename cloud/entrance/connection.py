"""Connection: uvicorn's, with a bound on all that a client may send before somebody has looked at its token.

httptools keeps a request's head for as long as it grows, and uvicorn bounds how long a connection idles after an
answer, not what comes before. Here each of these ends a connection, with an answer where none is under way:

    MAX_HEAD_BYTES, MAX_HEAD_LINES  of a request line and its header lines (431, RFC 6585 §5)
    MAX_HEAD_BYTES                  between two pieces of a body: chunk extensions, trailers (400)
    MAX_MESSAGE_BYTES               of a body, also where no route reads it (413)
    MAX_PIPELINED                   requests that wait for an answer to the one before
    HEAD_S                          for a head, from when it is seen to be in pieces; for the first one, from the start
    STRANGER_S, KEEP_ALIVE_S        idle after an answer, without a valid token and with one
    REST_S                          for the rest of a body that has been answered already

Bytes are taken SLICE_BYTES at a time: what is held of a line that has no end may be so much more than its bound. An
answer that ends a connection is followed by up to LINGER_S and LINGER_BYTES of silent reading, or the client would hear
a reset before it has read it (RFC 9112 §9.6). One whose other end has gone without a word is given up GONE_MS after
something was written that nobody confirms (TCP_USER_TIMEOUT, RFC 5482): the kernel alone would go on for a quarter of
an hour, and a node that has lost its power would count as reachable for as long.
"""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus
from typing import Any, Final

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from cloud.entrance.addresses import UNKNOWN, key_of
from cloud.entrance.door import Door, Guest
from cloud.problem import MEDIA_TYPE, Problem
from cloud.records.tokens import Grant

MAX_HEAD_BYTES: Final = 32 << 10
MAX_HEAD_LINES: Final = 100
MAX_MESSAGE_BYTES: Final = 2 << 20  # more than any route takes, so that the routes' own answers are heard
MAX_PIPELINED: Final = 4
SLICE_BYTES: Final = 8 << 10
HEAD_S: Final = 20.0
STRANGER_S: Final = 20.0
KEEP_ALIVE_S: Final = 390  # longer than a node keeps its own end (360 s), or it would write into a closed one
REST_S: Final = 10.0
LINGER_S: Final = 2.0
LINGER_BYTES: Final = 1 << 20
GONE_MS: Final = 60_000
NO_UPGRADE: Final = frozenset({b"GET", b"HEAD"})  # whose body, if any, is nothing that one would lose


class Connection(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        door: Door | None = None,
        guest: Guest | None = None,
    ) -> None:
        """`guest` is what `door` counts it as; without them it is counted nowhere."""
        super().__init__(config, server_state, app_state, _loop)
        self._door = door
        self._guest = guest
        self._running: RequestResponseCycle | None = None  # the request that is being answered
        self._late: asyncio.TimerHandle | None = None
        self._keep_s = STRANGER_S
        self._deaf = False  # what comes is thrown away: it is being closed
        self._last = False  # what is being answered is the last
        self._thrown = 0
        self._refusal: Problem | None = None  # set by a callback of the parser
        self._begun = self._in_body = False  # a request is half here; its head is
        self._since = 0  # bytes since a head began, or since the last piece of a body
        self._head = 0  # bytes of those lines of the head that are whole
        self._lines = 0
        self._body = 0

    # ---- what others ask ----------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether no request is in hand, nor half here."""
        return not self._begun and not self._answering

    def cut(self) -> None:
        """Close it now."""
        self._deaf = True
        self.transport.abort()

    def known(self, grant: Grant) -> None:
        """A request with a valid token has come.

        Raises:
            Problem: there are too many connections.
        """
        if self._door is not None and self._guest is not None:
            self._door.know(self._guest, grant)
        self._keep_s = KEEP_ALIVE_S

    def client_of(self, forwarded: str) -> str:
        """Whom a request is counted to; `forwarded` is its X-Forwarded-For."""
        address = UNKNOWN if self.client is None else self.client[0]
        return key_of(address) if self._door is None else self._door.proxies.client(address, forwarded)

    @property
    def _answering(self) -> bool:
        return self._running is not None and not self._running.response_complete

    # ---- its life -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_MS)
        if self._guest is not None:
            self._guest.connection = self
            if self._guest.standing == "gone":  # closed while TLS shook hands
                self.cut()
                return
            if self._guest.standing == "proxy":
                self._keep_s = KEEP_ALIVE_S
        self._wait(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._wait(None)
        self._unset_keepalive_if_required()
        if self._door is not None and self._guest is not None:
            self._door.leave(self._guest)
        if self._running is not None and self._running is not self.cycle:  # uvicorn looks at the newest alone
            self._running.disconnected = True
            self._running.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take it to the parser, never more than a slice beyond a bound."""
        for at in range(0, len(data), SLICE_BYTES):
            if self._deaf:
                self._throw(len(data) - at)
                return
            self._feed(data[at : at + SLICE_BYTES] if len(data) > SLICE_BYTES else data)

    def _feed(self, part: bytes) -> None:
        self._since += len(part)
        parser: httptools.HttpRequestParser | None = self.parser
        assert parser is not None
        try:
            parser.feed_data(part)
        except httptools.HttpParserUpgrade:
            self._not_upgraded()
        except httptools.HttpParserError:
            self._refuse(self._refusal or Problem(400, "bad-request", "these bytes are no HTTP/1.1 request"))
        else:
            if self._since > MAX_HEAD_BYTES:
                self._refuse(_too_long() if not self._in_body else _no_body())
            elif self._begun and not self._in_body and self._late is None:  # most heads are here at once
                self._wait(HEAD_S)

    def _throw(self, size: int) -> None:
        self._thrown += size
        if self._thrown > LINGER_BYTES:
            self.transport.abort()

    def _not_upgraded(self) -> None:
        """HTTP/1.1 it stays, as RFC 9110 §7.8 allows; where one request ends and the next begins is not certain now."""
        if self._refusal is not None:
            self._refuse(self._refusal)
            return
        self._deaf = self._last = True
        if self._running is not None:
            self._running.keep_alive = False

    # ---- the parser's callbacks ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._unset_keepalive_if_required()
        super().on_message_begin()
        self._begun = True
        self._since = self._head = self._lines = self._body = 0

    def on_url(self, url: bytes) -> None:
        """Part of the request's target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One line of the head; those after a body say nothing that anybody here has asked for."""
        self._lines += 1
        self._count(len(name) + len(value) + 4)
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin with the answer: how long a body may take is bounded where it is read."""
        self._wait(None)
        if len(self.pipeline) >= MAX_PIPELINED:
            self._refusal = Problem(400, "bad-request", f"at most {MAX_PIPELINED} requests wait for their answers")
            raise self._refusal
        parser: httptools.HttpRequestParser | None = self.parser
        assert parser is not None
        if parser.should_upgrade() and parser.get_method() not in NO_UPGRADE:
            self._refusal = Problem(501, "not-implemented", "send no Upgrade header: HTTP/1.1 is all that is spoken")
            return  # its body would be lost; `_not_upgraded` refuses it
        super().on_headers_complete()
        self.scope.setdefault("state", {})["connection"] = self
        self._in_body = True
        self._since = self._head = self._lines = 0

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._since = 0
        self._body += len(body)
        if self._body > MAX_MESSAGE_BYTES:
            self._refusal = Problem(413, "too-large", f"a body has at most {MAX_MESSAGE_BYTES} bytes")
            raise self._refusal
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is all here."""
        self._begun = False
        self._since = 0
        if not self._in_body:  # nobody has begun with it
            return
        self._in_body = False
        super().on_message_complete()
        if not self._answering:
            self._idle()

    def on_response_complete(self) -> None:
        """The request is answered: uvicorn waits for the next, and for the rest of this one."""
        self.timeout_keep_alive = REST_S if self._in_body else self._keep_s  # type: ignore[assignment]
        super().on_response_complete()
        if self._last:
            self.transport.close()

    # ---- waiting ------------------------------------------------------------------------------------------------

    def _idle(self) -> None:
        """All of a request is here that was answered before: wait for the next."""
        if not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(self._keep_s, self.timeout_keep_alive_handler)

    def _wait(self, wait_s: float | None) -> None:
        if self._late is not None:
            self._late.cancel()
        self._late = None if wait_s is None else self.loop.call_later(wait_s, self.timeout_keep_alive_handler)

    # ---- refusing -----------------------------------------------------------------------------------------------

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEAD_BYTES or self._lines > MAX_HEAD_LINES:
            self._refusal = _no_body() if self._in_body else _too_long()
            raise self._refusal

    def _refuse(self, problem: Problem) -> None:
        """Answer and close; where an earlier request is being answered, that answer is the last."""
        self._deaf = True
        self._wait(None)
        self._unset_keepalive_if_required()
        running = self._running
        if running is not None and not running.response_complete:
            if not self._in_body or running is not self.cycle:
                self._last = True
                self.pipeline.clear()
                return
            running.disconnected = True  # whoever waits for the rest of its body hears that it does not come
            running.message_event.set()
            if running.response_started:
                self.transport.close()
                return
        if running is None or not (self._in_body and running.response_complete):
            self._answer(problem)  # a second answer a proxy would take for that to the next request
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._wait(LINGER_S)
        if self._door is not None:
            self._door.refused += 1

    def _answer(self, problem: Problem) -> None:
        body = problem.content()
        lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}", f"content-type: {MEDIA_TYPE}"]
        lines += [f"content-length: {len(body)}", "cache-control: no-store", "connection: close", "", ""]
        self.transport.write("\r\n".join(lines).encode() + body)


def _too_long() -> Problem:
    return Problem(
        431,
        "head-too-large",
        f"a request line and its header lines have at most {MAX_HEAD_BYTES} bytes and {MAX_HEAD_LINES} lines together",
    )


def _no_body() -> Problem:
    return Problem(400, "bad-request", f"at most {MAX_HEAD_BYTES} bytes stand between two pieces of a body")
