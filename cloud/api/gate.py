"""Gate: what stands before each route: whose token it is, and whether that one may have more now.

A token that is known but has expired or was revoked is told so (401): whoever holds it may know. One that is not known,
or a request without any, counts as a failure of its address (`cloud.entrance.failures`), and beyond that bound is
answered 429. Where a route lets it, a ticket that we have made stands for the token that it was made with.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import Request

from cloud.entrance.addresses import UNKNOWN
from cloud.entrance.connection import Connection
from cloud.entrance.failures import Failures
from cloud.entrance.shares import Shares
from cloud.entrance.tickets import Spent, Tickets
from cloud.metrics import Metrics
from cloud.problem import Problem, too_many
from cloud.records.tokens import Grant, Role, Tokens
from cloud.times import text
from wire.time import Utc

REALM: Final = {"WWW-Authenticate": 'Bearer realm="lamplighter"'}


class Gate:
    """Of one application. On the event loop."""

    def __init__(self, tokens: Tokens, tickets: Tickets, shares: Shares, failures: Failures, metrics: Metrics) -> None:
        self._tokens = tokens
        self._tickets = tickets
        self._shares = shares
        self._failures = failures
        self._metrics = metrics
        self.spoke: dict[str, str] = {}  # node to the id of the token that it came with last; as many as have tokens

    def grant(self, request: Request, roles: frozenset[Role], *, ticketed: bool = False) -> Grant:
        """What the request's token allows, or its ticket's where one will do.

        Raises:
            Problem: nothing, or not this.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        ticket = request.query_params.get("ticket", "") if ticketed and not scheme else ""
        found = self._of_ticket(ticket) if ticket else self._of_token(scheme, token)
        connection = connection_of(request)
        if found is None:
            raise self._unknown(request, connection, bool(token or ticket), ticket)
        if found.revoked_us is not None:
            self._metrics.denied("revoked")
            raise _unauthorized(f"the token {found.id} was revoked at {text(found.revoked_us)}")
        if not self._tokens.valid(found):
            self._metrics.denied("expired")
            until_us = found.until_us or Utc(0)
            raise _unauthorized(f"the token {found.id} has expired at {text(until_us)}; ask for a new one")
        if connection is not None:
            connection.known(found)
        if found.role not in roles:
            self._metrics.denied("role")
            raise Problem(403, "forbidden", f"the role {found.role} may not do this; {', '.join(sorted(roles))} may")
        if found.node is not None:
            self.spoke[found.node] = found.id
        return found

    @asynccontextmanager
    async def through(self, request: Request, grant: Grant) -> AsyncGenerator[None]:
        """Let a request that does not last have its share.

        Raises:
            Problem: it has that already.
        """
        with self._shares.request(grant):
            if grant.role == "node" or request.method in {"POST", "PUT", "DELETE"}:
                yield
                return
            async with self._shares.question(grant):
                yield

    def _of_token(self, scheme: str, token: str) -> Grant | None:
        return self._tokens.look(token.strip()) if scheme.lower() == "bearer" else None

    def _of_ticket(self, ticket: str) -> Grant | None:
        try:
            token_id = self._tickets.use(ticket)
        except Spent as spent:  # no failure of the address: a browser comes again with the address that it has
            self._metrics.denied("ticket")
            raise _unauthorized(str(spent)) from spent
        return None if token_id is None else self._tokens.of_id(token_id)

    def _unknown(self, request: Request, connection: Connection | None, given: bool, ticket: str) -> Problem:
        self._metrics.denied("unknown" if given else "missing")
        forwarded = request.headers.get("x-forwarded-for", "")
        wait_s = self._failures.failed(UNKNOWN if connection is None else connection.client_of(forwarded))
        if wait_s:
            retry_s = math.ceil(wait_s)
            return too_many(f"too many requests without a valid token from this address; again in {retry_s} s", retry_s)
        how = "send Authorization: Bearer with a token of this store"
        return _unauthorized(f"that is no ticket of this aggregator: {how}, or ask for another" if ticket else how)


def connection_of(request: Request) -> Connection | None:
    """What the request came on; None where it came on none of ours, as in tests without a socket."""
    return request.scope.get("state", {}).get("connection")


def _unauthorized(detail: str) -> Problem:
    return Problem(401, "unauthorized", detail, headers=REALM)
