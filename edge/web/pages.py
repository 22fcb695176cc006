"""The node's own HTTP, read by a technician beside the cabinet.

`GET /health` is how the node is, and each of its devices; 503 when the verdict is `failed`. `GET /samples/{device}`
has a device's last sample, where there is one; `GET /metrics` is for Prometheus. `GET /control` says for every point
that something is held for what it should be and why, `GET /control/{device}` for one device; `GET /alarms` the alarms
that stand; `GET /rules/{device}` where each rule stands on a device; `GET /identify` devices that were never heard,
`GET /frames/{device}` a device's last frames. A device that is not there is 404, with the nearest name. All of it is
answered on TCP, to whoever calls the node by one of its names (`edge.web.hosts`; else 421), and at the node's Unix
socket; on TCP there are also the pages of `edge.web.screens`. A request that a page of another site has sent is
refused (403).
`POST /orders` and `GET /orders/{id}` are there for technicians: at the socket by who they are (`edge.web.at_socket`),
on TCP by a session that a one-time code has begun (`edge.web.writing`). `GET /openapi.json` describes all of it, made
from the tables (`edge.web.table`) that make the routes: on TCP what is there, at the socket what is there.

Bounds: those of `edge.web.connections` and `edge.web.answers`. Numbers that JSON has not (NaN, infinities) are null.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from importlib import import_module
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from drivers.tables import suggest
from edge.control.decided import Decided
from edge.control.on_site import OnSite
from edge.rules.engine import Explained
from edge.sampling.device_states import DeviceState
from edge.web.activity_log import ActivityRoute
from edge.web.answers import JSON, json_answer, listed, refusal
from edge.web.at_socket import AtSocket, Quarantined
from edge.web.busy import busy
from edge.web.first_look import FirstLook
from edge.web.hosts import Hosts, foreign
from edge.web.identifying import Identifying, ShownFrame, UnheardDevices
from edge.web.peers import Technicians
from edge.web.support import SupportFile
from edge.web.table import DEVICE, LEFT_OUT, NO_DEVICE, TEXT, NodeRoute, RouteAnswer, RouteParam, refusals, served
from edge.web.writing import TechnicianRoutes
from wire.entries import Alarm, Health
from wire.sample import Sample

MAX_NEAR_CHARS: Final = 500
TURN_ITEMS: Final = 50  # are put into words before the others on this loop have their turn


class NodeHealth(Health, frozen=True, kw_only=True):
    """What the city is told every minute, and each device beside it."""

    device_states: Sequence[DeviceState] = ()


class Pages:
    """What there is to be read, and what can be done on site."""

    def __init__(
        self,
        *,
        look: Callable[[], Awaitable[Health]],
        decided: Callable[[], Iterable[Decided]],
        alarms: Callable[[], Sequence[Alarm]],
        explain: Callable[[str], Sequence[Explained]],
        devices: Collection[str] = (),
        hosts: Hosts | None = None,
        on_site: OnSite | None = None,
        technicians: Technicians | None = None,
        quarantine: Quarantined | None = None,
        writing: TechnicianRoutes | None = None,
        identifying: Identifying | None = None,
        screens: FirstLook | None = None,
        activities: ActivityRoute | None = None,
        support: SupportFile | None = None,
        states: Callable[[], Sequence[DeviceState]] = list,
        sample: Callable[[str], Sample | None] = lambda _device: None,
        node: str = "",
    ) -> None:
        """Without `on_site` no orders are taken, without `quarantine` nothing is sent again, without `writing` there
        are no sessions, without `screens` no pages for people, without `activities` no log, without
        `support` no support file at the socket."""
        self._screens, self._states, self._sample_of, self._node = screens, states, sample, node
        self._look, self._decided, self._alarming, self._explain = look, decided, alarms, explain
        self._devices, self._hosts = devices, hosts or Hosts()
        self._technicians = technicians or Technicians()
        self._socket = AtSocket(
            technicians=self._technicians,
            on_site=on_site,
            quarantine=quarantine,
            identifying=identifying,
            activities=activities,
            support=support,
        )
        self._writing = writing
        self._identifying = identifying

    def app(self) -> ASGIApp:
        """What is there on TCP: to be read, and to be done with a session."""
        return self._guarded(Starlette(routes=served(self.table())))

    def own_app(self) -> Starlette:
        """What is there at the node's own socket."""
        return Starlette(routes=served(self.own_table()))

    def table(self) -> list[NodeRoute]:
        """The routes on TCP."""
        acts = self._nobody_acts() if self._writing is None else self._writing.table()
        screens = [] if self._screens is None else self._screens.table()
        rows = [*self._readable(), *acts, *screens]
        return [*rows, _described(rows, "tcp")]

    def own_table(self) -> list[NodeRoute]:
        """The routes at the socket."""
        rows = [*self._readable(), *self._socket.table()]
        return [*rows, _described(rows, "socket")]

    def _readable(self) -> list[NodeRoute]:
        held = {200: RouteAnswer("The points, by device.", list[Decided], headers=LEFT_OUT)}
        return [
            NodeRoute(
                path="/health", name="health", summary="How the node is, and each of its devices.",
                handler=self._health,
                answers={200: RouteAnswer("It works, or does with some trouble.", NodeHealth),
                         503: RouteAnswer("Its verdict is `failed`: readings are being lost.", NodeHealth)},
            ),
            NodeRoute(
                path="/metrics", name="metrics", summary="What health knows, for Prometheus.", handler=self._metrics,
                answers={200: RouteAnswer("In the Prometheus text format.", media_type=TEXT)},
            ),
            NodeRoute(
                path="/samples/{device}", name="sample", summary="The last sample of a device.", handler=self._sample,
                params=(DEVICE,), answers={200: RouteAnswer("One, or none yet.", list[Sample]), **NO_DEVICE},
            ),
            NodeRoute(
                path="/control", name="control", summary="What each point should be, and why.", handler=self._control,
                answers=held,
            ),
            NodeRoute(
                path="/control/{device}", name="control_of", summary="The same for one device.",
                handler=self._control, params=(DEVICE,), answers={**held, **NO_DEVICE},
            ),
            NodeRoute(
                path="/alarms", name="alarms", summary="The alarms that stand.", handler=self._alarms,
                answers={200: RouteAnswer("The alarms.", list[Alarm], headers=LEFT_OUT)},
            ),
            NodeRoute(
                path="/rules/{device}", name="rules", summary="Where each rule stands on a device.",
                handler=self._rules, params=(DEVICE,),
                answers={200: RouteAnswer("The rules.", list[Explained], headers=LEFT_OUT), **NO_DEVICE},
            ),
            NodeRoute(
                path="/identify", name="unheard", summary="Devices that were never heard since the start.",
                handler=self._unheard,
                answers={200: RouteAnswer("The devices.", UnheardDevices),
                         **refusals(s404="Nothing is looked for here.")},
            ),
            NodeRoute(
                path="/frames/{device}", name="frames", summary="The last frames of a device, byte by byte.",
                handler=self._frames, params=(DEVICE,),
                answers={200: RouteAnswer("The frames, the newest last.", list[ShownFrame]),
                         **refusals(s404="There is no device of this name, or its driver keeps no frames.")},
            ),
        ]  # fmt: skip

    def _nobody_acts(self) -> list[NodeRoute]:
        no = refusals(s403="It is done at the node's own socket only.")
        one = RouteParam(name="id", what="The order's id.")
        return [
            NodeRoute(method="POST", path="/orders", name="give", summary="Nobody.", handler=self._elsewhere,
                      answers=no),
            NodeRoute(path="/orders/{id}", name="order", summary="Nobody.", handler=self._elsewhere, answers=no,
                      params=(one,)),
        ]  # fmt: skip

    def _guarded(self, app: ASGIApp) -> ASGIApp:
        """The application, for requests that call this node by its name."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return
            named = [value for name, value in scope["headers"] if name == b"host"]
            host = named[0].decode("latin-1") if len(named) == 1 else None  # of two nobody can say which one counts
            why = self._hosts.why_not(host, (scope.get("server") or (None,))[0])
            if why is not None:
                await refusal(why, 421)(scope, receive, send)
            elif (why := foreign(host, [value for name, value in scope["headers"] if name == b"origin"])) is not None:
                await refusal(why, 403)(scope, receive, send)
            elif scope.get("state", {}).get("reserved") and scope["path"] != "/health":
                await busy(scope)(scope, receive, send)
            else:
                await app(scope, receive, send)

        return guarded

    async def _health(self, _request: Request) -> Response:
        found = await self._look()
        whole = NodeHealth(**msgspec.structs.asdict(found), device_states=self._states())
        return json_answer(whole, 503 if found.verdict == "failed" else 200)

    async def _metrics(self, _request: Request) -> Response:
        metrics = await asyncio.to_thread(import_module, "edge.web.metrics")
        found = await self._look()
        content = await asyncio.to_thread(metrics.text, found, self._states(), self._node)
        return Response(content, 200, {"Cache-Control": "no-store", "Content-Type": metrics.CONTENT_TYPE})

    async def _sample(self, request: Request) -> Response:
        device: str = request.path_params["device"]
        if device not in self._devices:
            return self._unknown(device)
        sample = self._sample_of(device)
        return json_answer([] if sample is None else [sample])

    async def _control(self, request: Request) -> Response:
        device: str | None = request.path_params.get("device")
        if device is not None and device not in self._devices:
            return self._unknown(device)
        found: list[Decided] = []
        for n, each in enumerate(self._decided()):
            if device in (None, each.device):
                found.append(each)
            if n % TURN_ITEMS == 0:
                await asyncio.sleep(0)
        return listed(found)

    async def _alarms(self, _request: Request) -> Response:
        return listed(self._alarming())

    async def _rules(self, request: Request) -> Response:
        device: str = request.path_params["device"]
        return listed(self._explain(device)) if device in self._devices else self._unknown(device)

    async def _unheard(self, _request: Request) -> Response:
        return refusal("nothing is looked for here", 404) if self._identifying is None else self._identifying.unheard()

    async def _frames(self, request: Request) -> Response:
        device: str = request.path_params["device"]
        if device not in self._devices or self._identifying is None:
            return self._unknown(device)
        return self._identifying.frames(device)

    async def _elsewhere(self, _request: Request) -> Response:
        return refusal(self._technicians.why_not(None) or "", 403)

    def _unknown(self, device: str) -> Response:
        near = suggest(device[:64], self._devices)[:MAX_NEAR_CHARS]
        return refusal(f'there is no device "{device[:64]}"{near}', 404)


def _described(rows: Sequence[NodeRoute], where: str) -> NodeRoute:
    """The row of the description of a table, with itself in it."""
    made: list[bytes] = []

    async def described(_request: Request) -> Response:
        if not made:
            openapi = await asyncio.to_thread(import_module, "edge.web.openapi")
            made.append(await asyncio.to_thread(openapi.document, [*rows, row], where=where))
        return Response(made[0], 200, {"Cache-Control": "no-cache"}, JSON)

    row = NodeRoute(
        path="/openapi.json", name="openapi", summary="This description, in OpenAPI 3.1.", handler=described,
        answers={200: RouteAnswer("The description.", dict[str, Any])},
    )  # fmt: skip
    return row
