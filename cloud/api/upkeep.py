"""Upkeep: the routes for those who run the aggregator.

/healthz says that the process answers, /readyz that the store does; both are open and say nothing else. /metrics
and /openapi.json need a token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

import msgspec
from starlette.responses import Response

from cloud.api.routes import ANYONE, JSON, READERS, Answer, Asked, Route, json_response
from cloud.metrics import Metrics

METRICS_TYPE: Final = "text/plain"


class Fine(msgspec.Struct, frozen=True, kw_only=True):
    """All is well."""

    status: str = "ok"


class Upkeep:
    """The routes of operations."""

    def __init__(
        self, metrics: Metrics, ready: Callable[[], Coroutine[None, None, None]], description: Callable[[], bytes]
    ) -> None:
        """`ready` raises Unavailable when the store does not answer; `description` is the OpenAPI document."""
        self._metrics = metrics
        self._ready = ready
        self._looking: asyncio.Future[None] | None = None
        self._description = description

    def routes(self) -> list[Route]:
        """The rows of the table."""
        fine = {200: Answer(what="Yes.", body=Fine)}
        return [
            Route(
                method="GET",
                path="/healthz",
                name="healthz",
                summary="Does the process answer?",
                roles=None,
                handler=self._healthz,
                answers=fine,
            ),
            Route(
                method="GET",
                path="/readyz",
                name="readyz",
                summary="Does the store answer?",
                roles=None,
                handler=self._readyz,
                answers=fine,
            ),
            Route(
                method="GET",
                path="/metrics",
                name="metrics",
                summary="Counters in the Prometheus text format.",
                roles=READERS,
                handler=self._counters,
                answers={200: Answer(what="The counters.", media_type=METRICS_TYPE)},
            ),
            Route(
                method="GET",
                path="/openapi.json",
                name="openapi",
                summary="This description.",
                roles=ANYONE,
                handler=self._openapi,
                answers={200: Answer(what="OpenAPI 3.1.", body=dict)},
            ),
        ]

    async def _healthz(self, _asked: Asked) -> Response:
        return json_response(Fine())

    async def _readyz(self, _asked: Asked) -> Response:
        # One look for all who ask meanwhile: anybody may, and each takes one of the store's few readers.
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._ready())
            self._looking.add_done_callback(lambda done: done.cancelled() or done.exception())  # whoever still waits
        await asyncio.shield(self._looking)
        return json_response(Fine())

    async def _counters(self, _asked: Asked) -> Response:
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")

    async def _openapi(self, _asked: Asked) -> Response:
        return Response(self._description(), media_type=JSON)
