"""Write-offs: an operator settles a run whose end will never be known. It stays in the ledger, and what is missing of
it stays missing; it is no longer among what waits for somebody.

Who, when and why is durable, with its notice in the feed, before the answer; it is truth that no rebuild drops. The
first write-off of a run stands: asked again, it is answered again.

Bounds: one a run, and a node has at most MAX_EPOCHS runs a lane (`cloud.sqlite.interned`); a note of 2,000 characters.
"""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec
from starlette.responses import Response

from cloud.api.json_body import Door, body_of, read
from cloud.api.routes import ORDERERS, Answer, Asked, Param, Route, json_response, problem_answers
from cloud.log.notices import Finding
from cloud.problem import Problem, bad_request, not_found
from cloud.sqlite.interned import load_streams
from cloud.sqlite.log import SqliteLog
from cloud.sqlite.orders import NoteIn
from cloud.sqlite.writer import Writer
from cloud.times import Now, text
from cloud.views.answers import WrittenOff
from cloud.views.runs import states_of
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

    def __init__(self, writer: Writer, log: SqliteLog, now: Now) -> None:
        self._writer = writer
        self._note_in: NoteIn = log.note_in
        self._grow = log.grow
        self._now = now
        self._door = Door()

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
        node, by, now_us = asked.path("node"), asked.by, self._now()

        def work(connection: sqlite3.Connection) -> tuple[WrittenOff | Problem, int]:
            return _written_off(connection, self._note_in, (node, Lane(lane), int(epoch)), (by, now_us, given.note))

        def committed(done: tuple[WrittenOff | Problem, int]) -> None:
            self._grow(done[1])

        done, _ = await self._writer.do(work, committed)
        if isinstance(done, Problem):
            raise done
        return json_response(done)


def _written_off(
    connection: sqlite3.Connection, note_in: NoteIn, run: tuple[str, Lane, int], act: tuple[str, int, str]
) -> tuple[WrittenOff | Problem, int]:
    (node, lane, epoch), (by, now_us, note) = run, act
    streams = load_streams(connection, node)
    stream = next((s for s in streams if (s.lane, s.epoch) == (lane, epoch)), None)
    if stream is None:
        return not_found(f"node {node[:100]!r} has no run of the {lane.value} lane with epoch {epoch}"), 0
    before = connection.execute(
        "SELECT by_whom, time_us, note FROM written_off WHERE stream_no = ?", (stream.order,)
    ).fetchone()
    if before is not None:
        return WrittenOff(by=before[0], time=text(before[1]), note=before[2]), 0
    state = states_of(streams)[stream.order]
    if state not in {"unfinished", "unknown"}:
        return Problem(422, "not-possible", f"the run is {state}: only one whose end is unknown is written off"), 0
    connection.execute("INSERT INTO written_off VALUES (?, ?, ?, ?)", (stream.order, by, now_us, note))
    detail = {"epoch": epoch, "lane": lane.value, "by": by, "note": note}
    head = note_in(connection, [Finding(node=node, kind="written_off", time_us=now_us, detail=detail)])
    return WrittenOff(by=by, time=text(now_us), note=note), head
