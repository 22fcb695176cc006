"""History: what points did, minute by minute, hour by hour, day by day, as JSON, CSV, Arrow or Parquet.

What is not known is null, or an empty cell. An answer is sent while it is made.

Bounds: OPEN answers at a time, the others wait; AT_ONCE of these put a block together, the others send what they have;
MAX_VALUES values an answer (buckets × series × functions); at most MAX_NAMED devices and MAX_POINTS points are named;
the rest as `cloud.history.contract` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack
from typing import Final, get_args
from zoneinfo import ZoneInfo

import msgspec
from starlette.responses import Response

from cloud.api import area_params
from cloud.api.history_bodies import ENDINGS, FUNCTIONS, SHAPES, Function, HistoryAnswer
from cloud.api.pieces import PiecesResponse
from cloud.api.queries import MAX_POINTS
from cloud.api.routes import READERS, Answer, Asked, Param, Route, problem_answers
from cloud.history.calendar import Every, text
from cloud.history.contract import Block, HistoryAsked, HistoryFound, HistoryViews, TooMuch
from cloud.problem import Problem, bad_request, not_found
from cloud.records.areas import ReadAreas
from cloud.times import Now, parse
from cloud.views.contract import ReadViews, TargetsAsked
from groundwork.nearest import did_you_mean, nearest
from wire.time import Utc

AT_ONCE: Final = 2
OPEN: Final = 4
BEGIN_S: Final = 2.0  # an answer begins at the latest after so long
MAX_VALUES: Final = 50_000_000
MAX_NAMED: Final = 1_000
USUAL: Final[tuple[Function, ...]] = ("mean", "min", "max", "last", "count", "coverage")
_EVERY: Final[tuple[Every, ...]] = get_args(Every)
_TIME: Final = "RFC 3339 with a time zone, or UTC microseconds"


class History:
    """The route."""

    def __init__(self, history: HistoryViews, views: ReadViews, areas: ReadAreas, now: Now) -> None:
        self._history, self._views, self._areas, self._now = history, views, areas, now
        self._turns, self._open = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(OPEN)

    def routes(self) -> list[Route]:
        """The row of the table."""
        return [
            Route(
                method="GET",
                path="/v1/history",
                name="history",
                summary="What points did, by minute, quarter, hour or day.",
                roles=READERS,
                handler=self._answer,
                params=(
                    Param(name="device", what=f"These devices; at most {MAX_NAMED}.", many=True),
                    Param(name="kind", what="Where no device is named: those of this kind."),
                    Param(name="profile", what="Where no device is named: those of this profile."),
                    Param(name="tag", what="Where no device is named: those with this tag."),
                    Param(name="node", what="Where no device is named: those of this node."),
                    Param(name="box", what="Where no device is named: those in west,south,east,north; WGS 84 degrees."),
                    *area_params.PARAMS,
                    Param(name="point", what="These points; at least one.", many=True, required=True),
                    Param(name="from", what=f"From the bucket on that holds this time: {_TIME}.", required=True),
                    Param(name="to", what=f"To the bucket that ends at this time or holds it: {_TIME}; now."),
                    Param(
                        name="every",
                        what="How long a bucket is; 1h when not given.",
                        schema={"type": "string", "enum": list(_EVERY)},
                    ),
                    Param(name="tz", what="The time zone of the buckets, as Europe/Paris; UTC when not given."),
                    Param(
                        name="fn",
                        what=f"What to tell of each bucket; {', '.join(USUAL)} when not given.",
                        many=True,
                        schema={"type": "string", "enum": list(FUNCTIONS)},
                    ),
                    Param(
                        name="format",
                        what="json when not given.",
                        schema={"type": "string", "enum": list(SHAPES)},
                    ),
                ),
                answers={
                    200: Answer(what="The series; with csv, arrow or parquet a row a bucket.", body=HistoryAnswer),
                    **problem_answers(
                        s404="No such device, or none that is meant has such a point.",
                        s413="It would be too much; `detail` says how to ask for less.",
                    ),
                },
            )
        ]

    async def _answer(self, asked: Asked) -> Response:
        shape = _word(asked, "format", tuple(SHAPES))
        functions = _functions(asked)
        question = await self._within(asked, _question(asked, self._now()))
        media_type, make = SHAPES[shape]
        async with AsyncExitStack() as held:
            await held.enter_async_context(self._open)
            try:
                async with self._turns:
                    found = await self._history.history(question)
                    await self._know(question, found)
                    _check(found, functions)
                first = asyncio.ensure_future(self._next(found.blocks))
                held.callback(first.cancel)
                await asyncio.wait((first,), timeout=BEGIN_S)
                if first.done():
                    first.result()  # what goes wrong soon is told as such
            except TooMuch as error:
                raise Problem(413, "too-large", str(error)) from error
            except ValueError as error:
                raise bad_request(str(error)) from error
            name = f"history-{text(found.edges[0], ZoneInfo(question.zone))[:10]}-{question.every}.{ENDINGS[shape]}"
            headers = {"Cache-Control": "no-store", "Content-Disposition": f'inline; filename="{name}"'}
            pieces = make(question, found, self._in_turn(first, found.blocks), functions)
            return PiecesResponse(pieces, held.pop_all(), headers, media_type)

    async def _in_turn(self, first: Awaitable[Block | None], blocks: AsyncIterator[Block]) -> AsyncIterator[Block]:
        block = await first
        while block is not None:
            yield block
            block = await self._next(blocks)

    async def _next(self, blocks: AsyncIterator[Block]) -> Block | None:
        """The next block, put together in its turn."""
        async with self._turns:
            return await anext(blocks, None)

    async def _within(self, asked: Asked, question: HistoryAsked) -> HistoryAsked:
        """The question with what its areas and groups have meant at its end, or mean now where it ends later."""
        at_us = min(question.to_us, self._now())
        within = await area_params.meant(self._areas, *area_params.named(asked), at_us)
        if within is None:
            return question
        return msgspec.structs.replace(question, which=msgspec.structs.replace(question.which, within=within))

    async def _know(self, asked: HistoryAsked, found: HistoryFound) -> None:
        """Pass if there is something that is meant.

        Raises:
            Problem: there is not; with what is near.
        """
        named = asked.which.devices
        if named is not None and len(found.unknown) == len(set(named)):
            near = await self._views.near(named[0])
            raise not_found(f"there is no device {named[0][:100]!r}" + did_you_mean(near))
        if found.points and not found.points.intersection(asked.points) and (named is None or not found.others):
            near = nearest(asked.points[0], sorted(found.points))
            raise not_found(f"none of the devices has a point {asked.points[0][:100]!r}" + did_you_mean(near))


def _question(asked: Asked, now_us: Utc) -> HistoryAsked:
    query = asked.request.query_params
    devices = tuple(query.getlist("device"))
    points = tuple(dict.fromkeys(query.getlist("point")))
    which = {name: asked.one(name) for name in ("kind", "profile", "tag", "node")}
    box = area_params.box(asked.one("box"))
    some = any(which.values()) or box is not None or any(area_params.named(asked))
    if len(devices) > MAX_NAMED:
        raise bad_request(
            f"device is given {len(devices)} times; at most {MAX_NAMED}; kind, tag, node, area or group name many"
        )
    if not points or len(points) > MAX_POINTS:
        raise bad_request(f"{len(points)} points; name at least one, as point=active_power, and at most {MAX_POINTS}")
    if devices and some:
        raise bad_request(
            "device goes with none of kind, profile, tag, node, box, area, group, which say what is meant without"
        )
    if not devices and not some:
        raise bad_request("say which: device, or kind, profile, tag, node, box, area, group")
    if asked.one("from") is None:
        raise bad_request("from is missing; write from=2026-01-31T00:00:00Z")
    zone = asked.one("tz") or "UTC"
    try:
        ZoneInfo(zone[:100])
    except (KeyError, ValueError, OSError):
        raise bad_request(f"tz is {zone[:50]!r}; it is the IANA name of a time zone, as Europe/Paris") from None
    every = _word(asked, "every", ("1h", *(e for e in _EVERY if e != "1h")))
    return HistoryAsked(
        which=TargetsAsked(
            devices=devices or None,
            kind=which["kind"],
            profile=which["profile"],
            tag=which["tag"],
            node=which["node"],
            box=box,
        ),
        points=points,
        every=next(e for e in _EVERY if e == every),
        zone=zone,
        from_us=_time(asked, "from", now_us),
        to_us=_time(asked, "to", now_us),
    )


def _check(found: HistoryFound, functions: Sequence[Function]) -> None:
    values = found.series * (len(found.edges) - 1) * len(functions)
    if values > MAX_VALUES:
        raise TooMuch(
            f"{values:,} values; at most {MAX_VALUES:,}: ask for fewer devices, points or functions (fn), for a shorter"
            " time, or for longer buckets (every)"
        )


def _functions(asked: Asked) -> tuple[Function, ...]:
    given = [name for part in asked.request.query_params.getlist("fn") for name in part.split(",")]
    if unknown := [name for name in given if name not in FUNCTIONS]:
        raise bad_request(f"fn is {unknown[0][:50]!r}; it is one of {', '.join(FUNCTIONS)}")
    return tuple(f for f in FUNCTIONS if f in given) or USUAL


def _word(asked: Asked, name: str, words: Sequence[str]) -> str:
    given = asked.one(name) or words[0]
    if given not in words:
        raise bad_request(f"{name} is {given[:50]!r}; it is one of {', '.join(words)}")
    return given


def _time(asked: Asked, name: str, default: Utc) -> Utc:
    given = asked.one(name)
    try:
        return default if given is None else parse(given)
    except ValueError as error:
        raise bad_request(f"{name}: {error}") from error
