"""Areas and groups over HTTP: how operators keep them under a name, and what held when (`cloud.records.areas`). That is
also asked of processes that only read.

Bounds: a body as in `cloud.api.json_body`, an area's vertices as in `cloud.views.shapes`; a page has MAX_PAGE.
"""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta
from starlette.responses import Response

from cloud.api import json_body
from cloud.api.area_pages import AreaFound, AreasPage, GroupFound, GroupsPage, area_seen, group_seen, versions_seen
from cloud.api.routes import JSON, ORDERERS, READERS, Answer, Asked, Param, Route, json_response, problem_answers
from cloud.problem import Problem, bad_request, not_found, wrong
from cloud.records.area_versions import ANY, MAX_MEMBERS, Content, GroupSelector, Kind, Version, Wanted
from cloud.records.areas import AreaStore, ReadAreas
from cloud.times import Now, parse
from cloud.views.contract import MAX_PAGE
from cloud.views.shapes import NoShape, geometry_of
from groundwork.nearest import did_you_mean, nearest
from groundwork.plain_names import why_not_plain
from wire.entries import Name, Text
from wire.time import Utc

PAGE: Final = 100
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_AT: Final = Param(name="at", what="As it was then (RFC 3339 or UTC microseconds); now when not given.")
_LIMIT: Final = Param(
    name="limit",
    what=f"How many at most; {PAGE} when not given.",
    schema={"type": "integer", "minimum": 1, "maximum": MAX_PAGE},
)
_CURSOR: Final = Param(name="cursor", what="`next` of the page before.")
_MATCH: Final = Param(name="If-Match", at="header", what="The ETag that was seen; needed where there is one already.")
_ID_PARAM: Final = Param(name="id", at="path", what="Letters, digits, . _ and -; up to 100.")
_WHOLE: Final = "What holds, and all versions. The ETag is the newest revision."
_NONE: Final = Param(name="If-None-Match", at="header", what="*: only where there is none yet.")
_GIVEN: Final = problem_answers(
    s404="There is none.",
    s408="Too slow.",
    s412="Somebody else has changed it since: read it again.",
    s413="Too large.",
    s415="No JSON.",
    s422="It cannot be, `problems` says why: no area, a version in the past, or there are too many.",
    s428="There is one already: send `If-Match`.",
)


class AreaPut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An area from `valid_from` (now when not given) to `valid_to`: a GeoJSON Polygon or MultiPolygon, WGS 84."""

    name: Name = ""
    note: Text = ""
    geometry: dict[str, Any]
    valid_from: str | int | None = None
    valid_to: str | int | None = None


class GroupPut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group from `valid_from` (now when not given) to `valid_to`: one of a list of ids and a selector."""

    name: Name = ""
    note: Text = ""
    devices: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=MAX_MEMBERS)] | None = None
    selector: GroupSelector | None = None
    valid_from: str | int | None = None
    valid_to: str | int | None = None


class AreaQuestions:
    """The routes that only read."""

    def __init__(self, areas: ReadAreas, now: Now) -> None:
        self._areas, self._now = areas, now

    def routes(self) -> list[Route]:
        """The rows of the table."""
        return [
            self._list(
                "area",
                path="/v1/areas",
                body=AreasPage,
            ),
            self._list(
                "group",
                path="/v1/groups",
                body=GroupsPage,
            ),
            self._one(
                "area",
                path="/v1/areas/{id}",
                body=AreaFound,
            ),
            self._one(
                "group",
                path="/v1/groups/{id}",
                body=GroupFound,
            ),
        ]

    def _list(self, kind: Kind, path: str, body: type[msgspec.Struct]) -> Route:
        return Route(
            method="GET",
            path=path,
            name=f"{kind}s",
            summary=f"The {kind}s that hold now, or held then.",
            roles=READERS,
            handler=lambda asked: self._page(asked, kind),
            params=(_AT, _LIMIT, _CURSOR),
            answers={200: Answer(what="A page, by id.", body=body)},
        )

    def _one(self, kind: Kind, path: str, body: type[msgspec.Struct]) -> Route:
        return Route(
            method="GET",
            path=path,
            name=kind,
            summary=f"The {kind} as it is now or was then, with all its versions.",
            roles=READERS,
            handler=lambda asked: self._found(asked, kind),
            params=(_ID_PARAM, _AT),
            answers={200: Answer(what=_WHOLE, body=body), **problem_answers(s404="There never was one.")},
        )

    async def _page(self, asked: Asked, kind: Kind) -> Response:
        limit = asked.number("limit", PAGE, 1, MAX_PAGE)
        at_us = self._now() if (given := asked.one("at")) is None else _time("at", given)
        found, after = await self._areas.page(kind, asked.one("cursor") or "", limit, at_us)
        if kind == "area":
            seen = await asyncio.to_thread(lambda: tuple(area_seen(v, whole=False) for v in found))
            return json_response(AreasPage(areas=seen, next=after))
        return json_response(GroupsPage(groups=tuple(group_seen(v, whole=False) for v in found), next=after))

    async def _found(self, asked: Asked, kind: Kind) -> Response:
        at_us = self._now() if (given := asked.one("at")) is None else _time("at", given)
        return await _shown(self._areas, kind, asked.path("id"), at_us)


class Areas:
    """The routes that change what there is."""

    def __init__(self, store: AreaStore, door: json_body.BodiesInHand, now: Now) -> None:
        self._store, self._door, self._now = store, door, now

    def routes(self) -> list[Route]:
        """The rows of the table."""
        return [
            *self._of(
                "area",
                path="/v1/areas/{id}",
                body=AreaFound,
                takes=AreaPut,
            ),
            *self._of(
                "group",
                path="/v1/groups/{id}",
                body=GroupFound,
                takes=GroupPut,
            ),
        ]

    def _of(self, kind: Kind, path: str, body: type[msgspec.Struct], takes: type[AreaPut | GroupPut]) -> list[Route]:
        found = Answer(what=_WHOLE, body=body)
        return [
            Route(
                method="PUT",
                path=path,
                name=f"put_{kind}",
                summary=f"A new version of the {kind}, from now or a later moment on.",
                roles=ORDERERS,
                handler=lambda asked: self._put(asked, kind, takes),
                params=(_ID_PARAM, _MATCH, _NONE),
                bodies=(JSON,),
                takes=takes,
                answers={200: found, 201: Answer(what="The first version.", body=body), **_GIVEN},
            ),
            Route(
                method="DELETE",
                path=path,
                name=f"end_{kind}",
                summary=f"End the {kind}, now or at a later moment; its past stays.",
                roles=ORDERERS,
                handler=lambda asked: self._end(asked, kind),
                params=(_ID_PARAM, _MATCH, Param(name="valid_to", what="When it ends; now when not given.")),
                answers={200: found, **_GIVEN},
            ),
        ]

    async def _put(self, asked: Asked, kind: Kind, takes: type[AreaPut | GroupPut]) -> Response:
        name = _name(asked)
        with self._door.open(asked.token):
            given = json_body.read(await json_body.body_of(asked.request), takes)
            wanted = self._wanted(asked, given.valid_from, given.valid_to)
            content = await asyncio.to_thread(_content, given)
            made = await self._store.put(kind, name, content, wanted, asked.by)
        return await self._made(kind, name, made)

    async def _end(self, asked: Asked, kind: Kind) -> Response:
        name = _name(asked)
        made = await self._store.put(kind, name, None, self._wanted(asked, asked.one("valid_to"), None), asked.by)
        return await self._made(kind, name, made)

    async def _made(self, kind: Kind, name: str, made: Version) -> Response:
        """What there is from the beginning of the new version on."""
        return await _shown(self._store, kind, name, made.from_us, 201 if made.revision == 1 else 200)

    def _wanted(self, asked: Asked, begins: str | int | None, ends: str | int | None) -> Wanted:
        return Wanted(
            from_us=None if begins is None else _time("valid_from", begins),
            to_us=None if ends is None else _time("valid_to", ends),
            now_us=self._now(),
            seen=_seen(asked),
        )


async def _shown(areas: ReadAreas, kind: Kind, name: str, at_us: Utc, status: int = 200) -> Response:
    """What held at a moment, and all versions."""
    held = await areas.versions(kind, name)
    if not held:
        near = await asyncio.to_thread(nearest, name[:200], await areas.names(kind))
        raise not_found(f"there is no {kind} {name[:100]!r}{did_you_mean(near)}")
    version = await areas.at(kind, name, at_us)
    common: dict[str, Any] = {"id": name, "revision": held[-1].revision, "versions": versions_seen(held)}
    found: AreaFound | GroupFound
    if kind == "area":
        area = None if version is None else await asyncio.to_thread(area_seen, version, whole=True)
        found = AreaFound(**common, area=area)
    else:
        found = GroupFound(**common, group=None if version is None else group_seen(version, whole=True))
    response = json_response(found, status)
    response.headers["ETag"] = f'"{held[-1].revision}"'
    return response


def _name(asked: Asked) -> str:
    name = asked.path("id")
    if not _ID.fullmatch(name):
        raise bad_request(f"the id is {name[:100]!r}; it has letters, digits, . _ and -, at most 100, a letter first")
    return name


def _time(what: str, given: str | int) -> Utc:
    try:
        return parse(str(given))
    except ValueError as error:
        raise bad_request(f"{what}: {error}") from error


def _seen(asked: Asked) -> int | Literal["*"] | None:
    headers = asked.request.headers
    if (fresh := headers.get("if-none-match")) is not None:
        if fresh.strip() != ANY or "if-match" in headers:
            raise bad_request("If-None-Match is *, and If-Match is not there then")
        return 0
    if (given := headers.get("if-match")) is None:
        return None
    tag = given.strip().removeprefix('"').removesuffix('"')
    if tag == ANY:
        return ANY
    if not (tag.isascii() and tag.isdecimal() and len(tag) < 10):
        raise Problem(412, "precondition-failed", f"If-Match is {given[:50]!r}; it is the ETag of an answer, or *")
    return int(tag)


def _content(given: AreaPut | GroupPut) -> Content:
    """What a version says; raises Problem."""
    problems = [f"name: {why}" for why in [why_not_plain(given.name)] if why]
    if isinstance(given, AreaPut):
        geometry = b""
        try:
            geometry = geometry_of(given.geometry).json()
        except NoShape as error:
            problems += [f"geometry: {problem}" for problem in error.problems]
        content = Content(label=given.name, note=given.note, geometry=msgspec.Raw(geometry))
    else:
        selector = given.selector
        if (given.devices is None) == (selector is None):
            problems.append("write one of devices and selector")
        if selector == GroupSelector():
            problems.append("selector: say at least one of kind, profile, tag and node")
        devices = None if given.devices is None else tuple(dict.fromkeys(given.devices))
        content = Content(label=given.name, note=given.note, devices=devices, selector=selector)
    if problems:
        raise wrong(422, "not-possible", problems)
    return content
