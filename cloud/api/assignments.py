"""Assignments over HTTP: how operators see and make them (`cloud.records.claims`)."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.responses import Response

from cloud.api import json_body
from cloud.api.routes import JSON, ORDERERS, READERS, Answer, Asked, Param, Route, json_response, problem_answers
from cloud.records.claims import Assignment, AssignmentsPage, Claims
from cloud.times import Now

_COUNT: Final[dict[str, object]] = {"type": "integer", "minimum": 1, "maximum": 1_000}
Id = Annotated[str, Meta(min_length=1, max_length=200)]


class AssignmentGiven(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Let a device belong to a node; to whoever holds it by itself where node is null."""

    device: Id
    node: Id | None


class Assignments:
    """How operators see and make assignments."""

    def __init__(self, claims: Claims, door: json_body.BodiesInHand, now: Now) -> None:
        self._claims = claims
        self._door = door
        self._now = now

    def routes(self) -> list[Route]:
        """The rows of the table."""
        return [
            Route(
                method="POST",
                path="/v1/assignments",
                name="assign",
                summary="Let a device belong to a node, whoever else names it; with node null, take that back.",
                roles=ORDERERS,
                handler=self._assign,
                bodies=(JSON,),
                takes=AssignmentGiven,
                answers={
                    200: Answer(what="Done, and told in the feed.", body=Assignment),
                    **problem_answers(
                        s404="No such node or assignment.",
                        s408="Too slow.",
                        s413="Too large.",
                        s415="No JSON.",
                        s422="There are too many.",
                    ),
                },
            ),
            Route(
                method="GET",
                path="/v1/assignments",
                name="assignments",
                summary="The devices that operators have assigned, with who did it and when.",
                roles=READERS,
                handler=self._page,
                params=(
                    Param(name="limit", what="How many at most; 100 when not given.", schema=_COUNT),
                    Param(name="cursor", what="`next` of the page before."),
                ),
                answers={200: Answer(what="A page, by device.", body=AssignmentsPage)},
            ),
        ]

    async def _assign(self, asked: Asked) -> Response:
        with self._door.open(asked.token):
            wanted = json_body.read(await json_body.body_of(asked.request), AssignmentGiven)
            return json_response(await self._claims.assign(wanted.device, wanted.node, asked.by, self._now()))

    async def _page(self, asked: Asked) -> Response:
        return json_response(await self._claims.page(asked.one("cursor") or "", asked.number("limit", 100, 1, 1_000)))
