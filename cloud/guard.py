"""Guard: the outermost layer. Bounds how many requests are in hand, and turns every fault of ours into a problem.

Bounds: MAX_REQUESTS at a time besides feeds and downlinks, which have bounds of their own; more are answered 503 at
once.
A fault is logged here and nowhere else, with its traceback; the one who asked learns only that it was ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.metrics import Metrics
from cloud.problem import Problem, plain_problem, unavailable
from cloud.routes import LOG

MAX_REQUESTS: Final = 2_048


class Guard:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, metrics: Metrics, lasting: Callable[[str], bool]) -> None:
        """`lasting` says of a path that its answers last, and are bounded where they are made."""
        self._app = app
        self._metrics = metrics
        self._lasting = lasting
        self._in_hand = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served here")
        if self._lasting(scope["path"]):
            await self._guarded(scope, receive, send)
            return
        if self._in_hand >= MAX_REQUESTS:
            await unavailable(f"{self._in_hand} requests are in hand").response()(scope, receive, send)
            return
        self._in_hand += 1
        try:
            await self._guarded(scope, receive, send)
        finally:
            self._in_hand -= 1

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = ended = False

        async def watched(message: Message) -> None:
            nonlocal begun, ended
            begun = True
            await send(message)
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            LOG.exception("%s %s failed", scope["method"], scope["path"])
            self._metrics.fault()
            if ended:  # Starlette has answered with `fault_problem`, and raised all the same
                return
            if begun:  # so that the connection is closed: half an answer is none
                raise
            await _fault().response()(scope, receive, send)


def _fault() -> Problem:
    return Problem(500, "internal", "a fault of ours; it has been logged")


async def fault_problem(_request: Request, _error: Exception) -> Response:
    """What nobody has expected."""
    return _fault().response()


async def http_problem(_request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: unknown paths, wrong methods."""
    assert isinstance(error, HTTPException)
    response = plain_problem(error.status_code, "" if error.status_code == 404 else error.detail).response()
    response.headers.update(error.headers or {})
    return response
