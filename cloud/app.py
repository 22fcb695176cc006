"""The composition root: the one place where the aggregator's parts meet.

`application` makes the ASGI application over an open store, `tend` is what goes on beside the requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from cloud import openapi
from cloud.alarms import Alarms
from cloud.claims import ClaimRoutes
from cloud.cursor import Cursor
from cloud.downlink import Downlink, Pace
from cloud.failures import Failures
from cloud.feed import KEEP_ALIVE_S, Feed
from cloud.gate import Gate
from cloud.guard import Guard, fault_problem, http_problem
from cloud.ingest import Ingest
from cloud.leap import Leap
from cloud.log import Unavailable
from cloud.metrics import Metrics
from cloud.order_queries import OrderQueries
from cloud.orders import Orders
from cloud.own_alarms import Condition
from cloud.presence import Presence
from cloud.queries import Queries
from cloud.quota import A_DAY, Quota, Used
from cloud.routes import LOG, Route, serve
from cloud.shares import Most, Shares
from cloud.sse import CUT_S
from cloud.store import Store
from cloud.times import SECOND_US, Now
from cloud.tokens import Tokens
from cloud.upkeep import Upkeep
from cloud.watching import Watching

SAVE_S: Final = 30.0
SILENCE_S: Final = 5.0
COMPACT_S: Final = 10.0
END_S: Final = 1.0
PRUNE_S: Final = 60.0


class Application(msgspec.Struct, frozen=True):
    """What is served, the table that it is made from, and the streams, which must be ended before the server is."""

    asgi: ASGIApp
    routes: tuple[Route, ...]
    feed: Feed
    downlink: Downlink
    conditions: Callable[[], Awaitable[Mapping[str, Condition]]]  # what our own alarms tell of beside the log

    def close(self) -> None:
        """End all streams: their readers come again."""
        self.feed.close()
        self.downlink.close()


def application(
    store: Store,
    tokens: Tokens,
    metrics: Metrics,
    now: Now,
    feed_cut_s: float = CUT_S,
    pace: Pace | None = None,
    keep_alive_s: float = KEEP_ALIVE_S,
    most: Most | None = None,
    a_day: Used = A_DAY,
) -> Application:
    """Put the parts together over an open store."""
    shares = Shares(most)
    gate = Gate(tokens, shares, Failures(monotonic), metrics)
    watching = Watching()
    downlink = Downlink(store.orders, tokens, metrics, now, pace or Pace())
    presence = Presence(downlink.reachable, store.heard.of, now)
    orders = Orders(
        store=store.orders,
        views=store.views,
        downlink=downlink,
        presence=presence,
        cursor=lambda: str(Cursor(store.log.generation, store.log.reach().head)),
        metrics=metrics,
        now=now,
    )
    feed = Feed(
        log=store.log,
        views=store.views,
        tokens=tokens,
        shares=shares,
        watching=watching,
        metrics=metrics,
        origins=store.origins,
        ordered=store.orders.of_node,
        cut_s=feed_cut_s,
        keep_alive_s=keep_alive_s,
    )
    quota = Quota(monotonic, a_day)
    table: list[Route] = []

    async def ready() -> None:
        await store.views.nodes("", 1)

    upkeep = Upkeep(metrics, ready, lambda: openapi.document(table))
    table.extend(Ingest(store.log, store.views, watching, metrics, quota, now).routes())
    table.extend(Queries(store.views, watching).routes())
    table.extend(orders.routes())
    table.extend(OrderQueries(store.orders, store.views, presence, now).routes())
    table.extend(Alarms(store.alarms, store.views, store.orders, orders).routes())
    table.extend(ClaimRoutes(store.claims, orders.door, now).routes())
    table.extend(downlink.routes())
    table.extend(feed.routes())
    table.extend(upkeep.routes())
    metrics.gauge("log_head", "The position of the newest record", lambda: store.log.reach().head)
    metrics.gauge("log_floor", "The position up to which batches were compacted", lambda: store.log.reach().floor)
    metrics.gauge("writer_waiting", "Transactions that wait or are being done", lambda: store.writer.waiting)
    metrics.gauge("over_quota", "Nodes that were refused lately for their quota", lambda: len(quota.over()))
    metrics.gauge("over_quota_refusals", "Requests refused for a node's quota", lambda: quota.refused)
    metrics.gauge("feeds", "Feed readers", lambda: feed.readers)
    metrics.gauge("downlinks", "Nodes that have a downlink open", lambda: downlink.nodes)
    asgi = Starlette(
        routes=[serve(route, gate) for route in table],
        exception_handlers={HTTPException: http_problem(table), Exception: fault_problem},
    )
    asgi.router.redirect_slashes = False  # a wrong path is told, not guessed at

    async def conditions() -> Mapping[str, Condition]:
        await store.claims.bar(tokens.stripped())
        return {**quota.conditions(), **await store.claims.conflicts()}

    return Application(Guard(asgi, metrics), tuple(table), feed, downlink, conditions)


async def tend(
    store: Store,
    now: Now,
    compact: Callable[[], Awaitable[bool]],
    conditions: Callable[[], Awaitable[Mapping[str, Condition]]],
) -> None:
    """Save, watch for silence, end orders and compact, until cancelled. Trouble is logged and tried again."""
    began_us = now()
    leap = Leap(now, asyncio.get_running_loop().time)

    async def look() -> None:
        nonlocal began_us
        leapt_us = leap.leapt_us()
        if leapt_us:
            LOG.warning("the clock was set by %.0f s", leapt_us / SECOND_US)
            began_us = min(now(), began_us + leapt_us)
        await store.look(now(), began_us, leapt_us, await conditions())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_every(SAVE_S, store.save))
        tasks.create_task(_every(SILENCE_S, look))
        tasks.create_task(_every(END_S, lambda: _while_true(lambda: _any(store.orders.end_due(now())))))
        tasks.create_task(_every(PRUNE_S, lambda: _while_true(lambda: _any(store.orders.prune(now())))))
        tasks.create_task(_every(COMPACT_S, lambda: _while_true(compact), at_once=True))


async def _any(count: Awaitable[int]) -> bool:
    return await count > 0


async def _while_true(step: Callable[[], Awaitable[bool]]) -> None:
    while await step():
        pass


async def _every(period_s: float, act: Callable[[], Awaitable[None]], *, at_once: bool = False) -> None:
    while True:
        if not at_once:
            await asyncio.sleep(period_s)
        at_once = False
        try:
            await act()
        except Unavailable as error:
            LOG.warning("the store could not be tended: %s", error)
