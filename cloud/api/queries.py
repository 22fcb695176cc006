"""Queries: what is asked about nodes and devices over HTTP.

Bounds: a page of nodes or devices has at most MAX_PAGE (default 100), a page of samples at most MAX_ROWS (default
1,000), and at most MAX_POINTS points are named. Asking for a device's latest makes its node push sooner.
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.responses import Response

from cloud.api.routes import READERS, Answer, Asked, Param, Route, json_response, problem_answers
from cloud.problem import bad_request, not_found
from cloud.times import TIME_BOUND_US, parse
from cloud.views.answers import DeviceDetail, DevicesPage, NodeDetail, NodesPage, ReadingsPage
from cloud.views.contract import MAX_PAGE, MAX_ROWS, ReadingsAsked, ReadViews
from cloud.views.watching import Watching
from groundwork.nearest import did_you_mean, nearest
from wire.time import Utc

PAGE: Final = 100
ROWS: Final = 1_000
MAX_POINTS: Final = 100
MAX_SHOWN: Final = 100  # characters of a name that is wrong

_LIMIT: Final = Param(
    name="limit",
    what=f"How many at most; {PAGE} when not given.",
    schema={"type": "integer", "minimum": 1, "maximum": MAX_PAGE},
)
_CURSOR: Final = Param(name="cursor", what="`next` of the page before.")
_NODE: Final = Param(name="node", what="Only under this node.")
_DEVICE: Final = Param(name="device", at="path", what="The device's id.")
_TIME: Final = "RFC 3339 with a time zone, or UTC microseconds"


class Queries:
    """The routes of readers."""

    def __init__(self, views: ReadViews, watching: Watching) -> None:
        self._views = views
        self._watching = watching

    def routes(self) -> list[Route]:
        """The rows of the table."""
        return [
            Route(
                method="GET",
                path="/v1/nodes",
                name="nodes",
                summary="All nodes with their ledgers, by name.",
                roles=READERS,
                handler=self._nodes,
                params=(_LIMIT, _CURSOR),
                answers={200: Answer(what="A page of nodes.", body=NodesPage)},
            ),
            Route(
                method="GET",
                path="/v1/nodes/{node}",
                name="node",
                summary="One node: ledger, health, roster, alarms.",
                roles=READERS,
                handler=self._node,
                params=(Param(name="node", at="path", what="The node."),),
                answers={200: Answer(what="The node.", body=NodeDetail), **problem_answers(s404="No such node.")},
            ),
            Route(
                method="GET",
                path="/v1/devices",
                name="devices",
                summary="Devices by id.",
                roles=READERS,
                handler=self._devices,
                params=(Param(name="kind", what="Only of this kind."), _NODE, _LIMIT, _CURSOR),
                answers={200: Answer(what="A page of devices.", body=DevicesPage)},
            ),
            # Before the next one: an id may hold slashes.
            Route(
                method="GET",
                path="/v1/devices/{device:path}/readings",
                name="readings",
                summary="A device's samples by time.",
                roles=READERS,
                handler=self._readings,
                params=(
                    _DEVICE,
                    Param(name="point", what="Only these points; all when none is given.", many=True),
                    Param(name="from", what=f"From this time on: {_TIME}."),
                    Param(name="to", what=f"Before this time: {_TIME}."),
                    _NODE,
                    Param(
                        name="limit",
                        what=f"How many samples at most; {ROWS} when not given.",
                        schema={"type": "integer", "minimum": 1, "maximum": MAX_ROWS},
                    ),
                    _CURSOR,
                ),
                answers={
                    200: Answer(what="A page of samples.", body=ReadingsPage),
                    **problem_answers(s404="No such device."),
                },
            ),
            Route(
                method="GET",
                path="/v1/devices/{device:path}",
                name="device",
                summary="One device and its latest values.",
                roles=READERS,
                handler=self._device,
                params=(_DEVICE, _NODE),
                answers={
                    200: Answer(what="The device.", body=DeviceDetail),
                    **problem_answers(s404="No such device."),
                },
            ),
        ]

    async def _nodes(self, asked: Asked) -> Response:
        return json_response(
            await self._views.nodes(asked.one("cursor") or "", asked.number("limit", PAGE, 1, MAX_PAGE))
        )

    async def _node(self, asked: Asked) -> Response:
        name = asked.path("node")
        found = await self._views.node(name)
        if found is None:
            raise not_found(await self._no_node(name))
        return json_response(found)

    async def _devices(self, asked: Asked) -> Response:
        limit = asked.number("limit", PAGE, 1, MAX_PAGE)
        node = asked.one("node")
        found = await self._views.devices(asked.one("cursor") or "", limit, asked.one("kind"), node)
        return json_response(found)

    async def _device(self, asked: Asked) -> Response:
        device = asked.path("device")
        found = await self._views.device(device, asked.one("node"))
        if found is None:
            raise not_found(await self._no_device(device, asked.one("node")))
        self._watching.look(found.device.node)
        return json_response(found)

    async def _readings(self, asked: Asked) -> Response:
        device = asked.path("device")
        points = tuple(asked.request.query_params.getlist("point"))
        if len(points) > MAX_POINTS:
            raise bad_request(f"{len(points)} points; at most {MAX_POINTS}")
        question = ReadingsAsked(
            device=device,
            node=asked.one("node"),
            points=points,
            from_us=_time(asked, "from", Utc(-TIME_BOUND_US)),
            to_us=_time(asked, "to", TIME_BOUND_US),
            cursor=asked.one("cursor"),
            limit=asked.number("limit", ROWS, 1, MAX_ROWS),
        )
        try:
            found = await self._views.readings(question)
        except ValueError as error:
            raise bad_request(str(error)) from error
        if found is None:
            raise not_found(await self._no_device(device, question.node))
        return json_response(found)

    async def _no_node(self, node: str) -> str:
        """That there is no such node, and which is near."""
        near = await asyncio.to_thread(nearest, node, await self._views.names())
        return f"no node {node[:MAX_SHOWN]!r} was ever heard" + did_you_mean(near)

    async def _no_device(self, device: str, node: str | None) -> str:
        """That there is no such device, or not under this node, and what is near."""
        if node is not None and node not in await self._views.names():
            return await self._no_node(node)
        known = None if node is None else await self._views.device(device, None)
        if known is not None:
            return f"node {node!r} has no device {device!r}; node {known.device.node} has it"
        of = "there is no device" if node is None else f"node {node!r} has no device"
        return f"{of} {device[:MAX_SHOWN]!r}" + did_you_mean(await self._views.near(device))


def _time(asked: Asked, name: str, default: Utc) -> Utc:
    given = asked.one(name)
    try:
        return default if given is None else parse(given)
    except ValueError as error:
        raise bad_request(f"{name}: {error}") from error
