"""Claims: which node a device belongs to, where several name it, and what an operator has decided about that.

The first holder keeps a device (`cloud.sqlite.view_builder`). An operator may assign it to a node: then it is that
node's, whoever else names it, also before the node has named it itself. A node all of whose tokens were revoked is
barred: it holds no claim. Both are truth, which no rebuild drops; an assignment has its author and time, and is told in
the feed.

Bounds: MAX_ASSIGNED assignments; CONFLICTS devices that several nodes hold are looked at, and each pair of nodes has
one alarm, PAIRS at most.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.responses import Response

from cloud.alarms.own_alarms import Condition
from cloud.alarms.own_texts import Texts
from cloud.api import json_body
from cloud.api.routes import JSON, ORDERERS, READERS, Answer, Asked, Param, Route, json_response, problem_answers
from cloud.log.notices import Finding
from cloud.problem import Problem, not_found
from cloud.sqlite.orders import NoteIn
from cloud.sqlite.readers import Readers
from cloud.sqlite.view_builder import claims_of, owners
from cloud.sqlite.writer import Writer
from cloud.times import Now, text

MAX_ASSIGNED: Final = 100_000
CONFLICTS: Final = 1_000
PAIRS: Final = 200
SHOWN: Final = 3

_COUNT: Final[dict[str, object]] = {"type": "integer", "minimum": 1, "maximum": 1_000}
Id = Annotated[str, Meta(min_length=1, max_length=200)]


class AssignmentGiven(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Let a device belong to a node; to whoever holds it by itself where node is null."""

    device: Id
    node: Id | None


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """Which node a device was assigned to, by whom and when."""

    device: str
    node: str | None
    by: str
    time: str
    time_us: int


class AssignmentsPage(msgspec.Struct, frozen=True, kw_only=True):
    """All that stand, by device; `next` is where to go on."""

    assignments: tuple[Assignment, ...]
    next: str | None


class Claims:
    """On the event loop; owns neither writer nor readers."""

    def __init__(self, writer: Writer, readers: Readers, note_in: NoteIn, grow: Callable[[int], None]) -> None:
        self._writer = writer
        self._readers = readers
        self._note_in = note_in
        self._grow = grow
        self._barred: frozenset[str] | None = None

    async def assign(self, device: str, node: str | None, by: str, now_us: int) -> Assignment:
        """Assign, reassign, or take an assignment back.

        Raises:
            Problem: there is no such node, no such assignment, or no room.
            Unavailable.
        """

        def work(connection: sqlite3.Connection) -> Problem | int:
            if node is None:
                if not connection.execute("DELETE FROM assignments WHERE device = ?", (device,)).rowcount:
                    return not_found(f"device {device[:200]!r} is assigned to no node")
            else:
                if connection.execute("SELECT 1 FROM nodes WHERE name = ?", (node,)).fetchone() is None:
                    return not_found(f"no node {node[:200]!r} was ever heard")
                (count,) = connection.execute("SELECT count(*) FROM assignments").fetchone()
                if count >= MAX_ASSIGNED:
                    return Problem(422, "too-many", f"{count} devices are assigned; no more are kept")
                connection.execute("INSERT OR REPLACE INTO assignments VALUES (?, ?, ?, ?)", (device, node, by, now_us))
            holds = owners(claims_of(connection, device))
            told = node or (holds[0] if holds else "")
            detail = {"device": device, "assigned_to": node, "by": by}
            return self._note_in(connection, [Finding(node=told, kind="assigned", time_us=now_us, detail=detail)])

        def committed(done: Problem | int) -> None:
            if isinstance(done, int):
                self._grow(done)

        done = await self._writer.do(work, committed)
        if isinstance(done, Problem):
            raise done
        return Assignment(device=device, node=node, by=by, time=text(now_us), time_us=now_us)

    async def page(self, after: str, limit: int) -> AssignmentsPage:
        """Those that stand, by device."""

        def query(connection: sqlite3.Connection) -> list[tuple[str, str, str, int]]:
            return connection.execute(
                "SELECT device, node, by, time_us FROM assignments WHERE device > ? ORDER BY device LIMIT ?",
                (after, limit + 1),
            ).fetchall()

        rows = await self._readers.ask(query)
        found = tuple(Assignment(device=d, node=n, by=by, time=text(at), time_us=at) for d, n, by, at in rows[:limit])
        return AssignmentsPage(assignments=found, next=found[-1].device if len(rows) > limit else None)

    async def bar(self, nodes: Collection[str]) -> None:
        """These nodes, and no others, hold no claim."""
        barred = frozenset(nodes)
        if barred == self._barred:
            return

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM barred")
            connection.executemany("INSERT INTO barred VALUES (?)", ((name,) for name in sorted(barred)))

        await self._writer.do(work)
        self._barred = barred

    async def conflicts(self) -> dict[str, Condition]:
        """A condition for each two nodes that hold the same devices, by the id of its alarm."""
        pairs = await self._readers.ask(_pairs)
        return {c.id: c for (owner, other), devices in pairs.items() if (c := _conflict(owner, other, devices))}


def _pairs(connection: sqlite3.Connection) -> dict[tuple[str, str], list[str]]:
    pairs: dict[tuple[str, str], list[str]] = {}
    doubled = connection.execute(
        "SELECT id FROM devices GROUP BY id HAVING count(*) > 1 ORDER BY id LIMIT ?", (CONFLICTS,)
    )
    for (device,) in doubled.fetchall():
        holds = owners(claims_of(connection, device))
        for other in holds[1:]:
            if (holds[0], other) in pairs or len(pairs) < PAIRS:
                pairs.setdefault((holds[0], other), []).append(device)
    return pairs


def _conflict(owner: str, other: str, devices: list[str]) -> Condition:
    more = len(devices) - SHOWN
    named = ", ".join(devices[:SHOWN])
    texts: Texts = {
        "en": f"{owner} and {other} both name {named}{f' and {more} more' if more > 0 else ''}: orders go to {owner},"
        " until an operator assigns the device",
        "fr": f"{owner} et {other} nomment tous deux {named}{f' et {more} autres' if more > 0 else ''} : les ordres"
        f" vont à {owner}, tant qu'un opérateur n'a pas attribué l'appareil",
    }
    values = {"devices": len(devices), "owner": owner, "other": other}
    return Condition(f"aggregator:conflict:{owner}:{other}", owner, "conflict", texts, values)


class ClaimRoutes:
    """How operators see and make assignments."""

    def __init__(self, claims: Claims, door: json_body.Door, now: Now) -> None:
        self._claims = claims
        self._door = door
        self._now = now

    def routes(self) -> list[Route]:
        """The rows of the table."""
        return [
            Route(
                method="POST",
                path="/v1/assignments",
                name="assign",
                summary="Let a device belong to a node, whoever else names it; with node null, take that back.",
                roles=ORDERERS,
                handler=self._assign,
                bodies=(JSON,),
                takes=AssignmentGiven,
                answers={
                    200: Answer(what="Done, and told in the feed.", body=Assignment),
                    **problem_answers(
                        s404="No such node or assignment.",
                        s408="Too slow.",
                        s413="Too large.",
                        s415="No JSON.",
                        s422="There are too many.",
                    ),
                },
            ),
            Route(
                method="GET",
                path="/v1/assignments",
                name="assignments",
                summary="The devices that operators have assigned, with who did it and when.",
                roles=READERS,
                handler=self._page,
                params=(
                    Param(name="limit", what="How many at most; 100 when not json_body.", schema=_COUNT),
                    Param(name="cursor", what="`next` of the page before."),
                ),
                answers={200: Answer(what="A page, by device.", body=AssignmentsPage)},
            ),
        ]

    async def _assign(self, asked: Asked) -> Response:
        with self._door.open(asked.token):
            wanted = json_body.read(await json_body.body_of(asked.request), AssignmentGiven)
            return json_response(await self._claims.assign(wanted.device, wanted.node, asked.by, self._now()))

    async def _page(self, asked: Asked) -> Response:
        return json_response(await self._claims.page(asked.one("cursor") or "", asked.number("limit", 100, 1, 1_000)))
