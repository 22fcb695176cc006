"""Feed: the log as server-sent events, resumable, at least once.

Every reader reads the log at its own pace; there is no queue a reader, and none can slow ingest or another. A
batch is turned into events slice by slice, once, and shared among the readers that are near it. A reader that does
not take CHUNK_BYTES within CUT_S is cut off; the last id that it has is its cursor. A comment comes every
KEEP_ALIVE_S, and with it the cursor when only filtered-out events have passed.

Bounds: MAX_READERS readers, CACHE_BYTES of shared events, CHUNK_BYTES under way to each reader. Slices are made by
`cloud.slices`, whose bounds are its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Final

import msgspec
from starlette.responses import Response

from cloud import cursor as cursors
from cloud.cursor import Cursor, Origins, Start
from cloud.events import PREFIX, TYPES, Encoded, Slice
from cloud.log import Log
from cloud.metrics import Metrics
from cloud.problem import bad_request, unavailable
from cloud.routes import READERS, Answer, Asked, Param, Route
from cloud.slices import Slices
from cloud.sse import CUT_S, EVENT_STREAM, StreamResponse
from cloud.tokens import Grant, Tokens
from cloud.views import Views
from cloud.watching import Watching

MAX_READERS: Final = 2_000
CHUNK_BYTES: Final = 256 << 10
KEEP_ALIVE_S: Final = 15.0
CACHE_BYTES: Final = 32 << 20
MAX_FILTERS: Final = 100
RETRY_MS: Final = 2_000


class Filter(msgspec.Struct, frozen=True):
    """What a reader wants; an empty set means all."""

    types: frozenset[str]
    kinds: frozenset[str]
    nodes: frozenset[str]

    def takes(self, event: Encoded) -> bool:
        """Say whether the reader wants it."""
        return (
            (not self.types or event.type in self.types)
            and (not self.kinds or event.kind in self.kinds)
            and (not self.nodes or event.node in self.nodes)
        )


class Feed:
    """The feed of one store."""

    path: Final = "/v1/feed"

    def __init__(
        self,
        *,
        log: Log,
        views: Views,
        tokens: Tokens,
        watching: Watching,
        metrics: Metrics,
        origins: Origins,
        cut_s: float = CUT_S,
    ) -> None:
        self._log = log
        self._views = views
        self._tokens = tokens
        self._watching = watching
        self._metrics = metrics
        self._origins = origins
        self._cut_s = cut_s
        self._slices = Slices(log, views, CACHE_BYTES)
        self._closing = asyncio.Event()
        self._readers = 0

    @property
    def readers(self) -> int:
        """How many are connected."""
        return self._readers

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
                    Param(name="live", what="1 asks the nodes to push sooner while this is open."),
                ),
                answers={200: Answer(what="Events until either end closes.", media_type=EVENT_STREAM)},
            )
        ]

    async def _open(self, asked: Asked) -> Response:
        assert asked.grant is not None
        if self._closing.is_set():
            raise unavailable("shutting down")
        if self._readers >= MAX_READERS:
            raise unavailable(f"{self._readers} readers are connected; no more are served", 30)
        wanted = _filter(asked)
        given = asked.request.headers.get("last-event-id") or asked.one("after")
        start, reset = self._start(given)
        live = asked.one("live") == "1"
        # Closed by the response, whether or not the generator has begun by then.
        open_ = ExitStack()
        if live:
            open_.enter_context(self._watching.open(wanted.nodes))
        self._readers += 1
        open_.callback(self._left)
        stream = self._stream(start, reset, wanted, asked.grant)
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
        start = cursors.start(cursor, self._origins, reach)
        return start, b"" if start.reset is None else self._reset(start, given)

    def _reset(self, start: Start, asked_after: str) -> bytes:
        after = Cursor(self._log.generation, start.after)
        told = {"reason": start.reset, "generation": self._log.generation}
        told |= {"missed_after": asked_after, "missed_through": str(after)}
        return b"event: reset\nid: %s\ndata: %s\n\n" % (str(after).encode(), msgspec.json.encode(told))

    async def _stream(self, start: Start, reset: bytes, wanted: Filter, grant: Grant) -> AsyncIterator[bytes]:
        """What goes to one reader."""
        after, skip = start.after, start.skip
        # The cursor goes first, so that a reader has one before anything happens.
        yield b"retry: %d\n\n" % RETRY_MS + (reset or (b"" if skip else self._cursor_line(after)))
        told = after
        while not self._closing.is_set() and self._tokens.valid(grant):
            if after >= self._log.reach().head:
                if not await self._more(after):
                    yield b": still here\n\n" if told == after else self._cursor_line(after)
                    told = after
                continue
            part = await self._slices.get(after + 1, skip)
            if part is None:  # compacted meanwhile: this reader is a week behind
                late = Start(self._log.reach().floor, reset="expired")
                yield self._reset(late, str(Cursor(self._log.generation, after)))
                after, skip, told = late.after, 0, late.after
                continue
            for chunk in self._chunks(after + 1, part, wanted):
                told = after + 1
                yield chunk
            if part.next is None:
                after, skip = after + 1, 0
            else:
                skip = part.next

    def _cursor_line(self, position: int) -> bytes:
        return b": cursor\nid: %s\n\n" % str(Cursor(self._log.generation, position)).encode()

    def _chunks(self, position: int, part: Slice, wanted: Filter) -> Iterator[bytes]:
        """The events that are wanted, framed, in pieces of about CHUNK_BYTES."""
        stem = str(Cursor(self._log.generation, position)).encode()
        last = part.start + len(part.events) - 1 if part.next is None else None
        lines: list[bytes] = []
        size = 0
        for offset, event in enumerate(part.events, part.start):
            if not wanted.takes(event):
                continue
            name = stem if offset == last else b"%s.%d" % (stem, offset)
            lines.append(b"id: %s\ndata: %s\n\n" % (name, event.json))
            size += len(event.json)
            if size >= CHUNK_BYTES:
                yield b"".join(lines)
                lines, size = [], 0
        if lines:
            yield b"".join(lines)

    async def _more(self, after: int) -> bool:
        """Wait until there is more, or the feed closes; False when neither happened for a while."""
        grown = asyncio.ensure_future(self._log.grown(after))
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            done, _ = await asyncio.wait((grown, closing), timeout=KEEP_ALIVE_S, return_when="FIRST_COMPLETED")
        finally:
            grown.cancel()
            closing.cancel()
        return bool(done)


def _filter(asked: Asked) -> Filter:
    query = asked.request.query_params
    types = frozenset(t.removeprefix(PREFIX) for t in query.getlist("type"))
    if unknown := types - set(TYPES):
        raise bad_request(f"type is {min(unknown)!r}; there are {', '.join(TYPES)}")
    kinds, nodes = frozenset(query.getlist("kind")), frozenset(query.getlist("node"))
    if len(kinds) > MAX_FILTERS or len(nodes) > MAX_FILTERS:
        raise bad_request(f"at most {MAX_FILTERS} kinds and {MAX_FILTERS} nodes")
    return Filter(types, kinds, nodes)
