"""History: what points did, minute by minute, hour by hour, day by day, as JSON or as CSV.

In JSON the buckets' beginnings are told once, and of each series a list a function, one value a bucket: a month of a
district by hour is a few megabytes. In CSV each bucket of each series is a row, its beginning once with the offset from
UTC and once as a spreadsheet takes it. What is not known is null, or an empty cell.

Bounds: AT_ONCE answers are put together at a time; MAX_VALUES values an answer (buckets × series × functions); at most
MAX_NAMED devices and MAX_POINTS points are named; the rest as `cloud.history.contract` says.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, Literal, get_args
from zoneinfo import ZoneInfo

import msgspec
from starlette.responses import Response

from cloud.api.latest import CSV
from cloud.api.queries import MAX_POINTS
from cloud.api.routes import JSON, READERS, Answer, Asked, Param, Route, problem_answers
from cloud.api.spreadsheet import cell
from cloud.history.calendar import Every, text
from cloud.history.contract import Block, HistoryAsked, HistoryFound, HistoryViews, Series, TooMuch
from cloud.problem import Problem, bad_request, not_found
from cloud.times import SECOND_US, Now, parse
from cloud.views.contract import TargetsAsked, Views
from groundwork.nearest import did_you_mean, nearest
from wire.device import PointType
from wire.time import Utc

if TYPE_CHECKING:  # which brings numpy: not before somebody asks
    from cloud.history.grid import Course

AT_ONCE: Final = 2
MAX_VALUES: Final = 4_000_000
MAX_NAMED: Final = 1_000
Function = Literal[
    "mean", "min", "max", "first", "last", "count", "uncertain", "bad", "coverage", "increase", "resets", "wraps",
    "unsure",
]  # fmt: skip
FUNCTIONS: Final[tuple[Function, ...]] = get_args(Function)
USUAL: Final[tuple[Function, ...]] = ("mean", "min", "max", "last", "count", "coverage")
_COUNTER: Final = ("increase", "resets", "wraps", "unsure")
_EVERY: Final[tuple[Every, ...]] = get_args(Every)
_TIME: Final = "RFC 3339 with a time zone, or UTC microseconds"
_COLUMNS: Final = ("device", "node", "point", "unit", "begin", "local")


class HistorySeries(msgspec.Struct, frozen=True, kw_only=True):
    """What a point of a device did: of each function one value a bucket, null where it is not known.

    A value is held until the next, at most for `hold_s`; where `hold_known` is false its profile does not say how long,
    and `coverage` is null. `counter` and `wraps_at` are null where the profile does not say.
    """

    device: str
    node: str
    point: str
    type: PointType | None
    unit: str
    hold_s: float
    hold_known: bool
    counter: bool | None
    wraps_at: float | None
    values: Mapping[str, Sequence[float | str | None]]


class HistoryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The buckets, each from its beginning to the next one's, the last to `to`; and the series by node, device and
    point. `unknown` are devices that were named and are not known."""

    every: Every
    tz: str
    begins: Sequence[str]
    to: str
    unknown: Sequence[str]
    series: Sequence[HistorySeries]


class History:
    """The route."""

    def __init__(self, history: HistoryViews, views: Views, now: Now) -> None:
        self._history, self._views, self._now = history, views, now
        self._turns = asyncio.Semaphore(AT_ONCE)

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
                        schema={"type": "string", "enum": ["json", "csv"]},
                    ),
                ),
                answers={
                    200: Answer(what="The series; with format=csv, a row a bucket.", body=HistoryAnswer),
                    **problem_answers(
                        s404="No such device, or none that is meant has such a point.",
                        s413="It would be too much; `detail` says how to ask for less.",
                    ),
                },
            )
        ]

    async def _answer(self, asked: Asked) -> Response:
        shape = _word(asked, "format", ("json", "csv"))
        functions = _functions(asked)
        question = _question(asked, self._now())
        try:
            async with self._turns:
                found = await self._history.history(question)
                await self._know(question, found)
                _check(found, functions)
                make = _json if shape == "json" else _csv
                body = await make(question, found, functions)
        except TooMuch as error:
            raise Problem(413, "too-large", str(error)) from error
        except ValueError as error:
            raise bad_request(str(error)) from error
        media_type = JSON if shape == "json" else f"{CSV}; charset=utf-8; header=present"
        return Response(body, 200, {"Cache-Control": "no-store"}, media_type)

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
    if len(devices) > MAX_NAMED:
        raise bad_request(f"device is given {len(devices)} times; at most {MAX_NAMED}: kind, profile, tag or node name"
                          " many at once")  # fmt: skip
    if not points or len(points) > MAX_POINTS:
        raise bad_request(f"{len(points)} points; name at least one, as point=active_power, and at most {MAX_POINTS}")
    if devices and any(which.values()):
        raise bad_request("device goes with none of kind, profile, tag, node: these say which where no device is named")
    if not devices and not any(which.values()):
        raise bad_request("say which: device, or kind, profile, tag, node")
    if asked.one("from") is None:
        raise bad_request("from is missing; write from=2026-01-31T00:00:00Z")
    zone = asked.one("tz") or "UTC"
    try:
        ZoneInfo(zone[:100])
    except (KeyError, ValueError, OSError):
        raise bad_request(f"tz is {zone[:50]!r}; it is the IANA name of a time zone, as Europe/Paris") from None
    every = _word(asked, "every", ("1h", *(e for e in _EVERY if e != "1h")))
    return HistoryAsked(
        which=TargetsAsked(devices=devices or None, **which),
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


async def _json(asked: HistoryAsked, found: HistoryFound, functions: Sequence[Function]) -> bytes:
    zone, edges = ZoneInfo(asked.zone), found.edges
    head = HistoryAnswer(
        every=asked.every,
        tz=asked.zone,
        begins=[text(edge, zone) for edge in edges[:-1]],
        to=text(edges[-1], zone),
        unknown=found.unknown,
        series=(),
    )

    def encoded(block: Block) -> list[bytes]:
        return [msgspec.json.encode(_told(series, values)) for series, values in _valued(block, edges, functions)]

    pieces: list[bytes] = []
    async for block in found.blocks:
        pieces += await asyncio.to_thread(encoded, block)
    return msgspec.json.encode(head).removesuffix(b"]}") + b",".join(pieces) + b"]}"


async def _csv(asked: HistoryAsked, found: HistoryFound, functions: Sequence[Function]) -> bytes:
    zone, edges = ZoneInfo(asked.zone), found.edges
    begins = [text(edge, zone) for edge in edges[:-1]]
    local = [begin[:19].replace("T", " ") for begin in begins]
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow((*_COLUMNS, *functions))
    writer.writerows((cell(device), *[""] * (len(_COLUMNS) + len(functions) - 1)) for device in found.unknown)

    def write(block: Block) -> None:
        for series, values in _valued(block, edges, functions):
            head = [repeat(cell(v)) for v in (series.device, series.node, series.point, _unit(series))]
            writer.writerows(zip(*head, begins, local, *(map(_shown, values[f]) for f in functions), strict=False))

    async for block in found.blocks:
        await asyncio.to_thread(write, block)
    return out.getvalue().encode()


def _shown(value: object) -> object:
    """NaN is an empty cell."""
    return "" if value is None or value != value else cell(value)  # noqa: PLR0124


def _told(series: Series, values: Mapping[str, Sequence[Any]]) -> HistorySeries:
    described, terms = series.described, series.terms
    return HistorySeries(
        device=series.device,
        node=series.node,
        point=series.point,
        type=None if described is None else described.type,
        unit=_unit(series),
        hold_s=terms.hold_us / SECOND_US,
        hold_known=series.hold_known,
        counter=series.counts,
        wraps_at=None if described is None else described.wraps_at,
        values=values,
    )


def _unit(series: Series) -> str:
    return "" if series.described is None else series.described.unit


def _valued(
    block: Block, edges: Sequence[Utc], functions: Sequence[Function]
) -> Iterable[tuple[Series, Mapping[str, Sequence[Any]]]]:
    """Each series with a list a function: NaN, which JSON has as null, where nothing is known."""
    import numpy as np

    course = block.course
    lengths = np.diff(np.array(edges, np.int64))
    columns = {f: _FOUND[f](course, lengths) for f in functions}
    worded = {row for row, _ in course.words}
    heard = np.any(course.good + course.uncertain + course.bad + course.covered_us, axis=1).tolist()
    for row, series in enumerate(block.series):
        if not heard[row] and series.described is None:
            continue
        values: dict[str, Sequence[Any]] = {f: column[row].tolist() for f, column in columns.items()}
        nothing: list[None] = [None] * len(lengths)
        if "coverage" in values and not series.hold_known:
            values["coverage"] = nothing
        if series.counts is False:
            values |= dict.fromkeys([f for f in _COUNTER if f in values], nothing)
        if row in worded and "last" in values:
            values["last"] = [course.words.get((row, b), v) for b, v in enumerate(values["last"])]
        yield series, values


_FOUND: Final[Mapping[Function, Callable[[Course, Any], Any]]] = {
    "mean": lambda course, _: course.mean,
    "min": lambda course, _: course.least,
    "max": lambda course, _: course.most,
    "first": lambda course, _: course.first,
    "last": lambda course, _: course.last,
    "count": lambda course, _: course.good + course.uncertain,
    "uncertain": lambda course, _: course.uncertain,
    "bad": lambda course, _: course.bad,
    "coverage": lambda course, lengths: (course.covered_us / lengths).round(6),
    "increase": lambda course, _: course.increase,
    "resets": lambda course, _: course.resets,
    "wraps": lambda course, _: course.wraps,
    "unsure": lambda course, _: course.unsure,
}
