"""Tokens over HTTP: how an admin makes, lists and revokes them (`cloud.records.tokens`).

A token is in the answer that made it and nowhere else: where that answer was lost, revoke it and make another. No token
revokes itself, so that the last admin is not locked out by a slip.
"""

from __future__ import annotations

import logging
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta
from starlette.responses import Response

from cloud.api import json_body
from cloud.api.routes import ADMINS, JSON, Answer, Asked, Param, Route, json_response, problem_answers
from cloud.problem import Problem, bad_request, not_found
from cloud.records.tokens import MAX_PAGE, NODE_NAME, Grant, Role, TokenScope, TokenStore
from cloud.times import DAY_US, Now, parse, text
from wire.entries import Name
from wire.time import Micros, Utc

LOG: Final = logging.getLogger("lamplighter.cloud")
PAGE: Final = 100
MAX_DAYS: Final = 36_500
State = Literal["valid", "expired", "revoked"]


class TokenGiven(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token to be made: with the role node for one node, else for whoever `name` says; with an end where one of days
    and until says so."""

    role: Role
    node: Name | None = None
    name: Name = ""
    days: Annotated[float, Meta(gt=0, le=MAX_DAYS)] | None = None
    until: str | int | None = None
    scope: TokenScope | None = None


class TokenSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A token without its secret. `by` and `revoked_by` are the names of the tokens that made and revoked it, empty
    where it was the command line."""

    id: str
    role: Role
    node: str | None
    name: str
    state: State
    created: str
    by: str
    until: str | None
    revoked: str | None
    revoked_by: str
    scope: TokenScope | None


class TokenMade(TokenSeen, frozen=True, kw_only=True):
    """A token as it is handed over, once."""

    token: str


class TokensPage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens by id; `next` goes into `cursor` for the page after it."""

    tokens: tuple[TokenSeen, ...]
    next: str | None


class TokenAdmin:
    """The routes."""

    def __init__(self, store: TokenStore, door: json_body.BodiesInHand, now: Now) -> None:
        self._store, self._door, self._now = store, door, now

    def routes(self) -> list[Route]:
        """The rows of the table."""
        return [
            Route(
                method="POST",
                path="/v1/tokens",
                name="make_token",
                summary="Make a token; it is shown this once.",
                roles=ADMINS,
                handler=self._make,
                bodies=(JSON,),
                takes=TokenGiven,
                answers={
                    201: Answer(what="The token.", body=TokenMade),
                    **problem_answers(
                        s408="Too slow.",
                        s413="Too large.",
                        s415="No JSON.",
                        s422="It cannot be made; `detail` says why.",
                    ),
                },
            ),
            Route(
                method="GET",
                path="/v1/tokens",
                name="tokens",
                summary="All tokens without their secrets, also those that are valid no more.",
                roles=ADMINS,
                handler=self._page,
                params=(
                    Param(
                        name="limit",
                        what=f"How many at most; {PAGE} when not given.",
                        schema={"type": "integer", "minimum": 1, "maximum": MAX_PAGE},
                    ),
                    Param(name="cursor", what="`next` of the page before."),
                ),
                answers={200: Answer(what="A page, by id.", body=TokensPage)},
            ),
            Route(
                method="DELETE",
                path="/v1/tokens/{id}",
                name="revoke_token",
                summary="Let a token be valid no more. Done again it changes nothing.",
                roles=ADMINS,
                handler=self._revoke,
                params=(Param(name="id", at="path", what="Its id."),),
                answers={
                    200: Answer(what="It is revoked: refused within a second.", body=TokenSeen),
                    **problem_answers(s404="There is none.", s422="It is the one that asks."),
                },
            ),
        ]

    async def _make(self, asked: Asked) -> Response:
        with self._door.open(asked.token):
            given = json_body.read(await json_body.body_of(asked.request), TokenGiven)
            if given.node is not None and not NODE_NAME.fullmatch(given.node):
                raise bad_request("node: 1 to 64 letters, digits, dots, dashes or underscores, no dash first")
            if given.scope == TokenScope():
                raise bad_request("scope: say at least one of areas, groups and kinds")
            end_us = self._end(given)
            token, grant = await self._store.create(given.role, given.node, given.name, asked.by, end_us, given.scope)
        LOG.warning("%s has made the token %s of the role %s", asked.by, grant.id, grant.role)
        return json_response(TokenMade(token=token, **self._fields(grant)), 201)

    async def _page(self, asked: Asked) -> Response:
        found, after = await self._store.page(asked.one("cursor") or "", asked.number("limit", PAGE, 1, MAX_PAGE))
        return json_response(TokensPage(tokens=tuple(TokenSeen(**self._fields(g)) for g in found), next=after))

    async def _revoke(self, asked: Asked) -> Response:
        name = asked.path("id")
        if name == asked.token:
            raise Problem(422, "not-possible", "a token does not revoke itself: use another, or the command line")
        grant = await self._store.revoke(name, asked.by)
        if grant is None:
            raise not_found(f"there is no token {name[:50]!r}")
        LOG.warning("%s has revoked the token %s", asked.by, grant.id)
        return json_response(TokenSeen(**self._fields(grant)))

    def _end(self, given: TokenGiven) -> Utc | None:
        if given.days is not None and given.until is not None:
            raise bad_request("write one of days and until")
        if given.days is not None:
            return self._now() + Micros(int(given.days * DAY_US))
        try:
            return None if given.until is None else parse(str(given.until))
        except ValueError as error:
            raise bad_request(f"until: {error}") from error

    def _fields(self, grant: Grant) -> dict[str, Any]:
        over = grant.until_us is not None and grant.until_us <= self._now()
        return {
            "id": grant.id,
            "role": grant.role,
            "node": grant.node,
            "name": grant.name,
            "state": "revoked" if grant.revoked_us is not None else "expired" if over else "valid",
            "created": text(grant.created_us),
            "by": grant.by,
            "until": None if grant.until_us is None else text(grant.until_us),
            "revoked": None if grant.revoked_us is None else text(grant.revoked_us),
            "revoked_by": grant.revoked_by,
            "scope": grant.scope,
        }
