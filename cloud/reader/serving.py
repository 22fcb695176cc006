"""What a reader process serves: the questions and the feed, over a store that it only reads.

The parts of `cloud.questions`, with shares and counters of its own process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from cloud.api import openapi
from cloud.api.gate import Gate
from cloud.api.guard import Guard, fault_problem, http_problem
from cloud.api.routes import READERS, Asked, Param, Route, problem_answers, serve
from cloud.api.upkeep import Upkeep
from cloud.entrance.failures import Failures
from cloud.entrance.origins import open_to
from cloud.entrance.shares import Most, Shares
from cloud.entrance.tickets import Tickets
from cloud.feed.feed import Feed
from cloud.metrics import Metrics
from cloud.problem import Problem
from cloud.questions import questions
from cloud.records.tokens import Tokens
from cloud.sqlite.followed import FollowedStore
from cloud.views.watching import Watching

ELSEWHERE: Final = (
    "only questions and the feed are answered here; orders, alarms, why and all that is written are at the aggregator's"
    " own"
    " address"
)


async def _asks_the_node(_: Asked) -> Response:
    raise Problem(421, "elsewhere", ELSEWHERE)


_WHY: Final = Route(
    method="GET",
    path="/v1/devices/{device:path}/why",
    name="why",
    summary="Not here: who has the node's downlink asks it.",
    roles=READERS,
    handler=_asks_the_node,
    params=(
        Param(name="device", at="path", what="The device's id."),
        Param(name="node", what="Only under this node."),
    ),
    answers=problem_answers(s421="It is at the aggregator's own address."),
)


class ReadApplication(msgspec.Struct, frozen=True):
    """What is served, and the feed, which must be ended before the server is."""

    asgi: ASGIApp
    routes: tuple[Route, ...]
    feed: Feed

    def close(self) -> None:
        """End all streams: their readers come again."""
        self.feed.close()


def reading(
    store: FollowedStore,
    tokens: Tokens,
    metrics: Metrics,
    watching: Watching,
    tickets: Tickets,
    most: Most,
    feed_cut_s: float,
    keep_alive_s: float,
    cors_origins: Sequence[str] = (),
) -> ReadApplication:
    """Put the parts together."""
    shares = Shares(most)
    gate = Gate(tokens, tickets, shares, Failures(monotonic), metrics)
    feed, reads = questions(
        log=store.log,
        views=store.views,
        areas=store.areas,
        alarm_steps=store.alarm_steps,
        history=store.history,
        origins=lambda: store.log.origins,
        ordered=store.ordered,
        tokens=tokens,
        tickets=tickets,
        shares=shares,
        watching=watching,
        metrics=metrics,
        now=store.now,
        cut_s=feed_cut_s,
        keep_alive_s=keep_alive_s,
    )
    store.latest.on_news = feed.refreshed
    table: list[Route] = []

    async def ready() -> None:
        await store.views.nodes("", 1)

    table.append(_WHY)  # before the devices: an id may hold slashes
    table.extend(reads)
    table.extend(Upkeep(metrics, ready, lambda: openapi.document(table)).routes())
    asgi = Starlette(
        routes=[serve(route, gate) for route in table],
        exception_handlers={HTTPException: _elsewhere(http_problem(table)), Exception: fault_problem},
    )
    asgi.router.redirect_slashes = False
    return ReadApplication(open_to(Guard(asgi, metrics), cors_origins), tuple(table), feed)


def _elsewhere(
    told: Callable[[Request, Exception], Awaitable[Response]],
) -> Callable[[Request, Exception], Awaitable[Response]]:
    """A path that is not served here may well be one of the aggregator's (RFC 9110, 15.5.20)."""

    async def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code in (404, 405):
            return Problem(421, "elsewhere", ELSEWHERE).response()
        return await told(request, error)

    return answer
