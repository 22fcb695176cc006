"""Route: one row of the table from which both the server and /openapi.json are made.

A route says who may use it, what it takes and every answer it gives. `serve` puts the same door before each: the
token is looked at first, then the parameters, then the handler runs; errors leave as problem+json.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from cloud.api.gate import Gate
from cloud.log.contract import Unavailable
from cloud.problem import MEDIA_TYPE, Problem, ProblemBody, bad_request, unavailable
from cloud.records.tokens import Grant, Role
from groundwork.nearest import near
from wire.errors import Malformed, TooLarge, Unsupported

LOG: Final = logging.getLogger("lamplighter.cloud")

JSON: Final = "application/json"

READERS: Final[frozenset[Role]] = frozenset({"reader", "operator", "admin"})
NODES: Final[frozenset[Role]] = frozenset({"node"})
ORDERERS: Final[frozenset[Role]] = frozenset({"operator", "admin"})
ADMINS: Final[frozenset[Role]] = frozenset({"admin"})
ANYONE: Final[frozenset[Role]] = frozenset({"node", "reader", "operator", "admin"})


class Param(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter in the path, the query or a header."""

    name: str
    at: Literal["path", "query", "header"] = "query"
    what: str
    schema: Mapping[str, Any] = msgspec.field(default_factory=lambda: {"type": "string"})
    many: bool = False
    required: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer: its type in JSON, or its media type where it is something else."""

    what: str
    body: Any = None
    media_type: str = JSON


class Asked(msgspec.Struct, frozen=True):
    """A request whose token has been accepted. `grant` is None where no token is needed."""

    request: Request
    grant: Grant | None

    @property
    def by(self) -> str:
        """Who asks, as orders say it: the token's name, or its id when it has none."""
        assert self.grant is not None
        return self.grant.name[:200] or self.grant.id

    @property
    def token(self) -> str:
        """The id of the token that came with it."""
        assert self.grant is not None
        return self.grant.id

    def path(self, name: str) -> str:
        """A parameter of the path."""
        return self.request.path_params[name]

    def one(self, name: str) -> str | None:
        """A parameter of the query, present once at most.

        Raises:
            Problem: it was given twice.
        """
        given = self.request.query_params.getlist(name)
        if len(given) > 1:
            raise bad_request(f"{name} is given {len(given)} times; once is enough")
        return given[0] if given else None

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """An integer of the query, within bounds.

        Raises:
            Problem: it is none, or lies outside.
        """
        given = self.one(name)
        if given is None:
            return default
        if not (given.isascii() and given.isdecimal()) or len(given) > 20 or not low <= int(given) <= high:
            raise bad_request(f"{name} is {given!r}; it is an integer from {low} to {high}")
        return int(given)


Handler = Callable[[Asked], Awaitable[Response]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table. `roles` is None where no token is needed."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    name: str
    summary: str
    roles: frozenset[Role] | None
    handler: Handler
    answers: Mapping[int, Answer]
    params: tuple[Param, ...] = ()
    bodies: tuple[str, ...] = ()  # media types; the first is one zstd frame
    takes: type[msgspec.Struct] | None = None  # what the body is in JSON, where it is
    scoped: bool = False  # a token with a scope may use it, for what the handler lets it; every such may read
    lasting: bool = False  # its answer is a stream, bounded where it is made
    ticketed: bool = False  # a ticket will do instead of a token

    @property
    def template(self) -> str:
        """The path as OpenAPI writes it."""
        return self.path.replace(":path}", "}")

    @property
    def all_answers(self) -> dict[int, Answer]:
        """Its own answers and those of the door before it."""
        door = {503: "The store cannot answer now, or too many ask at once; try again after `Retry-After`."}
        if self.roles is not None:
            door |= {
                401: "No token, or one that is not known here, has expired or was revoked.",
                403: "The token does not allow this.",
                429: "This token has too much in hand, or too many without a valid one came from this address; `detail`"
                " names the bound. Try again after `Retry-After`.",
            }
        if self.params:
            door[400] = "A parameter is not what it should be; `detail` says which and what to write."
        problems = {s: Answer(what=w, body=ProblemBody, media_type=MEDIA_TYPE) for s, w in door.items()}
        return dict(sorted({**problems, **self.answers}.items()))


def problem_answers(**answers: str) -> dict[int, Answer]:
    """Errors of a route, as `s404="…"`."""
    return {
        int(status[1:]): Answer(what=what, body=ProblemBody, media_type=MEDIA_TYPE) for status, what in answers.items()
    }


def out_of_scope(detail: str) -> Problem:
    """The token's role may do it, its scope does not let it."""
    return Problem(403, "forbidden", detail)


OVER_QUOTA: Final = problem_answers(
    s429="The node has used up its quota of requests for now; `Retry-After` says how long."
)


def json_response(body: msgspec.Struct, status: int = 200) -> Response:
    """A struct as JSON."""
    return Response(msgspec.json.encode(body), status, {"Cache-Control": "no-store"}, JSON)


def serve(route: Route, gate: Gate) -> StarletteRoute:
    """The route as Starlette takes it."""

    async def endpoint(request: Request) -> Response:
        try:
            grant = None if route.roles is None else gate.grant(request, route.roles, ticketed=route.ticketed)
            if grant is not None and grant.scope is not None and route.method != "GET" and not route.scoped:
                raise out_of_scope("this token has a scope: it reads, orders its devices and acts on their alarms")
            _check_names(request, route)
            asked = Asked(request, grant)
            if grant is None or route.lasting:
                return await route.handler(asked)
            async with gate.through(request, grant):
                return await route.handler(asked)
        except Problem as problem:
            return problem.response()
        except Unavailable as error:
            LOG.warning("%s %s: %s", route.method, request.url.path, error)
            return unavailable(str(error)).response()
        except Unsupported as error:
            return Problem(415, "unsupported", str(error), accepts=error.accepts).response()
        except TooLarge as error:
            return Problem(413, "too-large", str(error)).response()
        except Malformed as error:
            return Problem(400, "malformed", str(error)).response()
        except ClientDisconnect:
            return Problem(400, "bad-request", "the request ended early").response()

    return StarletteRoute(route.path, endpoint, methods=[route.method], name=route.name)


def _check_names(request: Request, route: Route) -> None:
    """Refuse a parameter that there is not: `form=` for `from=` would quietly answer another question.

    Not for nodes: a newer node may say more than an older aggregator understands.
    """
    if route.roles == NODES:
        return
    names = [p.name for p in route.params if p.at == "query"]
    for given in request.query_params:
        if given not in names:
            meant = near(given, names)
            hint = f"did you mean {meant}?" if meant else f"there are: {', '.join(names) or 'none'}"
            raise bad_request(f"there is no parameter {given[:50]!r}; {hint}")
