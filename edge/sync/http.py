"""The link to the cloud: one kept-alive HTTP connection, and what its answers mean for the caller.

    LinkDown      no usable answer: keep the batch, try again later (401, 403, 404, 5xx, a 200 or 400 that is not ours)
    Malformed     400 with our own problem: the cloud cannot read this body, and never will
    Unsupported   415, likewise: it reads other versions, which are named (where ours is among them, the body was
                  damaged on the way: LinkDown)
    TooLarge      413, likewise: send less at a time

Bounds: 10 s to connect, `timeout_s` without a byte, twice that in all, 64 KiB of answer; an idle connection is kept for
IDLE_S. https with the system's or a configured CA; plain http only to loopback, or where the configuration says
`insecure = true`. An answer in a Content-Encoding is never opened. Where the environment names a proxy, https goes
through it as a tunnel (CONNECT).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from edge.sync.chaining import ChainedBody, Chains
from groundwork.backoff import retry_after
from wire import codec
from wire.batch import GENERATION_HEADER, Ack, Batch, Lane, Snapshot
from wire.errors import BadInput, Malformed, TooLarge, Unsupported

CONNECT_S: Final = 10.0
IDLE_S: Final = 360.0  # a push interval of five minutes and more: opening anew costs as much as a body
MAX_ANSWER_BYTES: Final = 65_536
BATCH_TYPE: Final = "application/vnd.lamplighter.batch+cbor"
CHAINED_TYPE: Final = "application/vnd.lamplighter.chained+cbor"
NO_HEADERS: Final[Mapping[str, str]] = {}
PROBLEM: Final = "urn:lamplighter:problem:"
SNAPSHOT_TYPE: Final = "application/vnd.lamplighter.snapshot+cbor"
TCP_USER_TIMEOUT: Final = 18  # <linux/tcp.h>; the socket module has it only from some builds on


class LinkDown(Exception):
    """No usable answer. The text says what was seen; `retry_s` is what the cloud asked for, if it did."""

    def __init__(self, text: str, retry_s: float = 0) -> None:
        super().__init__(text)
        self.retry_s = retry_s


class AckAnswer(msgspec.Struct, frozen=True):
    """An ack, how long the round trip took and how large the body was."""

    ack: Ack
    took_s: float
    sent_bytes: int


def plain_http_allowed(url: str) -> bool:
    """Whether a url is https, or http to this machine itself."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return True
    host = parts.hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def trust(ca_file: Path | None = None, client_cert: Path | None = None) -> ssl.SSLContext:
    """Whom to trust, and who we are.

    Raises:
        OSError: a file cannot be read, or is not what it should be.
    """
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    if client_cert:
        # A key with a password is refused: without this, OpenSSL would ask for it on the terminal and wait.
        context.load_cert_chain(client_cert, password="")
    return context


class Cloud(msgspec.Struct, frozen=True, kw_only=True):
    """Where the cloud is, who we are to it, and whom to trust."""

    url: str
    node: str
    token: str
    timeout_s: float
    ca_file: Path | None = None
    client_cert: Path | None = None
    proxy: str | None = None  # the address of an HTTP proxy (`edge.sync.proxies`)

    @property
    def base(self) -> str:
        """What all our addresses begin with."""
        return f"{self.url.rstrip('/')}/v1/nodes/{quote(self.node, safe='')}"

    def context(self) -> ssl.SSLContext:
        """Whom to trust and who we are; to be shared, for it holds every authority of the system.

        Raises:
            OSError: a file cannot be used.
        """
        return trust(self.ca_file, self.client_cert)

    def _proxy(self, context: ssl.SSLContext) -> httpx.Proxy | None:
        if self.proxy is None:
            return None
        return httpx.Proxy(self.proxy, ssl_context=context if self.proxy.startswith("https:") else None)

    def client(self, context: ssl.SSLContext | None = None) -> httpx.AsyncClient:
        """A client of one connection."""
        context = context or self.context()
        client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                verify=context,
                proxy=self._proxy(context),
                limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=IDLE_S),
                socket_options=[
                    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
                    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
                    (socket.IPPROTO_TCP, TCP_USER_TIMEOUT, int(self.timeout_s * 1000)),
                ],
            ),
            timeout=httpx.Timeout(self.timeout_s, connect=min(self.timeout_s, CONNECT_S)),
            headers={"Authorization": f"Bearer {self.token}", "User-Agent": "lamplighter-edge"},
            follow_redirects=False,
            trust_env=False,
        )
        for name in ("Accept", "Accept-Encoding", "Connection"):  # nobody asks for them, and each body would carry them
            del client.headers[name]
        return client


class CloudLink:
    """Open it with `async with`. Not for two requests at a time: there is one connection."""

    def __init__(
        self, cloud: Cloud, context: ssl.SSLContext | None = None, generation: Callable[[], int] = lambda: 0
    ) -> None:
        """`generation` is the one of the cloud's store that the node knows, 0 for none: each request says it."""
        self._generation = generation
        self._timeout_s = cloud.timeout_s
        self._base = cloud.base
        self._client = cloud.client(context)
        self._chains = Chains()

    async def __aenter__(self) -> Self:
        """Opens nothing yet: the first request does."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def send(self, batch: Batch) -> AckAnswer:
        """Send one batch; 200 and 409 are answers alike.

        Raises:
            LinkDown, Malformed, Unsupported, TooLarge.
        """
        body = await asyncio.to_thread(self._chains.body, batch, time.monotonic())  # polls go on meanwhile
        started = time.monotonic()
        sent = len(body.data)
        try:
            status, content = await self._post(body)
        except BadInput:
            if not body.chained:
                raise
            status, content = 409, b""
        if status == 409:
            self._chains.refused(batch.lane)
            if body.chained:  # perhaps only for want of its base
                body = await asyncio.to_thread(self._chains.body, batch, time.monotonic())
                sent += len(body.data)
                status, content = await self._post(body)
        ack = _ack(status, content)
        self._chains.heard(ack)
        if status == 200:
            self._chains.taken(batch.lane, body, time.monotonic())
        return AckAnswer(ack, time.monotonic() - started, sent)

    async def _post(self, body: ChainedBody) -> tuple[int, bytes]:
        if len(body.data) > codec.MAX_BODY_BYTES:
            raise TooLarge(f"{len(body.data)} bytes before it was even sent")
        if body.chained:  # whatever is said against it, it goes in full next
            headers = {"Content-Type": CHAINED_TYPE}
            return await self._request("POST", "/batches", content=body.data, headers=headers, version=None)
        headers = {"Content-Type": BATCH_TYPE, "Content-Encoding": "zstd"}
        return await self._request("POST", "/batches", content=body.data, headers=headers)

    async def place(self, epoch: int, lane: Lane) -> AckAnswer:
        """Ask where the cloud stands in one lane of one epoch.

        Raises:
            LinkDown.
        """
        started = time.monotonic()
        try:
            status, content = await self._request("GET", "/place", params={"epoch": str(epoch), "lane": lane.value})
        except BadInput as error:
            raise LinkDown(f"the question for a place was refused: {error}") from error
        return AckAnswer(_ack(status, content), time.monotonic() - started, 0)

    async def snapshot(self, snapshot: Snapshot) -> None:
        """Send each device's last sample.

        Raises:
            LinkDown, Malformed, Unsupported, TooLarge.
        """
        headers = {"Content-Type": SNAPSHOT_TYPE, "Content-Encoding": "zstd"}
        status, _ = await self._request("POST", "/snapshot", content=codec.encode_snapshot(snapshot), headers=headers)
        if status not in (200, 204):
            raise LinkDown(f"the snapshot was answered with {status}")

    async def _request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        version: int | None = codec.VERSION,
        **what: object,
    ) -> tuple[int, bytes]:
        """`version` is that of the body: an answer that accepts it and does not read it is none (None: any is)."""
        if generation := self._generation():
            headers = {**headers, GENERATION_HEADER: str(generation)}
        try:
            async with (
                asyncio.timeout(2 * self._timeout_s),  # in all: httpx bounds each step only
                self._client.stream(method, self._base + path, headers=headers, **what) as response,  # type: ignore[arg-type]
            ):
                encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
                if encoding != "identity":  # never opened: it could be a bomb, and nobody has asked for it
                    raise LinkDown(f"{response.status_code} in the Content-Encoding {encoding[:40]!r} is none of ours")
                content = bytearray()
                async for piece in response.aiter_raw():
                    content += piece
                    if len(content) > MAX_ANSWER_BYTES:
                        raise LinkDown(f"an answer of more than {MAX_ANSWER_BYTES} bytes is none of ours")
        except TimeoutError as error:
            raise LinkDown(f"no whole answer within {2 * self._timeout_s:.0f} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ssl.SSLError) as error:
            raise LinkDown(f"{type(error).__name__}: {error}".rstrip(": ")) from error
        status = response.status_code
        if status in (200, 204, 409):
            return status, bytes(content)
        problem = _problem(bytes(content))
        detail = (problem.detail or problem.title)[:300] or response.reason_phrase
        # Only the aggregator itself can say that a body is wrong; a proxy that says 400 has not understood it.
        match status, problem.type.removeprefix(PROBLEM):
            case 400, "malformed":
                raise Malformed(detail)
            case 413, "too-large":
                raise TooLarge(detail)
            case 415, "unsupported" if version not in problem.accepts:
                raise Unsupported(detail, problem.accepts[:16])
            case _:
                raise LinkDown(f"{status}: {detail}", retry_after(response.headers.get("Retry-After")))


class _Problem(msgspec.Struct):
    """What we read of RFC 9457 problem details."""

    type: str = ""
    title: str = ""
    detail: str = ""
    accepts: tuple[int, ...] = ()


def _problem(content: bytes) -> _Problem:
    try:
        return msgspec.json.decode(content, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Problem()  # a proxy's page, say: the status code has to do


def _ack(status: int, content: bytes) -> Ack:
    try:
        return codec.decode_ack(content)
    except BadInput as error:
        raise LinkDown(f"a {status} that is no ack of ours (a captive portal?): {error}") from error
