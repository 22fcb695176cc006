"""Ingest: what nodes send, checked and put into the log, and the answer to it.

A batch is answered 200 when it was taken and 409 when the one rule did not take it, or when it leans on a body that is
not here any more (`wire.chain`); both carry the same ack and nothing else may be read as one. A chained body is written
out in full before it is looked at. A token is of one node: path, batch and token must agree.

Bounds: those of `cloud.ingest.bodies` while a body arrives; those of `cloud.ingest.opening` for what is open at a time,
beside the event loop; those of `cloud.entrance.quota` for what a node may bring in a day. From PAUSE_FROM waiting on,
the ack asks for a pause.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Final

from starlette.responses import Response

from cloud.api.routes import NODES, OVER_QUOTA, Answer, Asked, Param, Route, problem_answers
from cloud.entrance.quota import Quota, Used
from cloud.ingest import opening
from cloud.ingest.bases import Bases
from cloud.ingest.bodies import Bodies
from cloud.ingest.opening import Opened, Opening, batch_of, batch_on, chained_of, size_of, snapshot_of
from cloud.log.contract import Log
from cloud.log.streams import LogPosition
from cloud.metrics import Metrics
from cloud.problem import Problem, bad_request
from cloud.times import Now
from cloud.views.contract import Views
from cloud.views.watching import Watching
from wire.batch import GENERATION_HEADER, Ack, Lane
from wire.chain import Chained
from wire.codec import ACCEPTS, MAX_BODY_BYTES, encode_ack
from wire.errors import BadInput

BATCH_TYPE: Final = "application/vnd.lamplighter.batch+cbor"
ACK_TYPE: Final = "application/vnd.lamplighter.ack+cbor"
CHAINED_TYPE: Final = "application/vnd.lamplighter.chained+cbor"
SNAPSHOT_TYPE: Final = "application/vnd.lamplighter.snapshot+cbor"

PAUSE_FROM: Final = 128
PAUSE_MOST_S: Final = 30.0

_NODE: Final = Param(name="node", at="path", what="The node whose token is used.")
_REFUSED: Final = problem_answers(
    s400="Malformed: these bytes will never be taken.",
    s408="The body did not arrive in time.",
    s413=f"Too large: a body has at most {MAX_BODY_BYTES} bytes, and bounds once expanded.",
    s429="The node has used up its quota for now, or has too much in hand; `detail` says of what.",
    s415="Unsupported: `accepts` names the versions that are spoken here.",
)


async def nothing_heard(_node: str, _generation: int) -> None:
    """Take no notice."""


class Ingest:
    """The routes of the nodes."""

    def __init__(
        self,
        log: Log,
        views: Views,
        watching: Watching,
        metrics: Metrics,
        quota: Quota,
        now: Now,
        hear: Callable[[str, int], Awaitable[None]] = nothing_heard,
    ) -> None:
        """`hear` is called with the generation that a node knows, before it is answered."""
        self._log = log
        self._hear = hear
        self._views = views
        self._watching = watching
        self._metrics = metrics
        self._now = now
        self._bodies = Bodies()
        self._bases = Bases()
        self._quota = quota
        self._opening = Opening()
        self._waiting = 0

    def routes(self) -> list[Route]:
        """The rows of the table."""
        ack = {200: Answer(what="Where the log stands; the batch was taken.", media_type=ACK_TYPE)}
        stands = {409: Answer(what="Where the log stands; nothing was changed.", media_type=ACK_TYPE)}
        return [
            Route(
                method="POST",
                path="/v1/nodes/{node}/batches",
                name="append",
                summary="Append a batch to the log, durable before the answer.",
                roles=NODES,
                handler=self._append,
                params=(_NODE,),
                bodies=(BATCH_TYPE, CHAINED_TYPE),
                answers={**ack, **stands, **_REFUSED},
            ),
            Route(
                method="GET",
                path="/v1/nodes/{node}/place",
                name="place",
                summary="Where the log stands for one lane of one epoch.",
                roles=NODES,
                handler=self._place,
                params=(
                    _NODE,
                    Param(name="epoch", what="The epoch.", schema={"type": "integer", "minimum": 0}),
                    Param(name="lane", what="The lane.", schema={"enum": [lane.value for lane in Lane]}),
                ),
                answers={200: Answer(what="Where the log stands.", media_type=ACK_TYPE), **OVER_QUOTA},
            ),
            Route(
                method="POST",
                path="/v1/nodes/{node}/snapshot",
                name="snapshot",
                summary="Each device's last sample after an outage; touches only what is latest.",
                roles=NODES,
                handler=self._snapshot,
                params=(_NODE,),
                bodies=(SNAPSHOT_TYPE,),
                answers={204: Answer(what="Taken.", media_type=""), **_REFUSED},
            ),
        ]

    async def _append(self, asked: Asked) -> Response:
        node = _own_node(asked)
        self._quota.check(node)
        self._waiting += 1
        try:
            with self._bodies.of(node) as arriving:
                body = await arriving.read(asked.request, BATCH_TYPE, CHAINED_TYPE)
                since = monotonic()
                spent = partial(self._spent, node)
                chained = None
                if arriving.media_type == CHAINED_TYPE:
                    chained = await self._opening.lane(len(body)).do(partial(chained_of, body), spent)
                size = size_of(body if chained is None else chained.frame)
                lane = self._opening.lane(size)
                async with lane.room(size):
                    opened = await self._opened(lane, node, body, chained, spent)
                    if opened is None:
                        assert chained is not None
                        self._metrics.not_taken()
                        place = await self._log.place(node, chained.epoch, chained.lane)
                        return self._answer(409, node, place, since)
                    _same_node(node, opened.batch.node)
                    await self._hear(node, _generation(asked))
                    taken = await self._log.append(opened.batch, opened.facts, opened.body)
        except BadInput as error:
            self._metrics.refused(type(error).__name__)
            raise
        finally:
            self._waiting -= 1
        if taken.position is None:
            self._metrics.not_taken()
            return self._answer(409, node, taken.place, since)
        lane, facts = opened.batch.lane, opened.facts
        if opened.body is body:  # it came in full
            self._bases.keep(node, lane, body)
        self._quota.use(node, Used(size_bytes=len(opened.body), readings=facts.readings))
        self._metrics.taken(lane.value, facts.samples, facts.readings, len(opened.body))
        return self._answer(200, node, taken.place, since)

    async def _opened(
        self, lane: opening.OpeningLane, node: str, body: bytes, chained: Chained | None, spent: Callable[[float], None]
    ) -> Opened | None:
        """The batch; None where it leans on a body that is not here."""
        if chained is None:
            return await lane.do(partial(batch_of, body), spent)
        base = self._bases.of(node, chained.lane)
        return None if base is None else await lane.do(partial(batch_on, chained, base), spent)

    def _spent(self, node: str, work_s: float) -> None:
        self._quota.use(node, Used(work_s=work_s))

    async def _place(self, asked: Asked) -> Response:
        node = _own_node(asked)
        self._quota.asks(node)
        if asked.one("epoch") is None:
            raise bad_request("epoch is missing")
        epoch = asked.number("epoch", 0, 0, 2**63 - 1)
        lane = asked.one("lane")
        if lane not in set(Lane):
            raise bad_request(f"lane is {lane!r}; there are {', '.join(Lane)}")
        await self._hear(node, _generation(asked))
        return self._answer(200, node, await self._log.place(node, epoch, Lane(lane)), monotonic())

    async def _snapshot(self, asked: Asked) -> Response:
        node = _own_node(asked)
        self._quota.check(node)
        with self._bodies.of(node) as arriving:
            body = await arriving.read(asked.request, SNAPSHOT_TYPE)
            size = size_of(body)
            lane = self._opening.lane(size)
            async with lane.room(size):
                snapshot = await lane.do(partial(snapshot_of, body), partial(self._spent, node))
                _same_node(node, snapshot.node)
                await self._views.fresh(snapshot)
        return Response(status_code=204)

    def _answer(self, status: int, node: str, place: LogPosition, since: float) -> Response:
        """`since` is when the request was all here, on the monotonic clock."""
        over = self._waiting - PAUSE_FROM
        ack = Ack(
            generation=self._log.generation,
            epoch=place.epoch,
            lane=place.lane,
            through_seq=place.through_seq,
            digest=place.digest,
            accepts=ACCEPTS,
            server_us=self._now(),
            pause_s=min(PAUSE_MOST_S, 1.0 + over / PAUSE_FROM) if over > 0 else 0,
            live_s=self._watching.live_s(node),
            held_s=round(monotonic() - since, 3),
            head_seq=place.head_seq,
        )
        return Response(encode_ack(ack), status, media_type=ACK_TYPE)


def _generation(asked: Asked) -> int:
    """The generation that the node knows; 0 where it says none that could be."""
    text = asked.request.headers.get(GENERATION_HEADER, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 19 else 0


def _own_node(asked: Asked) -> str:
    node = asked.path("node")
    if asked.grant is None or asked.grant.node != node:
        raise Problem(403, "forbidden", f"the token is not one of node {node}")
    return node


def _same_node(path: str, body: str) -> None:
    if path != body:
        raise Problem(403, "forbidden", f"the body is of node {body}, the path of node {path}")
