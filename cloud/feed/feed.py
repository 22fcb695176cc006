"""Feed: the log as server-sent events, resumable, at least once.

Every reader reads the log at its own pace; there is no queue a reader, and none can slow ingest or another. A
batch is turned into events slice by slice, once, and shared among the readers that are near it. A reader that does
not take CHUNK_BYTES within CUT_S is cut off; the last id that it has is its cursor. When nothing was sent to a reader
for KEEP_ALIVE_S, because there was nothing or only what it has filtered out, a comment comes with its cursor.

A filter by area or group takes events of devices that are in it when the event is sent (`cloud.feed.inside`).

A filter may name a node that was never heard: it may be on its way. Then a comment says so, and which name is near.

Bounds: MAX_READERS readers, of one token as many as `cloud.entrance.shares` says; CACHE_BYTES of shared events,
CHUNK_BYTES under way to each reader; STRANGE nodes that were never heard are named. Slices are made by
`cloud.feed.slices`, whose bounds are its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from contextlib import ExitStack
from typing import Final

import msgspec
from starlette.responses import Response

from cloud.api import area_params
from cloud.api.routes import READERS, Answer, Asked, Param, Route
from cloud.api.sse import CUT_S, EVENT_STREAM, StreamResponse, while_answered
from cloud.entrance.shares import Shares
from cloud.feed.events import PREFIX, TYPES, Encoded, Slice
from cloud.feed.inside import Inside, Names
from cloud.feed.slices import Ordered, Slices, nothing_ordered
from cloud.log import cursor as cursors
from cloud.log.contract import ReadLog
from cloud.log.cursor import Cursor, Origins, Start
from cloud.metrics import Metrics
from cloud.problem import bad_request, unavailable
from cloud.records.tokens import Grant, Tokens
from cloud.views.contract import ReadViews
from cloud.views.watching import Watching
from groundwork.liveness import Late
from groundwork.nearest import did_you_mean, nearest

MAX_READERS: Final = 2_000
CHUNK_BYTES: Final = 256 << 10
KEEP_ALIVE_S: Final = 15.0
CACHE_BYTES: Final = 32 << 20
MAX_FILTERS: Final = 100
STRANGE: Final = 5
RETRY_MS: Final = 2_000


class Filter(msgspec.Struct, frozen=True):
    """What a reader wants; an empty set means all."""

    types: frozenset[str]
    kinds: frozenset[str]
    nodes: frozenset[str]
    places: Names = (frozenset(), frozenset())  # areas, groups

    def takes(self, event: Encoded, inside: Collection[str] | None) -> bool:
        """Say whether the reader wants it; `inside` are the devices that its areas and groups mean, None for all."""
        return (
            (inside is None or event.device in inside)
            and (not self.types or event.type in self.types)
            and (not self.kinds or event.kind in self.kinds)
            and (not self.nodes or event.node in self.nodes)
        )


class Feed:
    """The feed of one store."""

    path: Final = "/v1/feed"

    def __init__(
        self,
        *,
        log: ReadLog,
        views: ReadViews,
        inside: Inside,
        tokens: Tokens,
        shares: Shares,
        watching: Watching,
        metrics: Metrics,
        origins: Callable[[], Origins],
        ordered: Ordered = nothing_ordered,
        cut_s: float = CUT_S,
        keep_alive_s: float = KEEP_ALIVE_S,
    ) -> None:
        self._log = log
        self._views = views
        self._inside = inside
        self._tokens = tokens
        self._shares = shares
        self._watching = watching
        self._metrics = metrics
        self._origins = origins
        self._cut_s = cut_s
        self._keep_alive_s = keep_alive_s
        self._slices = Slices(log, views, CACHE_BYTES, ordered)
        self._closing = asyncio.Event()
        self._readers = 0

    @property
    def readers(self) -> int:
        """How many are connected."""
        return self._readers

    def late(self) -> Late | None:
        """See `cloud.feed.slices.Slices`."""
        return self._slices.late()

    def close(self) -> None:
        """End every reader's stream; their cursors hold."""
        self._closing.set()

    def routes(self) -> list[Route]:
        """The rows of the table."""
        types = ", ".join(TYPES)
        return [
            Route(
                method="GET",
                path=self.path,
                name="feed",
                summary="Everything that is taken, as server-sent events with CloudEvents 1.0 in JSON.",
                roles=READERS,
                handler=self._open,
                params=(
                    Param(name="after", what="Go on after this cursor; 0 for all there is, from now when not given."),
                    Param(name="Last-Event-ID", at="header", what="The same, as browsers send it; it goes first."),
                    Param(name="type", what=f"Only these types: {types}.", many=True),
                    Param(name="kind", what="Only devices of these kinds.", many=True),
                    Param(name="node", what="Only these nodes.", many=True),
                    *area_params.PARAMS,
                    Param(name="live", what="1 asks the nodes to push sooner while this is open."),
                    Param(name="ticket", what="A ticket (`POST /v1/tickets`), where no header can be sent."),
                ),
                lasting=True,
                ticketed=True,
                answers={200: Answer(what="Events until either end closes.", media_type=EVENT_STREAM)},
            )
        ]

    async def _open(self, asked: Asked) -> Response:
        assert asked.grant is not None
        if self._closing.is_set():
            raise unavailable("shutting down")
        with ExitStack() as held:
            held.enter_context(self._shares.feed(asked.grant))  # has its place before anything is looked up
            if self._readers >= MAX_READERS:
                raise unavailable(f"{self._readers} readers are connected; no more are served", 30)
            self._readers += 1
            held.callback(self._left)
            wanted = _filter(asked)
            given = asked.request.headers.get("last-event-id") or asked.one("after")
            start, reset = self._start(given)
            strange = await self._strange(wanted)
            await area_params.meant(self._inside.areas, *wanted.places, self._inside.now())
            if asked.one("live") == "1":
                held.enter_context(self._watching.open(wanted.nodes))
            # Closed by the response, whether or not the generator has begun by then.
            open_ = held.pop_all()
        stream = while_answered(self._stream(start, reset + strange, wanted, asked.grant), "a feed")
        metrics = self._metrics
        return StreamResponse(stream, self._cut_s, open_, metrics.feed_sent, lambda: metrics.feed_cut("slow"))

    def _left(self) -> None:
        self._readers -= 1

    def _start(self, given: str | None) -> tuple[Start, bytes]:
        reach = self._log.reach()
        if given is None:
            return Start(reach.head), b""
        if given == "0":
            return Start(reach.floor), b""
        try:
            cursor = cursors.parse(given)
        except ValueError as error:
            raise bad_request(str(error)) from error
        start = cursors.start(cursor, self._origins(), reach)
        return start, b"" if start.reset is None else self._reset(start, given)

    def _reset(self, start: Start, asked_after: str) -> bytes:
        after = Cursor(self._log.generation, start.after)
        told = {"reason": start.reset, "generation": self._log.generation}
        told |= {"missed_after": asked_after, "missed_through": str(after)}
        return b"event: reset\nid: %s\ndata: %s\n\n" % (str(after).encode(), msgspec.json.encode(told))

    async def _strange(self, wanted: Filter) -> bytes:
        """Comments on nodes that are asked for and were never heard."""
        if not wanted.nodes:
            return b""
        known = await self._views.names()
        strange = sorted(wanted.nodes - set(known))
        told: list[str] = []
        for node in strange[:STRANGE]:
            near = await asyncio.to_thread(nearest, node, known)
            hint = did_you_mean(None if near is None else repr(near))
            told.append(f": no node {node[:100]!r} was ever heard{hint}\n")  # a repr has no line ends
        if len(strange) > STRANGE:
            told.append(f": and {len(strange) - STRANGE} more nodes that were never heard\n")
        return "".join([*told, "\n"] if told else []).encode()

    async def _stream(self, start: Start, first: bytes, wanted: Filter, grant: Grant) -> AsyncGenerator[bytes]:
        """What goes to one reader."""
        clock = asyncio.get_running_loop().time
        after, skip = start.after, start.skip
        # The cursor goes first, so that a reader has one before anything happens; a reset has it already.
        told = b"" if start.reset is not None or skip else self._cursor_line(after)
        yield b"retry: %d\n\n" % RETRY_MS + first + told
        sent_s, generation = clock(), self._log.generation
        while not self._closing.is_set() and self._tokens.valid(grant):
            # The time since something was sent decides, not since something came: in a city something always comes.
            if generation != self._log.generation:  # another was drawn; what this reader has had, it has had
                reached = Cursor(generation, after + 1, skip - 1) if skip else Cursor(generation, after)
                yield self._reset(Start(after, skip, reset="generation"), str(reached))
                sent_s, generation = clock(), self._log.generation
            left_s = sent_s + self._keep_alive_s - clock()
            if left_s <= 0:
                yield self._cursor_line(after, skip)
                sent_s = clock()
                continue
            if after >= self._log.reach().head:
                await self._more(after, left_s)
                continue
            part = await self._slices.get(after + 1, skip)
            if part is None:  # compacted meanwhile: this reader is a week behind
                late = Start(self._log.reach().floor, reset="expired")
                yield self._reset(late, str(Cursor(self._log.generation, after)))
                after, skip, sent_s = late.after, 0, clock()
                continue
            inside = await self._inside.of(wanted.places, after + 1, part) if any(wanted.places) else None
            for chunk in self._chunks(after + 1, part, wanted, inside):
                yield chunk
                sent_s = clock()
            if part.next is None:
                after, skip = after + 1, 0
            else:
                skip = part.next

    def _cursor_line(self, after: int, skip: int = 0) -> bytes:
        """Where a reader is: after a record, or after the first `skip` events of the one that follows it."""
        cursor = Cursor(self._log.generation, after + 1, skip - 1) if skip else Cursor(self._log.generation, after)
        return f": cursor\nid: {cursor}\n\n".encode()

    def _chunks(self, position: int, part: Slice, wanted: Filter, inside: Collection[str] | None) -> Iterator[bytes]:
        """The events that are wanted, framed, in pieces of about CHUNK_BYTES."""
        stem = str(Cursor(self._log.generation, position)).encode()
        last = part.start + len(part.events) - 1 if part.next is None else None
        lines: list[bytes] = []
        size = 0
        for offset, event in enumerate(part.events, part.start):
            if not wanted.takes(event, inside):
                continue
            name = stem if offset == last else b"%s.%d" % (stem, offset)
            lines.append(b"id: %s\ndata: %s\n\n" % (name, event.json))
            size += len(event.json)
            if size >= CHUNK_BYTES:
                yield b"".join(lines)
                lines, size = [], 0
        if lines:
            yield b"".join(lines)

    async def _more(self, after: int, wait_s: float) -> None:
        """Wait until there is more, or the feed closes, or so many seconds have passed."""
        grown = asyncio.ensure_future(self._log.grown(after))
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait((grown, closing), timeout=wait_s, return_when="FIRST_COMPLETED")
        finally:
            grown.cancel()
            closing.cancel()


def _filter(asked: Asked) -> Filter:
    query = asked.request.query_params
    types = frozenset(t.removeprefix(PREFIX) for t in query.getlist("type"))
    if unknown := types - set(TYPES):
        raise bad_request(f"type is {min(unknown)!r}; there are {', '.join(TYPES)}")
    kinds, nodes = frozenset(query.getlist("kind")), frozenset(query.getlist("node"))
    if len(kinds) > MAX_FILTERS or len(nodes) > MAX_FILTERS:
        raise bad_request(f"at most {MAX_FILTERS} kinds and {MAX_FILTERS} nodes")
    return Filter(types, kinds, nodes, area_params.named(asked))
