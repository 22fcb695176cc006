"""Latest: the newest of all devices, or of a part of them, in one answer (`cloud.api.latest_bodies`).

In JSON a device's time is that of its newest point, and what differs from it, or is not good, is named by point: so a
city's answer is a sixth of what it would be with everything said of every point. In CSV and Arrow each point has a row
with all of its columns. `cursor` is where a feed goes on: what it tells from there on may be in the answer already, and
nothing is in neither. With `after`, only devices about which something has changed are told, and `gone` those of them
that are not meant, or not any more; where that cursor is of another generation, was never reached, or is older than
what this process has seen, or an area or group that is asked for has changed since, all are, and `complete` says so.

Asking makes no node push sooner: that is for devices that somebody has open.

Bounds: AT_ONCE answers are put together at a time; KEPT of them, KEPT_BYTES at most, are kept for whoever asks for the
same before anything has changed; at most MAX_NAMED names a parameter.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from hashlib import blake2b
from typing import Final

import msgspec
from starlette.responses import Response

from cloud.api import area_params
from cloud.api.latest_bodies import SHAPES
from cloud.api.routes import READERS, Answer, Asked, Param, Route
from cloud.log import cursor as cursors
from cloud.log.contract import ReadLog
from cloud.log.cursor import Cursor
from cloud.problem import bad_request
from cloud.records.areas import ReadAreas
from cloud.times import Now
from cloud.views.answers import GRADES, CityLatest, PointsNow
from cloud.views.contract import LatestAsked, LatestViews
from wire.device import Point
from wire.orders import LEVELS
from wire.time import Utc

AT_ONCE: Final = 2
KEPT: Final = 8
KEPT_BYTES: Final = 64 << 20
MAX_NAMED: Final = 1_000


class DeviceNow(PointsNow, frozen=True, kw_only=True):
    """One device: what its roster says of it (as `DeviceSeen`), and its newest. `described` is the place of its points
    among `profiles`."""

    id: str
    node: str
    kind: str | None
    profile: str | None
    name: str
    lon: float | None
    lat: float | None
    tags: tuple[str, ...]
    conflict: tuple[str, ...]
    described: int


class ProfilePoints(msgspec.Struct, frozen=True, kw_only=True):
    """The points of a profile, as a roster describes them; two nodes may know a profile in two versions."""

    profile: str | None
    points: tuple[Point, ...]


class LatestOfAll(msgspec.Struct, frozen=True, kw_only=True):
    """The newest of the devices that are meant, by node and id."""

    cursor: str
    complete: bool
    devices: tuple[DeviceNow, ...]
    gone: tuple[str, ...]
    profiles: tuple[ProfilePoints, ...]


class Latest:
    """The route."""

    def __init__(self, views: LatestViews, areas: ReadAreas, log: ReadLog, now: Now) -> None:
        self._views, self._areas, self._log, self._now = views, areas, log, now
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._kept: OrderedDict[str, tuple[str, bytes]] = OrderedDict()

    def routes(self) -> list[Route]:
        """The row of the table."""
        return [
            Route(
                method="GET",
                path="/v1/latest",
                name="latest",
                summary="The newest of all devices, or of a part of them.",
                roles=READERS,
                handler=self._latest,
                params=(
                    Param(name="kind", what="Only of these kinds.", many=True),
                    Param(name="profile", what="Only of these profiles.", many=True),
                    Param(name="tag", what="Only with one of these tags.", many=True),
                    Param(name="node", what="Only of these nodes.", many=True),
                    Param(name="point", what="Only these points; all when none is given.", many=True),
                    Param(
                        name="quality",
                        what="Only devices whose worst point is so.",
                        many=True,
                        schema={"type": "string", "enum": list(GRADES)},
                    ),
                    Param(name="box", what="Only within west,south,east,north: degrees, WGS 84 (RFC 7946, section 5)."),
                    *area_params.PARAMS,
                    Param(
                        name="alarm",
                        what="1: only with an alarm that stands; 0: only without one.",
                        schema={"type": "integer", "minimum": 0, "maximum": 1},
                    ),
                    Param(
                        name="level",
                        what="Only devices of which one of these levels decides a writable point.",
                        many=True,
                        schema={"type": "string", "enum": list(LEVELS)},
                    ),
                    Param(
                        name="decided",
                        what="1: also who decides the writable points, and until when.",
                        schema={"type": "integer", "minimum": 0, "maximum": 1},
                    ),
                    Param(name="after", what="Only about what something has changed since this cursor."),
                    Param(
                        name="format",
                        what="json when not given.",
                        schema={"type": "string", "enum": list(SHAPES)},
                    ),
                    Param(name="If-None-Match", at="header", what="An ETag that was given before."),
                ),
                answers={
                    200: Answer(what="The devices; with format=csv or arrow, a row a point.", body=LatestOfAll),
                    304: Answer(what="Nothing has changed since that ETag.", media_type=""),
                },
            )
        ]

    async def _latest(self, asked: Asked) -> Response:
        given = asked.one("format") or "json"
        if given not in SHAPES:
            raise bad_request(f"format is {given[:50]!r}; it is one of {', '.join(SHAPES)}")
        at = self._at()
        question, complete = await self._within(asked, *_question(asked, at))
        meant = "" if question.within is None else question.within.key
        said = msgspec.json.encode((meant, asked.request.query_params.multi_items()))
        key = blake2b(said, digest_size=8).hexdigest()
        tag = f'"{at.generation}.{at.position}.{self._views.latest_mark()}.{key}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if tag in [t.strip() for t in asked.request.headers.get("if-none-match", "").split(",")]:
            return Response(status_code=304, headers=headers)
        body = self._known(key, tag)
        if body is None:
            async with self._turns:
                body = self._known(key, tag)  # who waited may have waited for the same
                if body is None:
                    found = await self._views.latest(question)
                    cursor, whole = str(self._cursor(found)), complete or found.complete
                    body = await SHAPES[given][1](found, cursor, whole, question.asks_who)
                    self._keep(key, tag, body)
        return Response(body, 200, headers, SHAPES[given][0])

    async def _within(self, asked: Asked, question: LatestAsked, complete: bool) -> tuple[LatestAsked, bool]:
        """The question with what its areas and groups mean now, and whether the answer has all that is meant."""
        within = await area_params.meant(self._areas, *area_params.named(asked), self._now())
        if within is None:
            return question, complete
        after = question.after
        if after is not None and not await self._taken_since(after, within.since_us):
            after, complete = None, True
        return msgspec.structs.replace(question, within=within, after=after), complete

    async def _taken_since(self, position: int, since_us: Utc) -> bool:
        """Whether a record was taken after a moment; False where that is not known any more."""
        records = await self._log.read(position - 1, 1, 1)
        return bool(records) and records[0].position == position and records[0].received_us > since_us

    def _at(self) -> Cursor:
        return Cursor(self._log.generation, self._log.reach().head)

    def _cursor(self, found: CityLatest) -> Cursor:
        return Cursor(self._log.generation, found.position)

    def _known(self, key: str, tag: str) -> bytes | None:
        kept = self._kept.get(key)
        return kept[1] if kept is not None and kept[0] == tag else None

    def _keep(self, key: str, tag: str, body: bytes) -> None:
        self._kept.pop(key, None)
        self._kept[key] = (tag, body)
        while len(self._kept) > KEPT or (self._kept and sum(len(b) for _, b in self._kept.values()) > KEPT_BYTES):
            self._kept.popitem(last=False)


def _question(asked: Asked, at: Cursor) -> tuple[LatestAsked, bool]:
    """What is asked for, and whether the answer has all that is meant.

    Raises:
        Problem: a parameter is not what it should be.
    """
    alarm = asked.one("alarm")
    if alarm not in (None, "0", "1"):
        raise bad_request(f"alarm is {alarm[:50]!r}; it is 0 or 1")
    decided = asked.one("decided")
    if decided not in (None, "0", "1"):
        raise bad_request(f"decided is {decided[:50]!r}; it is 0 or 1")
    levels = _named(asked, "level")
    if unknown := sorted(levels - set(LEVELS)):
        raise bad_request(f"level is {unknown[0][:50]!r}; it is one of {', '.join(LEVELS)}")
    grades = _named(asked, "quality")
    if unknown := sorted(grades - set(GRADES)):
        raise bad_request(f"quality is {unknown[0][:50]!r}; it is one of {', '.join(GRADES)}")
    after = None
    if (given := asked.one("after")) is not None:
        try:
            since = cursors.parse(given)
        except ValueError as error:
            raise bad_request(f"after: {error}") from error
        if since.generation == at.generation and since.position <= at.position:
            after = since.place.after
    return (
        LatestAsked(
            kinds=_named(asked, "kind"),
            profiles=_named(asked, "profile"),
            tags=_named(asked, "tag"),
            nodes=_named(asked, "node"),
            points=_named(asked, "point"),
            grades=grades,
            box=area_params.box(asked.one("box")),
            alarm=None if alarm is None else alarm == "1",
            after=after,
            decided=decided == "1",
            levels=levels,
        ),
        after is None,
    )


def _named(asked: Asked, name: str) -> frozenset[str]:
    given = asked.request.query_params.getlist(name)
    if len(given) > MAX_NAMED:
        raise bad_request(f"{name} is given {len(given)} times; at most {MAX_NAMED}")
    return frozenset(given)
