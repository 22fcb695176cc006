"""The aggregator's own alarms in SQLite. Promises and bounds: `cloud.records.own_alarms`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from cloud.log.notices import Notice, Told
from cloud.problem import Problem, or_raise
from cloud.records.keys import Answered, Keyed
from cloud.records.own_alarms import LOOKED, Happened, Lost
from cloud.sqlite import database, keys
from cloud.sqlite.readers import Readers
from cloud.sqlite.writer import NoteIn, Writer
from wire.entries import Alarm, Gap

MARK: Final = "alarms_mark"


class SqliteOwnAlarms:
    """Owns neither writer nor readers; `cloud.store` does."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        note_in: NoteIn,
        grow: Callable[[int], None],
        stood: Mapping[str, Alarm],
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._note_in = note_in
        self._grow = grow
        self._stood = stood

    @property
    def stood(self) -> Mapping[str, Alarm]:
        """See `OwnAlarmStore.stood`."""
        return self._stood

    async def happened(self) -> Happened:
        """See `OwnAlarmStore.happened`."""
        return await self._readers.ask(_happened)

    async def answered(self, keyed: Keyed) -> Answered | None:
        """See `OwnAlarmStore.answered`."""
        return or_raise(await self._readers.ask(lambda connection: keys.answered(connection, keyed)))

    async def keep(
        self,
        changes: Sequence[Alarm],
        told: Sequence[Told],
        through: int | None,
        answer: tuple[Keyed, Answered] | None = None,
    ) -> Answered | None:
        """See `OwnAlarmStore.keep`."""

        def work(connection: sqlite3.Connection) -> tuple[Answered | Problem | None, int]:
            if answer is not None:
                if (before := keys.answered(connection, answer[0])) is not None:
                    return before, 0
                keys.keep(connection, *answer, changes[0].time_us)
            for alarm in changes:
                if alarm.state == "cleared":
                    connection.execute("DELETE FROM own_alarms WHERE id = ?", (alarm.id,))
                else:
                    body = msgspec.json.encode(alarm)
                    connection.execute("INSERT OR REPLACE INTO own_alarms VALUES (?, ?)", (alarm.id, body))
            if through is not None:
                database.put_meta(connection, MARK, through)
            return None, self._note_in(connection, told)

        def committed(done: tuple[Answered | Problem | None, int]) -> None:
            if done[0] is None:
                self._grow(done[1])

        return or_raise((await self._writer.do(work, committed))[0])


def load(connection: sqlite3.Connection, damage: list[str]) -> dict[str, Alarm]:
    """The alarms that stood when the store was closed, as far as they can be read."""
    rows = database.readable(connection, "SELECT id, body FROM own_alarms", (), "own_alarms", damage)
    return {name: msgspec.json.decode(body, type=Alarm) for name, body in rows}


def _happened(connection: sqlite3.Connection) -> Happened:
    mark = database.meta(connection, MARK)
    (head,) = connection.execute("SELECT ifnull(max(position), 0) FROM log").fetchone()
    gaps = connection.execute(
        "SELECT position, name, total(lost), max(body) FROM gaps JOIN nodes USING (node_no)"
        " WHERE position > ? AND lost > 0 GROUP BY position ORDER BY position LIMIT ?",
        (mark, LOOKED),
    ).fetchall()
    notices = connection.execute(
        "SELECT position, body FROM log WHERE stream_no IS NULL AND position > ? ORDER BY position LIMIT ?",
        (mark, LOOKED),
    ).fetchall()
    cut = [rows[-1][0] for rows in (gaps, notices) if len(rows) == LOOKED]
    through = min(cut, default=head)
    lost = (
        Lost(node, msgspec.json.decode(body, type=Gap).reason, min(2**53, int(count)))
        for position, node, count, body in gaps
        if position <= through
    )
    findings = (
        finding
        for position, body in notices
        if position <= through and (finding := msgspec.json.decode(body, type=Notice).finding) is not None
    )
    return Happened(mark, through, tuple(lost), tuple(findings), bool(cut))
