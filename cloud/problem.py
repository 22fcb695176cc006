"""Problem: an error as the one who asked reads it (RFC 9457, application/problem+json).

`type` is a URN that a program can tell apart, `detail` says in words what to do. Every answer of 400 and above is
one, also those for unknown paths and for our own faults, but for two: the 409 to a batch, which is an ack, and what
uvicorn says before a request reaches us (400 to bytes that are no HTTP, 503 beyond its connections), which is text.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.responses import Response

MEDIA_TYPE: Final = "application/problem+json"


class ProblemBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every error says. `accepts` names versions that are spoken here, where that was the trouble."""

    type: str
    title: str
    status: int
    detail: str = ""
    accepts: tuple[int, ...] = ()


class Problem(Exception):
    """Raised where it is decided; the route answers with it."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        accepts: tuple[int, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`kind` becomes the last part of the URN."""
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.accepts = accepts
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The answer."""
        body = ProblemBody(
            type=f"urn:lamplighter:problem:{self.kind}",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail[:2_000],
            accepts=self.accepts,
        )
        content = msgspec.json.encode(body)
        return Response(content, self.status, {**self.headers, "Cache-Control": "no-store"}, MEDIA_TYPE)


def bad_request(detail: str) -> Problem:
    """The query is not one that can be answered."""
    return Problem(400, "bad-request", detail)


def not_found(detail: str) -> Problem:
    """There is no such thing."""
    return Problem(404, "not-found", detail)


def unavailable(detail: str, retry_after_s: int = 5) -> Problem:
    """Not now."""
    return Problem(503, "unavailable", detail, headers={"Retry-After": str(retry_after_s)})


def plain_problem(status: int, detail: Any = "") -> Problem:
    """A problem for a status that something else has decided."""
    kind = HTTPStatus(status).phrase.lower().replace(" ", "-")
    return Problem(status, kind, str(detail))
