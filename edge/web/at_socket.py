"""At the socket: what technicians who are logged in on the node do over its Unix socket, by who they are
(`edge.web.peers`; 403 for all others, and for web pages): orders, the quarantine, looking at what is on a line, the
support file.

A proxy before the node can carry nothing that lets it do that. Bounds: those of `edge.web.answers`; an answer has at
most `edge.web.answers.MAX_ITEMS`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Final, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from drivers.errors import NotStored
from edge.control.on_site import BadRequest, Given, OnSite, OrderProgress, read
from edge.identify.looking import LookFor
from edge.outbox.contract import SendAgain, SentAgain, SetAside
from edge.web.activity_log import ActivityLog, ActivityRoute
from edge.web.answers import body_of, json_answer, listed, refusal
from edge.web.identifying import Identifying, LookProgress
from edge.web.peers import Peer, Technicians
from edge.web.support import ZIP, SupportFile, attached
from edge.web.table import LEFT_OUT, LOCATION, ORDER, NodeRoute, RouteAnswer, RouteParam, refusals

log = logging.getLogger(__name__)

MAX_ERROR_CHARS: Final = 2_000
MAX_PROBLEMS: Final = 20


class Quarantined(Protocol):
    """What of `edge.outbox.contract.Outbox` is about rows that were set aside."""

    async def set_aside(self) -> Sequence[SetAside]:
        """See `Outbox`."""
        ...

    async def send_again(self, ids: Collection[int] | None = None) -> tuple[int, int]:
        """See `Outbox`."""
        ...


class AtSocket:
    """The routes, and who may use them."""

    def __init__(
        self,
        *,
        technicians: Technicians,
        on_site: OnSite | None = None,
        quarantine: Quarantined | None = None,
        identifying: Identifying | None = None,
        activities: ActivityRoute | None = None,
        support: SupportFile | None = None,
    ) -> None:
        """Without `on_site` no orders are taken, without `quarantine` nothing is sent again, without `identifying`
        nothing is looked for, without `activities` there is no log, without `support` no support file."""
        self._technicians, self._on_site = technicians, on_site
        self._quarantine, self._identifying, self._activities = quarantine, identifying, activities
        self._support = support

    def table(self) -> list[NodeRoute]:
        """What there is at the socket beside what can be read."""
        return [
            NodeRoute(
                method="POST", path="/orders", name="give", summary="Take an order at the technician's level.",
                handler=self._give, takes=Given, shown="socket",
                answers={202: RouteAnswer("How far it is.", OrderProgress, headers=LOCATION)},
            ),
            NodeRoute(
                path="/orders/{id}", name="order", summary="How far an order has come.", handler=self._order,
                params=(ORDER,), shown="socket",
                answers={200: RouteAnswer("How far it is.", OrderProgress), **refusals(s404="It is not known here.")},
            ),
            NodeRoute(
                path="/log", name="log", summary="Who was at the cabinet, and what they did.", handler=self._log,
                params=(RouteParam(name="days", at="query", what="How far back it goes."),), shown="socket",
                answers={200: RouteAnswer("What is known of it.", ActivityLog),
                         **refusals(s400="No such number of days."), **_NO_CARD},
            ),
            NodeRoute(
                path="/support", name="support", summary="The support file: a zip, without secrets.",
                handler=self._support_file, shown="socket",
                answers={200: RouteAnswer("The file.", media_type=ZIP)},
            ),
            NodeRoute(
                path="/quarantine", name="set_aside", summary="The rows that were set aside.", handler=self._set_aside,
                shown="socket",
                answers={200: RouteAnswer("The rows.", list[SetAside], headers=LEFT_OUT), **_NO_CARD},
            ),
            NodeRoute(
                method="POST", path="/quarantine/send", name="send_again", summary="Put them back into their lanes.",
                handler=self._send_again, takes=SendAgain, shown="socket",
                answers={200: RouteAnswer("How many.", SentAgain), **_NO_CARD},
            ),
            NodeRoute(
                method="POST", path="/identify", name="look_for", summary="Begin to look on a line.",
                handler=self._look_for, takes=LookFor, shown="socket",
                answers={202: RouteAnswer("How far it is.", LookProgress, headers=LOCATION),
                         **refusals(s409="Another looks.")},
            ),
            NodeRoute(
                path="/identify/{id}", name="looked", summary="How far a look has come, and what was found.",
                handler=self._looked, shown="socket", params=(RouteParam(name="id", what="The look's id."),),
                answers={200: RouteAnswer("How far it is.", LookProgress), **refusals(s404="It is not known here.")},
            ),
        ]  # fmt: skip

    async def _give(self, request: Request) -> Response:
        peer, turned_away = self._technician(request)
        if peer is None:
            return turned_away
        if self._on_site is None:
            return refusal("no orders are taken here", 403)
        body = await body_of(request)
        if isinstance(body, Response):
            return body
        try:
            given = read(body)
        except BadRequest as error:
            return refusal(str(error)[:MAX_ERROR_CHARS], 400, error.problems[:MAX_PROBLEMS])
        told = await self._on_site.give(msgspec.structs.replace(given, by=peer.author(given.by)))
        answer = json_answer(told, 202)
        answer.headers["Location"] = f"/orders/{told.id}"
        return answer

    async def _order(self, request: Request) -> Response:
        peer, turned_away = self._technician(request)
        if peer is None:
            return turned_away
        order: str = request.path_params["id"]
        told = None if self._on_site is None else self._on_site.told(order)
        return refusal(f"no order {order[:64]} is known here", 404) if told is None else json_answer(told)

    async def _log(self, request: Request) -> Response:
        peer, turned_away = self._technician(request)
        return turned_away if peer is None or self._activities is None else await self._activities.answer(request)

    async def _support_file(self, request: Request) -> Response:
        peer, turned_away = self._technician(request)
        if peer is None or self._support is None:
            return turned_away
        log.info("%s takes the support file", peer.name)
        return attached(*await self._support.make())

    async def _set_aside(self, request: Request) -> Response:
        peer, turned_away = self._technician(request)
        if peer is None or self._quarantine is None:
            return turned_away
        try:
            return listed(await self._quarantine.set_aside())
        except NotStored as error:
            return refusal(str(error), 503)

    async def _send_again(self, request: Request) -> Response:
        peer, turned_away = self._technician(request)
        if peer is None or self._quarantine is None:
            return turned_away
        body = await body_of(request)
        if isinstance(body, Response):
            return body
        try:
            ids = msgspec.json.decode(body, type=SendAgain).ids
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return refusal(f'the body must be {{"ids": null}} or {{"ids": [1, 2]}}: {error}', 400)
        try:
            sent, unreadable = await self._quarantine.send_again(ids)
        except NotStored as error:
            return refusal(str(error), 503)
        log.warning("%s has sent %d rows again that were set aside", peer.name, sent)
        return json_answer(SentAgain(sent=sent, unreadable=unreadable))

    async def _look_for(self, request: Request) -> Response:
        peer, turned_away = self._technician(request)
        if peer is None or self._identifying is None:
            return turned_away
        body = await body_of(request)
        return body if isinstance(body, Response) else self._identifying.begin(body)

    async def _looked(self, request: Request) -> Response:
        peer, turned_away = self._technician(request)
        if peer is None or self._identifying is None:
            return turned_away
        return self._identifying.looked(request.path_params["id"])

    def _technician(self, request: Request) -> tuple[Peer | None, Response]:
        """Who may act here, or with None the answer to whoever may not."""
        peer: Peer | None = request.scope.get("state", {}).get("peer")
        why = self._technicians.why_not(peer)
        if why is None and "origin" in request.headers:
            why = "orders are not taken from web pages; use lamplighter-edge"
        return (peer if why is None else None), refusal(why or "there is nothing of this here", 403)


_NO_CARD: Final = refusals(s503="The card cannot be used.")
