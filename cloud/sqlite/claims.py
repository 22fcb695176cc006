"""Claims in SQLite: who holds a device is decided in `cloud.sqlite.view_builder`. Promises and bounds:
`cloud.records.claims`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence

from cloud.log.notices import Finding
from cloud.problem import Problem, or_raise
from cloud.records.claims import (
    CONFLICTS,
    MAX_ASSIGNED,
    PAIRS,
    Assignment,
    AssignmentsPage,
    never_heard,
    no_room,
    not_assigned,
)
from cloud.sqlite.readers import Readers
from cloud.sqlite.view_builder import claims_of, owners
from cloud.sqlite.writer import NoteIn, Writer
from cloud.times import text
from wire.time import Utc


class SqliteClaims:
    """On the event loop; owns neither writer nor readers."""

    def __init__(self, writer: Writer, readers: Readers, note_in: NoteIn, grow: Callable[[int], None]) -> None:
        self._writer = writer
        self._readers = readers
        self._note_in = note_in
        self._grow = grow
        self._barred: frozenset[str] | None = None

    async def assign(self, device: str, node: str | None, by: str, now_us: Utc) -> Assignment:
        """See `Claims.assign`."""

        def work(connection: sqlite3.Connection) -> Problem | int:
            if node is None:
                if not connection.execute("DELETE FROM assignments WHERE device = ?", (device,)).rowcount:
                    return not_assigned(device)
            else:
                if connection.execute("SELECT 1 FROM nodes WHERE name = ?", (node,)).fetchone() is None:
                    return never_heard(node)
                (count,) = connection.execute(
                    "SELECT count(*) FROM assignments WHERE device <> ?", (device,)
                ).fetchone()
                if count >= MAX_ASSIGNED:
                    return no_room(count)
                connection.execute("INSERT OR REPLACE INTO assignments VALUES (?, ?, ?, ?)", (device, node, by, now_us))
            holds = owners(claims_of(connection, device))
            told = node or (holds[0] if holds else "")
            detail = {"device": device, "assigned_to": node, "by": by}
            return self._note_in(connection, [Finding(node=told, kind="assigned", time_us=now_us, detail=detail)])

        def committed(done: Problem | int) -> None:
            if isinstance(done, int):
                self._grow(done)

        done = await self._writer.do(work, committed)
        or_raise(done)
        return Assignment(device=device, node=node, by=by, time=text(now_us), time_us=now_us)

    async def page(self, after: str, limit: int) -> AssignmentsPage:
        """See `Claims.page`."""

        def query(connection: sqlite3.Connection) -> list[tuple[str, str, str, Utc]]:
            return connection.execute(
                "SELECT device, node, by, time_us FROM assignments WHERE device > ? ORDER BY device LIMIT ?",
                (after, limit + 1),
            ).fetchall()

        rows = await self._readers.ask(query)
        found = tuple(Assignment(device=d, node=n, by=by, time=text(at), time_us=at) for d, n, by, at in rows[:limit])
        return AssignmentsPage(assignments=found, next=found[-1].device if len(rows) > limit else None)

    async def bar(self, nodes: Collection[str]) -> None:
        """See `Claims.bar`."""
        barred = frozenset(nodes)
        if barred == self._barred:
            return

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM barred")
            connection.executemany("INSERT INTO barred VALUES (?)", ((name,) for name in sorted(barred)))

        await self._writer.do(work)
        self._barred = barred

    async def doubled(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """See `Claims.doubled`."""
        return await self._readers.ask(_pairs)


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
