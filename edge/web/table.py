"""Table: one row a route of the node's own HTTP, from which it is served and `GET /openapi.json` is made.

A row stands beside its handler, and says what it takes and every answer that it gives. What stands before all of them
(who may call, how many, how large) is added where they are described (`edge.web.openapi`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge.web.answers import JSON, NotTaken

HTML: Final = "text/html"
TEXT: Final = "text/plain"
FORM: Final = "application/x-www-form-urlencoded"
LEFT_OUT: Final = {"Left-Out": "How many more there are, where not all of them are told."}
LOCATION: Final = {"Location": "Where how far it has come is told."}

Shown = Literal["told", "page", "session", "writes", "socket"]
"""Whose a route is: told to whoever asks; a page for people; for whoever has a session; the same, and it changes
something; for technicians at the node's socket."""


class RouteParam(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter in the path or the query."""

    name: str
    what: str
    at: Literal["path", "query"] = "path"
    schema: Mapping[str, Any] = msgspec.field(default_factory=lambda: {"type": "string"})


class RouteAnswer(msgspec.Struct, frozen=True):
    """One answer: its type in JSON, or its media type where it is something else; None where it has no body."""

    what: str
    body: Any = None
    media_type: str = JSON
    headers: Mapping[str, str] = {}


class NodeRoute(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `takes` is the type of its body in JSON, or as a form where it is also taken so; None where it takes
    none."""

    method: Literal["GET", "POST", "DELETE"] = "GET"
    path: str
    name: str
    summary: str
    handler: Callable[[Request], Awaitable[Response]]
    answers: Mapping[int, RouteAnswer]
    params: tuple[RouteParam, ...] = ()
    takes: Any = None
    form: bool = False
    shown: Shown = "told"


def refusals(**told: str) -> dict[int, RouteAnswer]:
    """Answers to what is not taken, as `s404="…"`."""
    return {int(status[1:]): RouteAnswer(what, NotTaken) for status, what in told.items()}


def served(rows: Sequence[NodeRoute]) -> list[Route]:
    """The rows as they are served."""
    return [Route(r.path, r.handler, methods=[r.method], name=r.name) for r in rows]


DEVICE: Final = RouteParam(name="device", what="A device's id, as in the configuration.")
ORDER: Final = RouteParam(name="id", what="The order's id.")
LANGUAGE: Final = RouteParam(
    name="lang",
    what="The language; without it that of the browser, else English.",
    at="query",
    schema={"enum": ["en", "fr"]},
)
NO_DEVICE: Final = refusals(s404="There is no device of this name; the nearest is told.")
