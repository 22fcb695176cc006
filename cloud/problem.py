"""Problem: an error as the one who asked reads it (RFC 9457, application/problem+json).

`type` is a URN that a program can tell apart, `detail` says in words what to do. Every answer of 400 and above is
one, also those for unknown paths, for our own faults and for bytes that are no HTTP, but for the 409 to a batch, which
is an ack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeVar

import msgspec
from starlette.responses import Response

MEDIA_TYPE: Final = "application/problem+json"
MAX_PROBLEMS: Final = 100

T = TypeVar("T")


class ProblemBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every error says. `accepts` names versions that are spoken here, where that was the trouble; `problems`
    are all that is wrong, where it is more than one thing: the first 100.
    """

    type: str
    title: str
    status: int
    detail: str = ""
    accepts: tuple[int, ...] = ()
    problems: tuple[str, ...] = ()


class Problem(Exception):
    """Raised where it is decided; the route answers with it."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        accepts: tuple[int, ...] = (),
        headers: Mapping[str, str] | None = None,
        problems: Sequence[str] = (),
    ) -> None:
        """`kind` becomes the last part of the URN."""
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.accepts = accepts
        self.headers = dict(headers or {})
        self.problems = tuple(problems)

    def content(self) -> bytes:
        """The answer's body."""
        body = ProblemBody(
            type=f"urn:lamplighter:problem:{self.kind}",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail[:2_000],
            accepts=self.accepts,
            problems=self.problems[:MAX_PROBLEMS],
        )
        return msgspec.json.encode(body)

    def response(self) -> Response:
        """The answer."""
        return Response(self.content(), self.status, {**self.headers, "Cache-Control": "no-store"}, MEDIA_TYPE)


def or_raise(found: T | Problem) -> T:
    """What was found. In a transaction a Problem is returned: what is raised there undoes those that share it.

    Raises:
        Problem: that is what was found.
    """
    if isinstance(found, Problem):
        raise found
    return found


def bad_request(detail: str) -> Problem:
    """The query is not one that can be answered."""
    return Problem(400, "bad-request", detail)


def not_found(detail: str) -> Problem:
    """There is no such thing."""
    return Problem(404, "not-found", detail)


def wrong(status: int, kind: str, problems: Sequence[str]) -> Problem:
    """All that is wrong with what was sent, in one answer."""
    more = f"; and {len(problems) - 5} more, see problems" if len(problems) > 5 else ""
    return Problem(status, kind, "; ".join(problems[:5]) + more, problems=problems)


def unavailable(detail: str, retry_after_s: int = 5) -> Problem:
    """Not now."""
    return Problem(503, "unavailable", detail, headers={"Retry-After": str(retry_after_s)})


def too_many(detail: str, retry_after_s: int = 1) -> Problem:
    """The one who asks has too much in hand, or asks too often; `detail` names the bound."""
    return Problem(429, "too-many", detail, headers={"Retry-After": str(retry_after_s)})


def plain_problem(status: int, detail: Any = "") -> Problem:
    """A problem for a status that something else has decided."""
    kind = HTTPStatus(status).phrase.lower().replace(" ", "-")
    return Problem(status, kind, str(detail))
