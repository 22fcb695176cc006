"""Guard: the outermost layer. Turns every fault of ours into a problem.

How many requests are in hand is bounded where their token is known (`cloud.entrance.shares`), and before that by the
connections of strangers (`cloud.entrance.door`). A fault is logged here and nowhere else, with its traceback; the one
who asked learns only that it was ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.api.routes import LOG, Route
from cloud.metrics import Metrics
from cloud.problem import Problem, plain_problem
from groundwork.nearest import near

MAX_SHOWN: Final = 200  # characters of a path that is wrong


class Guard:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served here")
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


def http_problem(table: Sequence[Route]) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What Starlette itself refuses, with words of ours: unknown paths, and methods that a path does not have."""
    paths = sorted({route.template for route in table})

    async def told(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path, detail, headers = request.url.path, error.detail, dict(error.headers or {})
        if error.status_code == 404:
            meant = near(path[:MAX_SHOWN], paths)
            hint = f"did you mean {meant}? " if meant else ""
            detail = f"there is no path {path[:MAX_SHOWN]!r}; {hint}all paths are in /openapi.json"
        elif error.status_code == 405:
            # Starlette looks at the first route of a path alone; a path may be read with GET and written with POST.
            methods = sorted({route.method for route in table if compile_path(route.path)[0].match(path)})
            detail = f"{path[:MAX_SHOWN]!r} takes {' and '.join(methods)}, not {request.method[:MAX_SHOWN]}"
            headers["Allow"] = ", ".join([*methods, "HEAD"] if "GET" in methods else methods)
        response = plain_problem(error.status_code, detail).response()
        response.headers.update(headers)
        return response

    return told
