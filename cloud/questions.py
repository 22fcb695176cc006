"""Questions: what is only read over HTTP, put together for the process that writes and for those that only read."""

from __future__ import annotations

from collections.abc import Callable

from cloud.alarms.steps import Steps
from cloud.api.areas import AreaQuestions
from cloud.api.history import History
from cloud.api.latest import Latest
from cloud.api.queries import Queries
from cloud.api.routes import Route
from cloud.api.sse import CUT_S
from cloud.api.tickets import TicketOffice
from cloud.entrance.shares import Shares
from cloud.entrance.tickets import Tickets
from cloud.feed.feed import KEEP_ALIVE_S, Feed
from cloud.feed.slices import Ordered
from cloud.history.contract import HistoryViews
from cloud.log.contract import ReadLog
from cloud.log.cursor import Origins
from cloud.metrics import Metrics
from cloud.records.alarm_steps import ReadAlarmSteps
from cloud.records.areas import ReadAreas
from cloud.records.tokens import Tokens
from cloud.times import Now
from cloud.views.contract import ReadViews
from cloud.views.watching import Watching


def questions(
    *,
    log: ReadLog,
    views: ReadViews,
    areas: ReadAreas,
    alarm_steps: ReadAlarmSteps,
    history: HistoryViews,
    origins: Callable[[], Origins],
    ordered: Ordered,
    tokens: Tokens,
    tickets: Tickets,
    shares: Shares,
    watching: Watching,
    metrics: Metrics,
    now: Now,
    cut_s: float = CUT_S,
    keep_alive_s: float = KEEP_ALIVE_S,
) -> tuple[Feed, list[Route]]:
    """The feed, which must be ended before the server is, and the routes of all that is only read."""
    feed = Feed(
        log=log,
        views=views,
        areas=areas,
        now=now,
        tokens=tokens,
        shares=shares,
        watching=watching,
        metrics=metrics,
        origins=origins,
        ordered=ordered,
        cut_s=cut_s,
        keep_alive_s=keep_alive_s,
    )
    metrics.gauge("log_head", "The position of the newest record", lambda: log.reach().head)
    metrics.gauge("feeds", "Feed readers", lambda: feed.readers)
    routes = [
        *Queries(views, watching).routes(),
        *Latest(views, areas, log, now).routes(),
        *History(history, views, areas, now).routes(),
        *AreaQuestions(areas, now).routes(),
        *Steps(alarm_steps, origins).routes(),
        *feed.routes(),
        *TicketOffice(tickets).routes(),
    ]
    return feed, routes
