"""Downlink: the stream on which a node gets its orders, as server-sent events, each `data` a `wire.orders.Down`.

At connect all open orders come that the node has said nothing of, the oldest first; a new one comes at once; one of
which nothing is said comes again every RESEND_S. When nothing has come for BEAT_S, a Down comes that has only the
time: a node that hears nothing for longer has no downlink. A stream ends by itself after LIFE_S. The newest stream of
a node wins: an older one gets an event `replaced`, and ends. With once=1 the open orders come, then a Down with the
time, then the end: for proxies that hold a stream back. A node that says answers=why gets questions, too
(`cloud.orders.why`): once, before orders, and never again.

Bounds: one stream a node, MAX_NODES nodes, and ONCE_MOST answers to once=1 a node, which is remembered for ASKED_S;
ASKS questions wait for a stream; PAGE orders are held for a stream at a time without their texts; BUNDLES streams write
a text at a time, one each, the others look again after LATER_S; PIECE_BYTES are written at a time, each to be taken
within `cut_s`. AT_ONCE streams read the store at a time: many nodes that get orders at once do not hold up everybody
else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Final

import msgspec
from starlette.responses import Response

from cloud.api.routes import NODES, OVER_QUOTA, Answer, Asked, Param, Route
from cloud.api.sse import CUT_S, EVENT_STREAM, StreamResponse, while_answered
from cloud.metrics import Metrics
from cloud.problem import Problem, bad_request, unavailable
from cloud.records.orders import OrderStore
from cloud.records.tokens import Grant, Tokens
from cloud.times import Now
from wire.orders import Bundle, Down, Order
from wire.why import ANSWERS, AskWhy

MAX_NODES: Final = 4_000
ONCE_MOST: Final = 2
ASKS: Final = 32
PAGE: Final = 50
BUNDLES: Final = 64
LATER_S: Final = 1.0
AT_ONCE: Final = 32
PIECE_BYTES: Final = 16 << 10
ASKED_S: Final = 90.0  # a node that comes with once=1 counts as reachable for so long


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How often what is said, in seconds: shorter in tests."""

    resend_s: float = 30.0
    beat_s: float = 15.0
    life_s: float = 3_600.0
    cut_s: float = CUT_S


class _Line:
    """One open stream. `news` is set when there may be something to send, or it is to end."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self.replaced = False
        self.answers = False  # its node answers questions
        self.asks: deque[AskWhy] = deque()


class Downlink:
    """All nodes' streams. On the event loop."""

    def __init__(
        self, orders: OrderStore, tokens: Tokens, metrics: Metrics, now: Now, pace: Pace, asks: Callable[[str], None]
    ) -> None:
        """`asks` counts a request of a node, and raises a Problem where it has none left (`cloud.entrance.quota`)."""
        self._orders = orders
        self._tokens = tokens
        self._metrics = metrics
        self._now = now
        self._pace = pace
        self._asks = asks
        self._lines: dict[str, _Line] = {}
        self._asked_s: dict[str, float] = {}  # on the loop's clock, which nobody sets; the last to ask is the last
        self._onces: dict[str, int] = {}
        self._carrying: set[_Line] = set()  # those that write a text now
        self._reading = asyncio.Semaphore(AT_ONCE)
        self._closing = False

    @property
    def nodes(self) -> int:
        """How many have a stream open."""
        return len(self._lines)

    def reachable(self, node: str) -> bool:
        """Say whether a node would get an order now."""
        asked_s = self._asked_s.get(node)
        return node in self._lines or (asked_s is not None and asyncio.get_running_loop().time() < asked_s + ASKED_S)

    def answers(self, node: str) -> bool:
        """Say whether a node has said that it answers questions, on the stream that is open."""
        return (line := self._lines.get(node)) is not None and line.answers

    def ask(self, node: str, asked: AskWhy) -> bool:
        """Put a question to a node; say whether it will be sent, as far as is known."""
        line = self._lines.get(node)
        if line is None or not line.answers or len(line.asks) >= ASKS:
            return False
        line.asks.append(asked)
        line.news.set()
        return True

    def wake(self, nodes: Iterable[str]) -> None:
        """There are new orders for these nodes."""
        for node in nodes:
            if (line := self._lines.get(node)) is not None:
                line.news.set()

    def close(self) -> None:
        """End every stream; the nodes come again."""
        self._closing = True
        self.wake(list(self._lines))

    def routes(self) -> list[Route]:
        """The row of the table."""
        return [
            Route(
                method="GET",
                path="/v1/nodes/{node}/orders",
                name="downlink",
                summary="The node's orders, as server-sent events, each a Down in JSON.",
                roles=NODES,
                handler=self._open,
                params=(
                    Param(name="node", at="path", what="The node whose token is used."),
                    Param(name="once", what="1: what is open now, a Down with the time, and the end."),
                    Param(name="answers", what="why: this node answers the question why (see wire/why.py)."),
                ),
                lasting=True,
                answers={200: Answer(what="Orders until either end closes.", media_type=EVENT_STREAM), **OVER_QUOTA},
            )
        ]

    async def _open(self, asked: Asked) -> Response:
        node, grant = asked.path("node"), asked.grant
        if grant is None or grant.node != node:
            raise Problem(403, "forbidden", f"the token is not one of node {node}")
        self._asks(node)
        once = asked.one("once")
        if once not in {None, "0", "1"}:
            raise bad_request(f"once is {once!r}; it is 1, or left out")
        if asked.request.method == "HEAD":  # says what there is, and must not end the stream that is open
            return Response(media_type=EVENT_STREAM)
        if self._closing:
            raise unavailable("shutting down")
        if node not in self._lines and len(self._lines) >= MAX_NODES:
            raise unavailable(f"{len(self._lines)} nodes have a downlink; no more are served", 30)
        open_ = ExitStack()
        line = _Line()
        line.answers = ANSWERS in asked.request.query_params.getlist("answers")  # a newer node may answer more
        if once == "1":
            if (count := self._onces.get(node, 0)) >= ONCE_MOST:
                raise unavailable(f"{count} answers to once=1 are on their way to node {node}", 1)
            self._onces[node] = count + 1
            self._asks_once(node)
            open_.callback(self._answered, node, line)
            stream = self._once(node, line)
        else:
            if (older := self._lines.get(node)) is not None:
                older.replaced = True
                older.news.set()
            self._lines[node] = line
            # Closed by the response, whether or not the generator has begun by then.
            open_.callback(self._left, node, line)
            stream = self._stream(node, line, grant)
        stream = while_answered(stream, f"the downlink of {node}")
        return StreamResponse(
            stream, self._pace.cut_s, open_, self._metrics.downlink_sent, lambda: self._metrics.feed_cut("downlink")
        )

    def _asks_once(self, node: str) -> None:
        """It counts as reachable from now; those that do so no more are forgotten."""
        now_s = asyncio.get_running_loop().time()
        self._asked_s.pop(node, None)
        self._asked_s[node] = now_s
        while self._asked_s and (oldest := next(iter(self._asked_s.items())))[1] + ASKED_S <= now_s:
            del self._asked_s[oldest[0]]

    def _answered(self, node: str, line: _Line) -> None:
        self._carrying.discard(line)
        self._onces[node] -= 1
        if not self._onces[node]:
            del self._onces[node]

    def _left(self, node: str, line: _Line) -> None:
        self._carrying.discard(line)
        if self._lines.get(node) is line:
            del self._lines[node]

    async def _once(self, node: str, line: _Line) -> AsyncGenerator[bytes]:
        for page in _pages(await self._unheard(node)):
            for order in await self._sending(page):
                if (whole := await self._whole(line, order)) is None:
                    continue  # it comes with the next
                for piece in self._framed(whole):
                    yield piece
                self._carrying.discard(line)
        yield self._beat()

    async def _stream(self, node: str, line: _Line, grant: Grant) -> AsyncGenerator[bytes]:
        clock = asyncio.get_running_loop().time
        ends_s = clock() + self._pace.life_s
        sent_s: dict[str, float] = {}  # when each open order was last written; only those are kept
        yield self._beat()  # so that the node knows at once that it is heard
        spoke_s = clock()
        while True:
            line.news.clear()
            if line.replaced:
                yield b"event: replaced\ndata: {}\n\n"
                return
            if self._closing or clock() >= ends_s or not self._tokens.valid(grant):
                return
            while line.asks:
                for piece in self._framed(None, line.asks.popleft()):
                    yield piece
                spoke_s = clock()
            open_ = await self._unheard(node)
            later = False
            sent_s = {name: sent_s[name] for name, _ in open_ if name in sent_s}
            late_s = clock() - self._pace.resend_s
            for page in _pages([(name, sent) for name, sent in open_ if sent_s.get(name, late_s) <= late_s]):
                if line.replaced:
                    break
                passed: set[str] = set()
                for order in await self._sending(page):
                    if (whole := await self._whole(line, order)) is None:
                        passed.add(order.id)
                        continue
                    for piece in self._framed(whole):
                        yield piece
                    spoke_s = clock()
                    self._carrying.discard(line)
                sent_s |= dict.fromkeys((name for name, _ in page if name not in passed), clock())
                later = later or bool(passed)
            if clock() - spoke_s >= self._pace.beat_s:
                yield self._beat()
                spoke_s = clock()
            again_s = clock() + LATER_S if later else min(sent_s.values(), default=ends_s) + self._pace.resend_s
            await _within(min(again_s, spoke_s + self._pace.beat_s, ends_s) - clock(), line.news)

    async def _unheard(self, node: str) -> list[tuple[str, bool]]:
        async with self._reading:
            return await self._orders.unheard(node, self._now())

    async def _sending(self, page: Sequence[tuple[str, bool]]) -> list[Order]:
        async with self._reading:
            return await self._orders.sending(page, self._now())

    async def _whole(self, line: _Line, order: Order) -> Order | None:
        """The order with its text, where it has one; None while too many texts are on their way, or it has none."""
        if not isinstance(order, Bundle):
            return order
        if len(self._carrying) >= BUNDLES:
            return None
        self._carrying.add(line)  # until it is written, or the response ends, however it does
        if (text := await self._orders.text_of(order.group)) is None:
            self._carrying.discard(line)
            return None
        return msgspec.structs.replace(order, text=text)

    def _framed(self, order: Order | None, why: AskWhy | None = None) -> Iterator[bytes]:
        framed = b"data: %s\n\n" % msgspec.json.encode(Down(server_us=self._now(), order=order, why=why))
        for at in range(0, len(framed), PIECE_BYTES):
            yield framed[at : at + PIECE_BYTES]

    def _beat(self) -> bytes:
        return b"".join(self._framed(None))


async def _within(wait_s: float, news: asyncio.Event) -> None:
    """Wait for news, not longer than so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, wait_s)):
            await news.wait()


def _pages(names: Sequence[tuple[str, bool]]) -> Iterator[Sequence[tuple[str, bool]]]:
    for at in range(0, len(names), PAGE):
        yield names[at : at + PAGE]
