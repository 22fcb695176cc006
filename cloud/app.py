"""The composition root: the one place where the aggregator's parts meet.

`application` makes the ASGI application over an open store, `tend` is what goes on beside the requests.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from cloud.alarms.alarms import Alarms
from cloud.alarms.conditions import conflicts, over_quota
from cloud.alarms.own_alarms import StandingCondition
from cloud.alarms.trouble import Missed, StoreWatch
from cloud.api import openapi
from cloud.api.areas import Areas
from cloud.api.assignments import Assignments
from cloud.api.codes import Codes
from cloud.api.gate import Gate
from cloud.api.guard import Guard, fault_problem, http_problem
from cloud.api.routes import LOG, Route, serve
from cloud.api.sse import CUT_S
from cloud.api.token_admin import TokenAdmin
from cloud.api.upkeep import Upkeep
from cloud.api.write_offs import WriteOffs
from cloud.clock_jump import ClockJumps
from cloud.entrance.failures import Failures
from cloud.entrance.origins import open_to
from cloud.entrance.quota import A_DAY, Quota, Used
from cloud.entrance.shares import Most, Shares
from cloud.entrance.tickets import Tickets, new_key
from cloud.feed.feed import KEEP_ALIVE_S, Feed
from cloud.ingest.generations import Generations
from cloud.ingest.ingest import Ingest
from cloud.log.contract import Unavailable
from cloud.log.cursor import Cursor
from cloud.metrics import Metrics
from cloud.orders.downlink import Downlink, Pace
from cloud.orders.orders import Orders
from cloud.orders.presence import Presence
from cloud.orders.queries import OrderQueries
from cloud.orders.why import Whys
from cloud.questions import questions
from cloud.records.alarm_steps import ALARM_DAYS
from cloud.records.tokens import Tokens
from cloud.store import Held, Store, nobody_else
from cloud.times import DAY_US, SECOND_US, Now
from cloud.views.watching import Watching
from wire.errors import BadInput
from wire.time import Micros

SAVE_S: Final = 30.0
SILENCE_S: Final = 5.0
COMPACT_S: Final = 10.0
END_S: Final = 1.0
PRUNE_S: Final = 60.0
FOLD_S: Final = 5.0
TROUBLE_S: Final = 5.0
COLLECT_S: Final = 3_600.0


class Application(msgspec.Struct, frozen=True):
    """What is served, the table that it is made from, and the streams, which must be ended before the server is."""

    asgi: ASGIApp
    routes: tuple[Route, ...]
    feed: Feed
    downlink: Downlink
    watching: Watching
    conditions: Callable[[], Awaitable[Mapping[str, StandingCondition]]]  # what our own alarms tell of beside the log

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
    ticket_key: bytes = b"",
    cors_origins: Sequence[str] = (),
) -> Application:
    """Put the parts together over an open store. Reader processes are given the same `ticket_key`."""
    shares = Shares(most)
    tickets = Tickets(ticket_key or new_key(), now)
    gate = Gate(tokens, tickets, shares, Failures(monotonic), metrics)
    watching = Watching()
    quota = Quota(monotonic, a_day)
    downlink = Downlink(store.orders, tokens, metrics, now, pace or Pace(), quota.asks)
    presence = Presence(downlink.reachable, store.heard.of, now)
    orders = Orders(
        store=store.orders,
        views=store.views,
        areas=store.areas,
        downlink=downlink,
        presence=presence,
        cursor=lambda: str(Cursor(store.log.generation, store.log.reach().head)),
        metrics=metrics,
        now=now,
    )
    feed, reads = questions(
        log=store.log,
        views=store.views,
        areas=store.areas,
        alarm_steps=store.alarm_steps,
        history=store.history,
        origins=lambda: store.log.origins,
        ordered=store.orders.of_node,
        tokens=tokens,
        tickets=tickets,
        shares=shares,
        watching=watching,
        metrics=metrics,
        now=now,
        cut_s=feed_cut_s,
        keep_alive_s=keep_alive_s,
    )
    store.latest.on_news = feed.refreshed
    generations = Generations(store.log, metrics, now)
    table: list[Route] = []

    async def ready() -> None:
        await store.views.nodes("", 1)

    upkeep = Upkeep(metrics, ready, lambda: openapi.document(table))
    table.extend(Ingest(store.log, store.views, watching, metrics, quota, now, generations.hear).routes())
    table.extend(Whys(store.views, downlink, now, quota.asks).routes())  # before the devices: an id may hold slashes
    table.extend(reads)
    table.extend(orders.routes())
    table.extend(OrderQueries(store.orders, store.views, presence, now).routes())
    table.extend(Alarms(store.alarms, store.ended_alarms, store.views, store.orders, orders).routes())
    table.extend(WriteOffs(store.write_offs, now).routes())
    table.extend(Assignments(store.claims, orders.door, now).routes())
    table.extend(Areas(store.areas, orders.door, now).routes())
    table.extend(Codes(store.codes, store.views, tokens, gate.spoke, orders.door, now).routes())
    table.extend(TokenAdmin(store.token_store, orders.door, now).routes())
    table.extend(downlink.routes())
    table.extend(upkeep.routes())
    metrics.gauge("log_floor", "The position up to which batches were compacted", lambda: store.log.reach().floor)
    metrics.gauge("writer_waiting", "Transactions that wait or are being done", lambda: store.waiting)
    metrics.gauge("store_bytes", "The store's file", lambda: store.sizes().store)
    metrics.gauge("store_free_bytes", "Of it free for what comes next", lambda: store.sizes().free)
    metrics.gauge("store_log_bytes", "The store's write-ahead log", lambda: store.sizes().log)
    metrics.gauge("disk_free_bytes", "Free on the store's disk", lambda: store.sizes().disk_free)
    metrics.gauge("over_quota", "Nodes that were refused lately for their quota", lambda: len(quota.over()))
    metrics.gauge("over_quota_refusals", "Requests refused for a node's quota", lambda: quota.refused)
    metrics.gauge("downlinks", "Nodes that have a downlink open", lambda: downlink.nodes)
    asgi = Starlette(
        routes=[serve(route, gate) for route in table],
        exception_handlers={HTTPException: http_problem(table), Exception: fault_problem},
    )
    asgi.router.redirect_slashes = False  # a wrong path is told, not guessed at

    async def conditions() -> Mapping[str, StandingCondition]:
        await store.claims.bar(tokens.stripped())
        return {**over_quota(quota.over()), **conflicts(await store.claims.doubled())}

    guarded = open_to(Guard(asgi, metrics), cors_origins)
    return Application(guarded, tuple(table), feed, downlink, watching, conditions)


async def tend(
    store: Store,
    now: Now,
    compact: Callable[[], Awaitable[bool]],
    conditions: Callable[[], Awaitable[Mapping[str, StandingCondition]]],
    missed: Missed | None = None,
    kept: Callable[[], object] = lambda: None,
    alarm_days: float = ALARM_DAYS,
    held: Held = nobody_else,
    clock_was_set: Callable[[Micros], object] = lambda _by_us: None,
) -> None:
    """Save, watch for silence, end orders, forget what was kept long enough and compact, until cancelled. Trouble is
    logged and tried again. `kept` is called when the alarm that says what was `missed` is durable; `alarm_days` is how
    long steps of alarms are kept. `held` holds the queries of other processes, which are told when the
    `clock_was_set`."""
    trouble = StoreWatch(store, missed, kept)
    began_us = now()
    keep_us = Micros(int(alarm_days * DAY_US))
    jumps = ClockJumps(now, asyncio.get_running_loop().time)

    async def look() -> None:
        nonlocal began_us
        jumped_us = jumps.jumped_us()
        if jumped_us:
            LOG.warning("the clock was set by %.0f s", jumped_us / SECOND_US)
            began_us = min(now(), began_us + jumped_us)
            clock_was_set(jumped_us)
        try:
            holding = await conditions()
        except Unavailable as error:  # the file of the tokens is another one: silence is told without it
            LOG.warning("what holds of tokens, quotas and claims is not known now: %s", error)
            holding = None
        await store.look(now(), began_us, jumped_us, holding)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_every(SAVE_S, store.tend))
        tasks.create_task(_every(SILENCE_S, look))
        tasks.create_task(_every(FOLD_S, lambda: store.fold(held)))
        tasks.create_task(_every(TROUBLE_S, lambda: trouble.look(now()), at_once=True))
        tasks.create_task(_every(COLLECT_S, _collect))
        tasks.create_task(_every(END_S, lambda: _while_true(lambda: _any(store.orders.end_due(now())))))
        tasks.create_task(_every(PRUNE_S, lambda: _while_true(lambda: _any(store.orders.prune(now())))))
        tasks.create_task(_every(PRUNE_S, lambda: _while_true(lambda: _any(store.alarm_steps.prune(now(), keep_us)))))
        tasks.create_task(_every(COMPACT_S, lambda: _while_true(compact), at_once=True))


async def _collect() -> None:
    """Free what was held in a cycle and lived long: connections and streams that have ended, some 20 KB each.

    `cloud.cli` lets the collector look seldom by itself, at the young ones every 100,000 objects and at the old ones as
    good as never. What was there at the start is left out (gc.freeze); all that a city of 36,900 devices brings after
    it takes 0.1 to 0.3 s.
    """
    gc.collect()


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
        except (Unavailable, BadInput) as error:  # BadInput: a body that was damaged on the disk
            LOG.warning("the store could not be tended: %s", error)
