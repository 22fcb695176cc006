"""Why: who decides on a device, asked from the city.

A node that says so on its downlink is asked, and has ASK_S to answer; it says all that it knows. Where it has no
downlink open, cannot be asked or does not answer, what it told last is shown, with its age and the reason: who wins,
and nothing of what lies below. Neither questions nor answers are kept.

Bounds: AT_ONCE questions are on their way, and of one node as many as `cloud.orders.downlink` lets wait; who asks the
same at the same time waits for the same answer. An answer has MAX_ANSWER_BYTES, and nobody has to wait for it any more.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

import msgspec
from starlette.responses import Response

from cloud.api import json_body
from cloud.api.routes import (
    JSON,
    NODES,
    OVER_QUOTA,
    READERS,
    Answer,
    Asked,
    Param,
    Route,
    json_response,
    problem_answers,
)
from cloud.orders.downlink import Downlink
from cloud.problem import Problem, not_found
from cloud.times import Now
from cloud.views import why
from cloud.views.answers import DeviceDetail
from cloud.views.contract import ReadViews
from cloud.views.reports import visit_seen
from cloud.views.visits import MAX_LOOKED, NEWEST, technicians
from cloud.views.why import AtCabinet, WhySeen
from groundwork.nearest import did_you_mean
from wire.errors import Malformed, TooLarge
from wire.why import MAX_ANSWER_BYTES, AskWhy, WhyAnswer

ASK_S: Final = 3.0
AT_ONCE: Final = 256
MAX_ACTS: Final = 10
MAX_SHOWN: Final = 100  # characters of a name that is wrong

_Key = tuple[str, str]  # node, device


class Whys:
    """The questions that wait for an answer, and the routes. On the event loop."""

    def __init__(
        self, views: ReadViews, downlink: Downlink, now: Now, asks: Callable[[str], None], ask_s: float = ASK_S
    ) -> None:
        """`asks` counts a request of a node, and raises a Problem where it has none left (`cloud.entrance.quota`)."""
        self._views, self._downlink, self._now, self._asks, self._ask_s = views, downlink, now, asks, ask_s
        self._waiting: dict[_Key, tuple[str, asyncio.Future[WhyAnswer | None]]] = {}
        self._bodies = json_body.BodiesInHand()

    def routes(self) -> list[Route]:
        """The rows of the table; before that of the device, for an id may hold slashes."""
        return [
            Route(
                method="GET",
                path="/v1/devices/{device:path}/why",
                name="why",
                summary="Who decides what a device's writable points are set to, asked of its node.",
                roles=READERS,
                handler=self._why,
                params=(
                    Param(name="device", at="path", what="The device's id."),
                    Param(name="node", what="Only under this node."),
                ),
                answers={
                    200: Answer(what="What the node says, or what it told last.", body=WhySeen),
                    **problem_answers(s404="No such device."),
                },
            ),
            Route(
                method="POST",
                path="/v1/nodes/{node}/answers",
                name="answers",
                summary="What a node answers to a question that came down to it.",
                roles=NODES,
                handler=self._answered,
                params=(Param(name="node", at="path", what="The node whose token is used."),),
                bodies=(JSON,),
                takes=WhyAnswer,
                answers={
                    204: Answer(what="It was heard; perhaps nobody waits for it any more.", media_type=""),
                    **problem_answers(s400="It is no answer.", s408="Too slow.", s413="Too large.", s415="No JSON."),
                    **OVER_QUOTA,
                },
            ),
        ]

    async def _why(self, asked: Asked) -> Response:
        device, under = asked.path("device"), asked.one("node")
        found = await self._views.device(device, under)
        if found is None:
            near = await self._views.near(device)
            of = "there is no device" if under is None else f"node {under[:MAX_SHOWN]!r} has no device"
            raise not_found(f"{of} {device[:MAX_SHOWN]!r}" + did_you_mean(near))
        answer, note = await self._ask(found.device.node, device)
        return json_response(await self._seen(found, answer, note))

    async def _seen(self, found: DeviceDetail, answer: WhyAnswer | None, note: str) -> WhySeen:
        node, device = found.device.node, found.device.id
        fixes, now_us = await self._views.fixes(node), self._now()
        lasting = await self._views.visits(node, NEWEST, MAX_LOOKED, acted=False)
        acted = [at.visit for at in await self._views.visits(node, NEWEST, MAX_LOOKED) if at.visit.device == device]
        there = AtCabinet(
            technicians((at.visit for at in lasting), fixes, now_us),
            tuple(visit_seen(node, visit, fixes) for visit in acted[:MAX_ACTS]),
        )
        if answer is None:
            return why.told(found, note, now_us, there)
        return why.answered(found, answer, fixes, now_us, there)

    async def _ask(self, node: str, device: str) -> tuple[WhyAnswer | None, str]:
        """What the node answers; or why it does not."""
        key = (node, device)
        waiting = self._waiting.get(key)
        if waiting is None:
            if not self._downlink.reachable(node):
                return None, f"node {node} has no downlink open now"
            if not self._downlink.answers(node):
                return None, f"node {node} cannot be asked: its version does not answer, or it asks only now and then"
            name = f"w-{secrets.token_hex(12)}"
            if len(self._waiting) >= AT_ONCE or not self._downlink.ask(node, AskWhy(id=name, device=device)):
                return None, f"node {node} was not asked: too many questions are on their way"
            waiting = self._waiting[key] = (name, asyncio.get_running_loop().create_future())
            asyncio.get_running_loop().call_later(self._ask_s, self._forget, key, name)
        answer = await asyncio.shield(waiting[1])  # whoever leaves takes nothing away from those who wait for the same
        if answer is None:
            return None, f"node {node} did not answer within {self._ask_s:g} s"
        return (answer, "") if answer.known else (None, f"node {node} does not have this device now")

    def _forget(self, key: _Key, name: str) -> None:
        waiting = self._waiting.get(key)
        if waiting is not None and waiting[0] == name:
            del self._waiting[key]
            waiting[1].set_result(None)

    async def _answered(self, asked: Asked) -> Response:
        node, grant = asked.path("node"), asked.grant
        if grant is None or grant.node != node:
            raise Problem(403, "forbidden", f"the token is not one of node {node}")
        self._asks(node)
        with self._bodies.open(asked.token):
            body = await json_body.body_of(asked.request)
        if len(body) > MAX_ANSWER_BYTES:
            raise TooLarge(f"an answer of {len(body)} bytes; at most {MAX_ANSWER_BYTES}")
        try:
            answer = msgspec.json.decode(body, type=WhyAnswer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Malformed(f"the answer: {error}") from error
        why.check(answer)
        self.heard(node, answer)
        return Response(status_code=204)

    def heard(self, node: str, answer: WhyAnswer) -> None:
        """A node has answered; perhaps nobody waits for it any more."""
        waiting = self._waiting.get((node, answer.device))
        if waiting is not None and waiting[0] == answer.id:
            del self._waiting[node, answer.device]
            waiting[1].set_result(answer)
