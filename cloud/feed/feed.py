"""Feed: the log as server-sent events, resumable, at least once.

Every reader reads the log at its own pace; there is no queue a reader, and none can slow ingest or another. What is
urgent goes ahead of what is measured, and that ahead of what comes late (`cloud.feed.progress`). Records that hold
nothing for a reader are not opened (`cloud.feed.outlines`); others are turned into events slice by slice, once, and
shared among the readers that are near them. A reader that does not take CHUNK_BYTES within CUT_S is cut off; the last
id that it has is its cursor. When nothing was sent to a reader for KEEP_ALIVE_S, because there was nothing or only what
it has filtered out, a comment comes with its cursor.

A filter by area or group takes events of devices that are in it when the event is sent (`cloud.feed.inside`).

A filter may name a node that was never heard: it may be on its way. Then a comment says so, and which name is near.

Bounds: MAX_READERS readers, of one token as many as `cloud.entrance.shares` says; CACHE_BYTES of shared events and
FRAMED_BYTES of what they look like to readers who want the same; CHUNK_BYTES under way to each reader; AHEAD records
are read at a time for one; MAX_FILTERS values of each parameter; STRANGE nodes that were never heard are named. Slices
are made by `cloud.feed.slices`, whose bounds are its own.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final, cast

import msgspec
from starlette.responses import Response

from cloud.api import area_params
from cloud.api.routes import READERS, Answer, Asked, Param, Route
from cloud.api.sse import CUT_S, EVENT_STREAM, StreamResponse, while_answered
from cloud.entrance.shares import Shares
from cloud.feed.events import PREFIX, Slice
from cloud.feed.filter import FRESH, Filter, filtered
from cloud.feed.framing import chunks_of
from cloud.feed.fresh import Fresh, FreshOf
from cloud.feed.inside import Inside
from cloud.feed.known import NodesKnown
from cloud.feed.outlines import Outlines
from cloud.feed.progress import Progress
from cloud.feed.slices import Ordered, Slices, nothing_ordered
from cloud.log import cursor as cursors
from cloud.log.contract import ReadLog, Unavailable
from cloud.log.cursor import Cursor, Origins, Reason, Start
from cloud.log.outline import AREA, NEWS, SEVERITIES, TYPES, Outline, Rank
from cloud.metrics import Metrics
from cloud.problem import bad_request, unavailable
from cloud.records.areas import ReadAreas
from cloud.records.tokens import Grant, Tokens
from cloud.times import Now
from cloud.views.contract import ReadViews, TargetsAsked
from cloud.views.latest import Cells
from cloud.views.watching import Watching
from groundwork.liveness import Late
from groundwork.nearest import did_you_mean, nearest
from wire.entries import Severity

MAX_READERS: Final = 2_000
KEEP_ALIVE_S: Final = 15.0
CACHE_BYTES: Final = 32 << 20
FRAMED: Final = 10_000  # of them, however small
FRAMED_BYTES: Final = 16 << 20
AHEAD: Final = 64
MAX_FILTERS: Final = 100
STRANGE: Final = 5
RETRY_MS: Final = 2_000
REVOKED_S: Final = 1.0  # a reader whose token is revoked has its stream no longer than that
NAMED_TYPES: Final = ", ".join((*TYPES, FRESH))
SEVERE: Final = ", ".join(SEVERITIES)


class Feed:
    """The feed of one store."""

    path: Final = "/v1/feed"

    def __init__(
        self,
        *,
        log: ReadLog,
        views: ReadViews,
        areas: ReadAreas,
        now: Now,
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
        self._known = NodesKnown(views)
        self._inside = Inside(areas, self._known, now)
        self._tokens = tokens
        self._shares = shares
        self._watching = watching
        self._metrics = metrics
        self._origins = origins
        self._cut_s = cut_s
        self._keep_alive_s = keep_alive_s
        self._outlines = Outlines(log, self._came)
        self._fresh = Fresh(self._known, now, self._outlines.wake)
        self._slices = Slices(log, self._known, CACHE_BYTES, ordered)
        self._framed: OrderedDict[tuple[object, ...], tuple[list[bytes], int]] = OrderedDict()
        self._framed_bytes = 0
        self._closing = asyncio.Event()
        self._readers = 0

    @property
    def readers(self) -> int:
        """How many are connected."""
        return self._readers

    def refreshed(self, cells: Mapping[tuple[str, str], Cells]) -> None:
        """Snapshots have said this of devices, by node and id, which nothing else has said yet."""
        if self._readers:
            self._fresh.came(cells)

    def late(self) -> Late | None:
        """See `cloud.feed.slices.Slices`."""
        return self._slices.late()

    def close(self) -> None:
        """End every reader's stream; their cursors hold."""
        self._closing.set()
        self._outlines.wake()

    def routes(self) -> list[Route]:
        """The rows of the table."""
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
                    Param(name="type", what=f"Only these types: {NAMED_TYPES}.", many=True),
                    Param(name="kind", what="Only devices of these kinds.", many=True),
                    Param(name="node", what="Only these nodes.", many=True),
                    Param(name="device", what="Only what is about these devices.", many=True),
                    Param(
                        name="point", what="Only samples, orders and results that have one of these points.", many=True
                    ),
                    Param(name="severity", what=f"Only alarms of these severities: {SEVERE}.", many=True),
                    *area_params.PARAMS,
                    Param(name="live", what="1 asks the nodes named, or those of the devices named, to push sooner."),
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
        live = asked.number("live", 0, 0, 1) == 1
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
            if live:
                strange += await self._live(wanted, held)
            # Closed by the response, whether or not the generator has begun by then.
            open_ = held.pop_all()
        stream = while_answered(self._stream(start, reset + strange, wanted, asked.grant), "a feed")
        metrics = self._metrics
        return StreamResponse(stream, self._cut_s, open_, metrics.feed_sent, lambda: metrics.feed_cut("slow"))

    async def _live(self, wanted: Filter, held: ExitStack) -> bytes:
        """Ask the nodes that are named, or whose devices are, to push sooner; a comment where not all are asked."""
        nodes = set(wanted.nodes)
        if not nodes and wanted.devices:
            asked = TargetsAsked(devices=tuple(wanted.devices))
            nodes = {known.node for known in await self._views.targets(asked, MAX_FILTERS)}
        hurried = held.enter_context(self._watching.open(nodes))
        if not nodes:
            return b": live=1 asks nobody: name nodes or devices\n\n"
        left = len(nodes) - len(hurried)
        return b": %d of these nodes are not asked to push sooner: too many are\n\n" % left if left else b""

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
        return start, b"" if start.reset is None else self._reset(start.reset, Progress(start), given)

    def _reset(self, reason: Reason, progress: Progress, asked_after: str) -> bytes:
        generation = self._log.generation
        told = {"reason": reason, "generation": generation, "missed_after": asked_after}
        told |= {"missed_through": str(Cursor(generation, progress.last))}
        name = str(progress.cursor(generation)).encode()
        return b"event: reset\nid: %s\ndata: %s\n\n" % (name, msgspec.json.encode(told))

    def _came(self, outline: Outline | None) -> None:
        """A record has come, and what it changes is known otherwise from now on; None for any."""
        if outline is None or outline.holds & NEWS:
            self._known.forget("" if outline is None else outline.node)
            self._inside.forget("" if outline is None else outline.node)
        if outline is None or outline.holds & AREA:
            self._inside.changed()

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
        progress, ahead = Progress(start), set[int]()
        # The cursor goes first, so that a reader has one before anything happens; a reset has it already.
        told = b"" if start.reset is not None or start.skip else self._cursor_line(progress)
        yield b"retry: %d\n\n" % RETRY_MS + first + told
        sent_s, generation, refreshed = clock(), self._log.generation, self._fresh.through
        async with self._outlines.read():
            while not self._closing.is_set() and self._tokens.valid(grant):
                if refreshed != self._fresh.through:
                    told_after, refreshed = refreshed, self._fresh.through
                    for fresh in self._fresh.after(told_after):
                        for chunk in await self._fresh_chunks(fresh, wanted):
                            yield chunk
                            sent_s = clock()
                floor, head = self._log.reach().floor, self._outlines.looked
                if generation != self._log.generation:  # another was drawn; what this reader has had, it has had
                    yield self._reset("generation", progress, str(progress.cursor(generation)))
                    sent_s, generation = clock(), self._log.generation
                if progress.last < floor:  # compacted meanwhile: this reader is a week behind
                    reached = str(progress.cursor(generation))
                    progress.rise(floor)
                    yield self._reset("expired", progress, reached)
                    sent_s = clock()
                found = await self._next(progress, wanted, head)
                # The time since something was sent decides, not since something came: in a city something always comes.
                left_s = sent_s + self._keep_alive_s - clock()
                if left_s <= 0:
                    yield self._cursor_line(progress)
                    sent_s, left_s = clock(), self._keep_alive_s
                if found is None:
                    now = (self._outlines.looked, self._fresh.through)
                    if now == (head, refreshed) and not self._closing.is_set():
                        await self._outlines.more(partial(self._may, wanted), min(left_s, REVOKED_S))
                    continue
                rank, position, node = found
                if position not in ahead:
                    ahead = await self._ahead(wanted, rank, position, progress.bound(rank, head))
                    then = sorted(ahead)
                else:
                    then = ()
                skip = progress.at(rank).skip
                part = await self._slices.get(position, skip, readings=wanted.readings, node=node, then=then)
                if part is None:
                    if self._log.reach().floor < position:
                        raise Unavailable(f"record {position} is not there")
                    continue
                for chunk in await self._framed_for(progress, rank, position, part, wanted):
                    yield chunk
                    sent_s = clock()
                progress.sent(rank, position, None if part.next is None else part.next - 1)

    async def _next(self, progress: Progress, wanted: Filter, head: int) -> tuple[Rank, int, str] | None:
        """The record that is next for a reader, which has then passed all before it, and whose it is, where known."""
        for rank in Rank:
            through = progress.bound(rank, head)
            found = await self._find(wanted, rank, progress.at(rank).after, through)
            if found is not None:
                progress.passed(rank, found[0] - 1)
                return rank, *found
            progress.passed(rank, through)
        return None

    async def _ahead(self, wanted: Filter, rank: Rank, position: int, through: int) -> set[int]:
        """The records that a reader that is far behind will come to next."""
        found: set[int] = set()
        while through - position >= AHEAD and len(found) < AHEAD:
            there = await self._find(wanted, rank, position, through)
            if there is None:
                break
            position = there[0]
            found.add(position)
        return found

    async def _find(self, wanted: Filter, rank: Rank, after: int, through: int) -> tuple[int, str] | None:
        """The first record of a rank in these that may hold something wanted, and whose it is."""
        while (found := await self._outlines.find(wanted, rank, after, through)) is not None:
            after, outline = found
            if not wanted.by_device or not outline.node or not wanted.only_readings(outline.holds):
                return after, outline.node
            if await self._inside.of(wanted, outline.node):  # else none of its devices is meant
                return after, outline.node
        return None

    def _may(self, wanted: Filter, outline: Outline) -> bool:
        """Whether a reader that waits is woken for a record: it looks again by itself every REVOKED_S."""
        if not wanted.may(outline.node, outline.holds):
            return False
        by_node = wanted.by_device and outline.node and wanted.only_readings(outline.holds)
        return not by_node or not self._inside.nothing(wanted, outline.node)

    def _cursor_line(self, progress: Progress) -> bytes:
        """Where a reader is."""
        return f": cursor\nid: {progress.cursor(self._log.generation)}\n\n".encode()

    async def _fresh_chunks(self, fresh: FreshOf, wanted: Filter) -> Sequence[bytes]:
        inside = await self._inside.of(wanted, fresh.node) if any(wanted.places) else None
        return chunks_of(fresh.events, wanted, inside, None)

    async def _framed_for(
        self, progress: Progress, rank: Rank, position: int, part: Slice, wanted: Filter
    ) -> Sequence[bytes]:
        """The events that are wanted, framed, in pieces of about CHUNK_BYTES: once for all readers that want the same
        and are at the same place."""
        if not part.events:
            return ()
        inside = await self._inside.of(wanted, part.events[0].node) if any(wanted.places) else None
        generation = self._log.generation
        version = self._known.version(part.events[0].node)
        key = (generation, position, part.start, part.end, version, wanted, inside, progress.state)
        if (kept := self._framed.get(key)) is not None:
            return kept[0]
        last = part.end - 1 if part.next is None else None
        chunks = chunks_of(part.events, wanted, inside, progress.ids(generation, rank, position, last))
        size = sum(map(len, chunks))
        self._framed[key] = chunks, size
        self._framed_bytes += size
        while self._framed_bytes > FRAMED_BYTES or len(self._framed) > FRAMED:
            self._framed_bytes -= self._framed.popitem(last=False)[1][1]
        return chunks


def _filter(asked: Asked) -> Filter:
    given = {name: asked.request.query_params.getlist(name) for name in ("kind", "node", "device", "point", "severity")}
    types = frozenset(t.removeprefix(PREFIX) for t in asked.request.query_params.getlist("type"))
    if unknown := types - {*TYPES, FRESH}:
        raise bad_request(f"type is {min(unknown)!r}; there are {NAMED_TYPES}")
    if unknown := set(given["severity"]) - set(SEVERITIES):
        raise bad_request(f"severity is {min(unknown)!r}; there are {SEVERE}")
    if many := [name for name, values in given.items() if len(values) > MAX_FILTERS]:
        raise bad_request(f"{many[0]} is given {len(given[many[0]])} times; at most {MAX_FILTERS}")
    kinds, nodes, devices, points, severities = (frozenset(values) for values in given.values())
    return filtered(
        Filter(
            types=types,
            kinds=kinds,
            nodes=nodes,
            devices=devices,
            points=points,
            severities=cast("frozenset[Severity]", severities),
            places=area_params.named(asked),
        )
    )
