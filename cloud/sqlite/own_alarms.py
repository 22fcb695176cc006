"""The aggregator's own alarms in SQLite. Promises and bounds: `cloud.records.own_alarms`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from cloud.log.notices import Announcement, Notice
from cloud.problem import Problem, or_raise
from cloud.records.keys import Answered, Keyed
from cloud.records.own_alarms import LOOKED, Happened, Lost
from cloud.sqlite import database, keys
from cloud.sqlite.damage import readable, whole
from cloud.sqlite.readers import Readers
from cloud.sqlite.writer import NoteIn, Writer
from wire.entries import Alarm, Gap

MARK: Final = "alarms_mark"
UNREAD: Final = "?"


class SqliteOwnAlarms:
    """Owns neither writer nor readers; `cloud.sqlite.store` does."""

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
        return await self._readers.ask_around(_happened)

    async def answered(self, keyed: Keyed) -> Answered | None:
        """See `OwnAlarmStore.answered`."""
        return or_raise(await self._readers.ask(lambda connection: keys.answered(connection, keyed)))

    async def keep(
        self,
        changes: Sequence[Alarm],
        told: Sequence[Announcement],
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
    rows = readable(connection, "SELECT id, body FROM own_alarms", (), "own_alarms", damage)
    return dict(whole(rows, lambda row: (row[0], msgspec.json.decode(row[1], type=Alarm)), "own_alarms", damage))


def _happened(connection: sqlite3.Connection, damage: list[str]) -> Happened:
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
    lost = tuple(
        Lost(node, _reason(body, damage), min(2**53, int(count)))
        for position, node, count, body in gaps
        if position <= through
    )
    bodies = (body for position, body in notices if position <= through)
    told = whole(bodies, lambda body: msgspec.json.decode(body, type=Notice).finding, "log", damage)
    return Happened(mark, through, lost, tuple(finding for finding in told if finding is not None), bool(cut))


def _reason(body: bytes, damage: list[str]) -> str:
    """What was lost is lost, also where the reason cannot be read."""
    return next(whole([body], lambda gap: msgspec.json.decode(gap, type=Gap).reason, "gaps", damage), UNREAD)
