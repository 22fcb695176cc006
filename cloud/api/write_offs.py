"""Write-offs over HTTP (`cloud.records.write_offs`)."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.responses import Response

from cloud.api.json_body import BodiesInHand, body_of, read
from cloud.api.routes import ORDERERS, Answer, Asked, Param, Route, json_response, problem_answers
from cloud.problem import bad_request
from cloud.records.write_offs import WriteOffStore
from cloud.times import Now
from cloud.views.answers import WrittenOff
from wire.batch import Lane
from wire.entries import Text

_REFUSED: Final = problem_answers(
    s404="There is no such run.",
    s408="The body did not arrive in time.",
    s413="The body is too large.",
    s415="The body is no JSON by its type.",
    s422="The run is not one whose end is unknown; `detail` says what it is.",
)


class WriteOffGiven(msgspec.Struct, frozen=True, kw_only=True):
    """Why it is written off."""

    note: Text = ""


class WriteOffs:
    """The route."""

    def __init__(self, store: WriteOffStore, now: Now) -> None:
        self._store = store
        self._now = now
        self._door = BodiesInHand()

    def routes(self) -> list[Route]:
        """The rows of the table."""
        return [
            Route(
                method="POST",
                path="/v1/nodes/{node}/runs/{lane}/{epoch}/write-off",
                name="write_off",
                summary="Write off a run that is unfinished or whose end is unknown.",
                roles=ORDERERS,
                handler=self._write_off,
                params=(
                    Param(name="node", at="path", what="Its node."),
                    Param(name="lane", at="path", what="Its lane.", schema={"enum": [lane.value for lane in Lane]}),
                    Param(name="epoch", at="path", what="Its epoch, as the ledger has it."),
                ),
                takes=WriteOffGiven,
                answers={200: Answer(what="It is written off.", body=WrittenOff), **_REFUSED},
            )
        ]

    async def _write_off(self, asked: Asked) -> Response:
        with self._door.open(asked.token):
            given = read(await body_of(asked.request), WriteOffGiven)
        lane, epoch = asked.path("lane"), asked.path("epoch")
        if lane not in set(Lane):
            raise bad_request(f"lane is {lane[:50]!r}; there are {', '.join(Lane)}")
        if not (epoch.isascii() and epoch.isdecimal() and len(epoch) <= 19):
            raise bad_request(f"epoch is {epoch[:50]!r}; it is a number, as the ledger has it")
        done = await self._store.write_off(
            asked.path("node"), Lane(lane), int(epoch), asked.by, self._now(), given.note
        )
        return json_response(done)
