"""Orders as they are asked for: one, a group, or those of a node.

Bounds: a page has at most MAX_PAGE orders (`cloud.views.contract`), PAGE when nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from starlette.responses import Response

from cloud.api.routes import READERS, Answer, Asked, Param, Route, json_response, problem_answers
from cloud.orders.presence import Presence
from cloud.orders.seen import OrderSeen, OrdersFound, OrdersPage, order_seen, unknown_seen
from cloud.problem import bad_request, not_found
from cloud.records.orders import Kept, OrderStore
from cloud.times import Now
from cloud.views.answers import ResultSeen
from cloud.views.contract import MAX_PAGE, Fix, Views
from cloud.views.reports import result_seen

PAGE: Final = 100
MOST: Final = 2**63 - 1

_LIMIT: Final = Param(
    name="limit",
    what=f"How many at most; {PAGE} when not given.",
    schema={"type": "integer", "minimum": 1, "maximum": MAX_PAGE},
)
_CURSOR: Final = Param(name="cursor", what="`next` of the page before.")


class OrderQueries:
    """The routes of those who ask for orders."""

    def __init__(self, store: OrderStore, views: Views, presence: Presence, now: Now) -> None:
        self._store = store
        self._views = views
        self._presence = presence
        self._now = now

    def routes(self) -> list[Route]:
        """The rows of the table."""
        return [
            Route(
                method="GET",
                path="/v1/commands",
                name="orders",
                summary="Orders of all kinds, the newest first.",
                roles=READERS,
                handler=self._page,
                params=(
                    Param(name="node", what="Only of this node."),
                    Param(name="open", what="1: only those that have not ended."),
                    _LIMIT,
                    _CURSOR,
                ),
                answers={200: Answer(what="A page of orders.", body=OrdersPage)},
            ),
            Route(
                method="GET",
                path="/v1/commands/{id}",
                name="order",
                summary="An order by its id, or a group of orders by theirs: stages, times, what was read back.",
                roles=READERS,
                handler=self._one,
                params=(
                    Param(name="id", at="path", what="The id of an order of any kind, or of a group."),
                    _LIMIT,
                    _CURSOR,
                ),
                answers={
                    200: Answer(what="The order, or a page of the group.", body=OrdersFound),
                    **problem_answers(s404="No such order, and nothing was ever said of one."),
                },
            ),
        ]

    async def _page(self, asked: Asked) -> Response:
        limit = asked.number("limit", PAGE, 1, MAX_PAGE)
        before = asked.number("cursor", MOST, 1, MOST)
        open_ = asked.number("open", 0, 0, 1) == 1
        found = await self._store.newest(asked.one("node"), before, limit + 1, open_=open_)
        more = str(found[limit - 1].order_no) if len(found) > limit else None
        return json_response(OrdersPage(orders=await self._seen(found[:limit]), next=more))

    async def _one(self, asked: Asked) -> Response:
        name = asked.path("id")
        limit, after = asked.number("limit", PAGE, 1, MAX_PAGE), asked.number("cursor", 0, 0, MOST)
        if len(name) > 200:
            raise bad_request("an id has at most 200 characters")
        if (kept := await self._store.one(name)) is not None:
            return json_response(_found(name, await self._seen([kept])))
        if found := await self._store.of_group(name, after, limit + 1):
            more = str(found[limit - 1].order_no) if len(found) > limit else None
            stages = await self._store.stages_of(name)
            orders = await self._seen(found[:limit])
            return json_response(OrdersFound(id=name, orders=orders, stages=stages, next=more))
        said = await self._said([name])
        if not said:
            raise not_found(f"no order and no group {name!r}")
        nodes = dict.fromkeys(r.node for r in said[name])
        orders = tuple(unknown_seen(name, [r for r in said[name] if r.node == node]) for node in nodes)
        return json_response(_found(name, orders))

    async def _seen(self, orders: Sequence[Kept]) -> tuple[OrderSeen, ...]:
        said = await self._said([k.order.id for k in orders])
        now_us = self._now()
        return tuple(
            order_seen(
                k,
                [r for r in said.get(k.order.id, ()) if r.node == k.node],
                now_us,
                self._presence.of(k.node),
            )
            for k in orders
        )

    async def _said(self, names: Sequence[str]) -> dict[str, list[ResultSeen]]:
        """What nodes said of orders, times corrected."""
        results = await self._views.results(names)
        estimated = {node for said in results.values() for node, result in said if result.boot is not None}
        fixes: Mapping[str, Mapping[int, Fix]] = {node: await self._views.fixes(node) for node in estimated}
        return {
            name: [result_seen(node, result, fixes.get(node, {})) for node, result in said]
            for name, said in results.items()
        }


def _found(name: str, orders: tuple[OrderSeen, ...]) -> OrdersFound:
    stages: dict[str, int] = {}
    for order in orders:
        stages[order.stage] = stages.get(order.stage, 0) + 1
    return OrdersFound(id=name, orders=orders, stages=stages, next=None)
