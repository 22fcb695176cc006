"""Alarms over HTTP: those of the nodes and the aggregator's own in one list, and what an operator does with them.

A node owns its alarms: an act on one is an order to its node, and shows under `asked` until the node has said how that
ended. The aggregator's own are acted on at once.

Bounds: a page has at most MAX_PAGE alarms (`cloud.views.contract`); an act waits for its node ACT_LIFE_US at most; an
alarm is shelved for as long as an order may live.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, get_args

import msgspec
from starlette.responses import Response

from cloud.alarms.keeper import Keeper
from cloud.api.idempotency import keyed, response
from cloud.api.json_body import body_of, read
from cloud.api.routes import ORDERERS, READERS, Answer, Asked, Param, Route, json_response, out_of_scope
from cloud.orders.checks import Given, Wrongs, end_of
from cloud.orders.orders import KEY, REFUSED, Orders
from cloud.orders.requests import ActGiven
from cloud.orders.seen import OrdersTaken
from cloud.problem import Problem, bad_request, not_found, wrong
from cloud.records.ended_alarms import EndedAlarms
from cloud.records.keys import Keyed
from cloud.records.orders import Draft, Kept, OrderStore
from cloud.times import DAY_US, text
from cloud.views.answers import ActAsked, AlarmSeen
from cloud.views.contract import MAX_PAGE, AlarmsAsked, TargetsAsked, Views
from cloud.views.reports import alarm_seen
from groundwork.nearest import did_you_mean, nearest
from wire.entries import Alarm, AlarmState, Severity
from wire.orders import AlarmAct
from wire.time import Micros, Utc

PAGE: Final = 100
ACT_LIFE_US: Final = Micros(7 * DAY_US)
STATES: Final[frozenset[str]] = frozenset(get_args(AlarmState))
SEVERITIES: Final[frozenset[str]] = frozenset(get_args(Severity))

_NODE: Final = Param(name="node", what="Only of, or about, this node.")


class AlarmsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Alarms: the aggregator's own first, then by node and id. A page may be short; only `next` = null ends it."""

    alarms: tuple[AlarmSeen, ...]
    next: str | None


class Alarms:
    """The routes of alarms."""

    def __init__(self, keeper: Keeper, ended: EndedAlarms, views: Views, store: OrderStore, orders: Orders) -> None:
        self._keeper = keeper
        self._ended = ended
        self._views = views
        self._store = store
        self._orders = orders

    def routes(self) -> list[Route]:
        """The rows of the table."""
        return [
            Route(
                method="GET",
                path="/v1/alarms",
                name="alarms",
                summary="Alarms of the nodes and of the aggregator itself; the standing ones where no state is named.",
                roles=READERS,
                handler=self._page,
                params=(
                    _NODE,
                    Param(name="device", what="Only of this device."),
                    Param(name="state", what="Only in these states.", schema={"enum": sorted(STATES)}, many=True),
                    Param(name="severity", what="Only of these.", schema={"enum": sorted(SEVERITIES)}, many=True),
                    Param(
                        name="limit",
                        what=f"How many at most; {PAGE} when not given.",
                        schema={"type": "integer", "minimum": 1, "maximum": MAX_PAGE},
                    ),
                    Param(name="cursor", what="`next` of the page before."),
                ),
                answers={200: Answer(what="A page of alarms.", body=AlarmsPage)},
            ),
            Route(
                method="POST",
                path="/v1/alarms/{alarm:path}/acts",
                name="act",
                summary="Acknowledge, shelve or unshelve an alarm (ISA-18.2).",
                roles=ORDERERS,
                handler=self._act,
                params=(
                    Param(name="alarm", at="path", what="The alarm's id."),
                    Param(name="node", what="Its node, where more than one has an alarm of this id."),
                    KEY,
                ),
                scoped=True,
                takes=ActGiven,
                answers={
                    200: Answer(what="It is the aggregator's own, and done.", body=AlarmSeen),
                    202: Answer(what="Its node is asked.", body=OrdersTaken),
                    **REFUSED,
                },
            ),
        ]

    async def _page(self, asked: Asked) -> Response:
        limit = asked.number("limit", PAGE, 1, MAX_PAGE)
        node, _, name = (asked.one("cursor") or "/").partition("/")
        wanted = AlarmsAsked(
            node=asked.one("node"),
            device=asked.one("device"),
            states=_several(asked, "state", STATES),
            severities=_several(asked, "severity", SEVERITIES),
            after=(node, name),
            limit=limit,
        )
        found = [] if node else self._keeper.standing(wanted)
        if len(found) > limit:
            page = AlarmsPage(alarms=tuple(found[:limit]), next=f"/{found[limit - 1].id}")
            return json_response(page)
        after: tuple[str, str] | None = ("", found[-1].id if found else name) if not node else (node, name)
        if (left := limit - len(found)) > 0:
            theirs, after = await self._views.alarms(
                msgspec.structs.replace(wanted, after=(node, name) if node else ("", ""), limit=left)
            )
            found += await self._seen(theirs)
        return json_response(AlarmsPage(alarms=tuple(found), next=None if after is None else "/".join(after)))

    async def _seen(self, alarms: Sequence[tuple[str, Alarm]]) -> list[AlarmSeen]:
        fixes = {node: await self._views.fixes(node) for node, alarm in alarms if alarm.boot is not None}
        acts = await self._store.acts([(node, alarm.id) for node, alarm in alarms])
        return [
            msgspec.structs.replace(
                alarm_seen(node, alarm, fixes.get(node, {})),
                asked=tuple(map(_asked_for, acts.get((node, alarm.id), ()))),
            )
            for node, alarm in alarms
        ]

    async def _act(self, asked: Asked) -> Response:
        with self._orders.door.open(asked.token):
            body = await body_of(asked.request)
            key = keyed(asked, body)
            if (before := await self._store.answered(key)) is not None:
                return response(before)
            given, wrongs = read(body, ActGiven), Wrongs()
            by = self._orders.given(asked, given.on_behalf, wrongs)
            until_us: Utc | None = None
            if given.act == "shelve":
                until_us = end_of(given.until, given.for_s, ("until", "for_s"), by.now_us, wrongs)
            elif given.until is not None or given.for_s is not None:
                wrongs.problems.append(f"{given.act} has no end: until and for_s go with shelve")
            if wrongs.problems:
                raise wrong(422, "not-possible", wrongs.problems)
            name, node = asked.path("alarm"), asked.one("node")
            own = self._keeper.get(name)
            if own is not None and node in {None, own.device}:
                self._unscoped(asked)
                done = await self._keeper.act(own, given.act, by.by, by.now_us, until_us, given.note, key)
                if done is None:
                    raise _cleared(name)
                return response(done)
            owner, device = await self._owner(name, node)
            found = await self._views.targets(TargetsAsked(devices=(device,)), 1)
            await self._orders.allow(asked, found, by.now_us)
            if not found:  # the node itself
                self._unscoped(asked)
            if await self._ended.has(owner, name):
                if given.act != "acknowledge":
                    raise Problem(
                        422,
                        "not-possible",
                        f"alarm {name[:100]!r} is over, and its node does not know it: acknowledge it",
                    )
                done = await self._ended.acknowledge(owner, name, by.by, by.now_us, given.note, key)
                if done is None:
                    raise _cleared(name)
                return response(done)
            return await self._ask(owner, name, given, by, until_us, key)

    async def _ask(
        self, node: str, name: str, given: ActGiven, by: Given, until_us: Utc | None, key: Keyed
    ) -> Response:
        life_us = by.now_us + ACT_LIFE_US
        order = AlarmAct(
            id=f"o-{by.draw()}",
            group=by.group,
            by=by.by,
            issued_us=by.now_us,
            expires_us=life_us if until_us is None else min(until_us, life_us),
            alarm=name,
            act=given.act,
            until_us=until_us,
            note=given.note,
        )
        return await self._orders.take([Draft(order, node)], key)

    def _unscoped(self, asked: Asked) -> None:
        assert asked.grant is not None
        if asked.grant.scope is not None:
            raise out_of_scope("outside of this token's scope: an alarm that is of no device")

    async def _owner(self, name: str, node: str | None) -> tuple[str, str]:
        """The node whose alarm it is, and the device."""
        found, _ = await self._views.alarms(AlarmsAsked(id=name, node=node, states=STATES, limit=2))
        if not found:
            standing, _ = await self._views.alarms(AlarmsAsked(node=node, limit=MAX_PAGE))
            known = [a.id for _, a in standing] + self._keeper.names()
            near = await asyncio.to_thread(nearest, name, known)
            raise not_found(f"there is no alarm {name[:100]!r}{did_you_mean(near)}")
        standing = [(n, a) for n, a in found if a.state != "cleared"]
        if not standing:
            raise _cleared(name)
        if len(standing) > 1:
            nodes = " and ".join(n for n, _ in standing)
            raise Problem(422, "not-possible", f"{nodes} have an alarm of this id: say which with ?node=")
        return standing[0][0], standing[0][1].device


def _cleared(name: str) -> Problem:
    return Problem(422, "not-possible", f"alarm {name[:100]!r} has cleared; there is nothing to be done")


def _several(asked: Asked, name: str, known: frozenset[str]) -> frozenset[str]:
    given = frozenset(asked.request.query_params.getlist(name))
    if unknown := given - known:
        raise bad_request(f"{name} is {min(unknown)!r}; there are {', '.join(sorted(known))}")
    return given


def _asked_for(kept: Kept) -> ActAsked:
    order = kept.order
    assert isinstance(order, AlarmAct)
    return ActAsked(
        order=order.id,
        act=order.act,
        stage=kept.stage,
        by=order.by,
        issued=text(order.issued_us),
        until=None if order.until_us is None else text(order.until_us),
    )
