"""Technicians over HTTP: one-time codes for them (`cloud.records.codes`), and what nodes have said of their visits.

A code follows from one of its node's tokens: from the one that the node spoke with last, where it has spoken since this
start, else from its newest; a request may name another. It is worked out for the answer and kept nowhere. Whoever asks
for more than a node would take (`wire.codes` AHEAD beyond the highest that it told was used) is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.responses import Response

from cloud.api import json_body
from cloud.api.idempotency import keyed
from cloud.api.routes import (
    JSON,
    ORDERERS,
    READERS,
    Answer,
    Asked,
    Param,
    Route,
    json_response,
    problem_answers,
)
from cloud.problem import Problem, bad_request, not_found
from cloud.records.codes import MAX_PAGE, CodeGiven, CodeStore
from cloud.records.keys import HEADER
from cloud.records.tokens import Grant, Tokens
from cloud.times import Now
from cloud.views.answers import VisitSeen
from cloud.views.contract import Views
from cloud.views.reports import visit_seen
from cloud.views.visits import NEWEST, highest_code
from groundwork.nearest import did_you_mean, nearest
from wire.codes import AHEAD, MAX_NAME_CHARS, code, node_secret, person_secret, spelled

PAGE: Final = 100
_LIMIT: Final = Param(
    name="limit",
    what=f"How many at most; {PAGE} when not given.",
    schema={"type": "integer", "minimum": 1, "maximum": MAX_PAGE},
)
_CURSOR: Final = Param(name="cursor", what="`next` of the page before.")
_NODE: Final = Param(name="node", at="path", what="The node.")
_END: Final = 2**62


class CodeWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A code for a technician. `token` is the id of the node's token to make it from, where it has several."""

    for_: Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)] = msgspec.field(name="for")
    token: Annotated[str, Meta(max_length=100)] | None = None


class CodeMade(CodeGiven, frozen=True, kw_only=True):
    """The code, and all that is kept of it."""

    code: str


class CodesPage(msgspec.Struct, frozen=True, kw_only=True):
    """Codes that were given out, the newest first."""

    codes: tuple[CodeGiven, ...]
    next: str | None


class VisitsPage(msgspec.Struct, frozen=True, kw_only=True):
    """What a node has said of visits, the newest first."""

    visits: tuple[VisitSeen, ...]
    next: str | None


class Codes:
    """The routes."""

    def __init__(
        self,
        store: CodeStore,
        views: Views,
        tokens: Tokens,
        spoke: Mapping[str, str],
        door: json_body.BodiesInHand,
        now: Now,
    ) -> None:
        """`spoke` says with which token each node has spoken last."""
        self._store, self._views, self._tokens, self._spoke = store, views, tokens, spoke
        self._door, self._now = door, now

    def routes(self) -> list[Route]:
        """The rows of the table."""
        return [
            Route(
                method="POST",
                path="/v1/nodes/{node}/codes",
                name="code",
                summary="A one-time code with which a technician may act at a node's cabinet.",
                roles=ORDERERS,
                handler=self._give,
                params=(
                    _NODE,
                    Param(name=HEADER, at="header", what="One for each thing to be done; see above.", required=True),
                ),
                bodies=(JSON,),
                takes=CodeWanted,
                answers={
                    201: Answer(what="The code. Who asked for it, and for whom, is kept and told.", body=CodeMade),
                    **problem_answers(
                        s404="No such node, or it has no such token.",
                        s408="Too slow.",
                        s413="Too large.",
                        s415="No JSON.",
                        s422="The node has no valid token, would take no more codes, or the key was used otherwise.",
                    ),
                },
            ),
            Route(
                method="GET",
                path="/v1/nodes/{node}/codes",
                name="codes",
                summary="The codes of a node: who asked for them, when, for whom. Not the codes themselves.",
                roles=READERS,
                handler=self._given,
                params=(_NODE, _LIMIT, _CURSOR),
                answers={
                    200: Answer(what="A page, the newest first.", body=CodesPage),
                    **problem_answers(s404="No such node."),
                },
            ),
            Route(
                method="GET",
                path="/v1/nodes/{node}/visits",
                name="visits",
                summary="What technicians did at a node's cabinet.",
                roles=READERS,
                handler=self._visits,
                params=(_NODE, _LIMIT, _CURSOR),
                answers={
                    200: Answer(what="A page, the newest first.", body=VisitsPage),
                    **problem_answers(s404="No such node."),
                },
            ),
        ]

    async def _give(self, asked: Asked) -> Response:
        node = asked.path("node")
        with self._door.open(asked.token):
            body = await json_body.body_of(asked.request)
            key = keyed(asked, body)
            wanted = json_body.read(body, CodeWanted)
            name = " ".join(wanted.for_.split())
            try:
                spelled(name)
            except ValueError as error:
                raise bad_request(f"for: {error}") from error
            given = await self._store.answered(key)
            if given is None:
                token = await self._token(node, wanted.token)
                used = await self._room(node, token)
                given = await self._store.give(node, token.id, name, asked.by, self._now(), key, used)
            return await self._shown(given)

    async def _token(self, node: str, wanted: str | None) -> Grant:
        held = [grant for grant, _ in self._tokens.of_node(node)]
        valid = [g for g in held if self._tokens.valid(g)]
        if not held:
            raise await self._no_node(node)
        if wanted is not None:
            found = next((g for g in valid if g.id == wanted), None)
            if found is None:
                raise not_found(f"node {node} has no valid token {wanted[:50]!r}")
            return found
        if not valid:
            raise Problem(422, "not-possible", f"no token of node {node} is valid: make one, and write it on the node")
        return next((g for g in valid if g.id == self._spoke.get(node)), valid[0])

    async def _no_node(self, node: str) -> Problem:
        return not_found(f"node {node[:100]!r} has never had a token{await self._meant(node)}")

    async def _meant(self, node: str) -> str:
        return did_you_mean(await asyncio.to_thread(nearest, node, await self._views.names()))

    async def _room(self, node: str, token: Grant) -> int:
        """The highest counter that is known to be used; raises Problem where the node would take no more."""
        said = [at.visit for at in await self._views.visits(node, NEWEST, MAX_PAGE, acted=False)]
        used = highest_code(said, token.created_us, await self._views.fixes(node))
        if await self._store.highest(token.id) >= used + AHEAD:
            raise Problem(
                422,
                "not-possible",
                f"{AHEAD} codes of {node} were given out since it last told that one was used, and it takes no more:"
                " let it connect, or make it a new token",
            )
        return used

    async def _shown(self, given: CodeGiven) -> Response:
        digest = next((d for grant, d in self._tokens.of_node(given.node) if grant.id == given.token), None)
        if digest is None:
            raise Problem(422, "not-possible", f"the token {given.token} of {given.node} is no more")
        made = await asyncio.to_thread(code, person_secret(node_secret(digest), given.for_), given.counter)
        fields = {field: getattr(given, field) for field in given.__struct_fields__}
        return json_response(CodeMade(code=made, **fields), 201)

    async def _given(self, asked: Asked) -> Response:
        limit, before = asked.number("limit", PAGE, 1, MAX_PAGE), asked.number("cursor", _END, 0, _END)
        rows = await self._store.given(asked.path("node"), before, limit + 1)
        page = rows[:limit]
        if not rows and not self._tokens.of_node(asked.path("node")):
            raise await self._no_node(asked.path("node"))
        return json_response(
            CodesPage(codes=tuple(g for _, g in page), next=str(page[-1][0]) if len(rows) > limit else None)
        )

    async def _visits(self, asked: Asked) -> Response:
        node, limit = asked.path("node"), asked.number("limit", PAGE, 1, MAX_PAGE)
        before = _place(asked.one("cursor"))
        if node not in await self._views.names():
            raise not_found(f"no node {node[:100]!r} was ever heard{await self._meant(node)}")
        fixes = await self._views.fixes(node)
        rows = await self._views.visits(node, before, limit + 1)
        page = rows[:limit]
        return json_response(
            VisitsPage(
                visits=tuple(visit_seen(node, at.visit, fixes) for at in page),
                next=f"{page[-1].position}.{page[-1].seq}" if len(rows) > limit else None,
            )
        )


def _place(cursor: str | None) -> tuple[int, int]:
    """Raises Problem."""
    if cursor is None:
        return NEWEST
    numbers = cursor.split(".")
    if len(numbers) != 2 or not all(n.isascii() and n.isdecimal() and len(n) <= 19 for n in numbers):
        raise bad_request("cursor is none of ours")
    position, seq = map(int, numbers)
    if max(position, seq) > NEWEST[0]:
        raise bad_request("cursor is none of ours")
    return position, seq
