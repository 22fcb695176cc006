"""Keeper: the aggregator's own alarms over time. What they do is decided in `cloud.alarms.own_alarms`, here it is kept.

Each step is durable with its notice for the feed, and with how far the log was looked through for what has happened:
nothing that has happened is missed over a restart, and nothing raised twice. Only alarms that stand are kept; they
are truth, and no rebuild drops them.

Bound: LOOKED records are looked at for one step; what is left is looked at in the next.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from cloud.alarms import own_texts
from cloud.alarms.own_alarms import CITY, Act, Condition, Occurrence, acted, step
from cloud.log.contract import Unavailable
from cloud.log.notices import Finding, Notice, Told
from cloud.problem import Problem
from cloud.sqlite import database
from cloud.sqlite.idempotency import Answered, Keyed
from cloud.sqlite.orders import NoteIn
from cloud.sqlite.readers import Readers
from cloud.sqlite.writer import Writer
from cloud.times import parse
from cloud.views.answers import AlarmSeen
from cloud.views.contract import AlarmsAsked
from cloud.views.reports import NO_FIXES, OWN, alarm_seen
from cloud.views.silence import Heard
from wire.entries import Alarm, Gap

LOOKED: Final = 500
MARK: Final = "alarms_mark"


class Keeper:
    """Owns the alarms, neither writer nor readers. On the event loop."""

    def __init__(
        self,
        *,
        alarms: Mapping[str, Alarm],
        writer: Writer,
        readers: Readers,
        heard: Heard,
        note_in: NoteIn,
        grow: Callable[[int], None],
    ) -> None:
        self._alarms = dict(alarms)
        self._writer = writer
        self._readers = readers
        self._heard = heard
        self._note_in = note_in
        self._grow = grow
        self._turn = asyncio.Lock()  # a step is decided over the one before it

    def standing(self, asked: AlarmsAsked | None = None) -> list[AlarmSeen]:
        """All that are not cleared, by id; or those asked for, after the id in `asked.after`, one beyond the limit."""
        found: list[AlarmSeen] = []
        for name in sorted(self._alarms):
            alarm = self._alarms[name]
            if asked is not None and (name <= asked.after[1] or not _takes(asked, alarm)):
                continue
            found.append(own_seen(alarm))
            if asked is not None and len(found) > asked.limit:
                break
        return found

    def names(self) -> list[str]:
        """The ids of all."""
        return list(self._alarms)

    def get(self, name: str) -> Alarm | None:
        """One that stands."""
        return self._alarms.get(name)

    async def look(self, now_us: int, since_us: int, holding: Mapping[str, Condition] | None = None) -> bool:
        """Take what has happened since the last time; whether there is more. Until `since_us` we were not here.

        `holding` are conditions that hold now, beside those that the store itself shows.
        """
        async with self._turn:
            mark, through, occurred, more = await self._readers.ask(_happened)
            silent, quiet, heard = self._heard.standing(now_us, since_us)
            changes = step(self._alarms, silent, quiet, heard, occurred, now_us, holding)
            if changes or more or through - mark > LOOKED:  # a mark alone is not worth a transaction each time
                await self._keep(list(changes.values()), through)
            return more

    async def hold(self, step: Callable[[Alarm | None], Alarm | None], name: str) -> None:
        """Keep what one alarm becomes, if it changes: at once in memory, for the store may be what it tells of.

        Raises:
            Unavailable: the store does not take it now; call it again.
        """
        async with self._turn:
            alarm = step(self._alarms.get(name))
            if alarm is None:
                return
            try:
                await self._keep([alarm], None)
            except Unavailable:
                self._alarms[name] = alarm
                raise

    async def act(
        self, alarm: Alarm, act: Act, by: str, now_us: int, until_us: int | None, note: str, keyed: Keyed
    ) -> Answered | None:
        """Do what an operator asks, at once, unless the request was answered before: then that answer.

        None when the alarm has cleared meanwhile: it must not stand up again by what is done with it.

        Raises:
            Problem: the key was used for another request.
        """
        async with self._turn:
            standing = self._alarms.get(alarm.id)
            if standing is None:  # perhaps by this very request, sent twice at once
                answered = await self._readers.ask(keyed.answered)
                return answered if isinstance(answered, Answered) else None
            after = acted(standing, act, by, now_us, until_us, note)
            answer = Answered(200, msgspec.json.encode(own_seen(after)))
            before = await self._keep([after], None, keyed, answer)
            if isinstance(before, Problem):
                raise before
            return before or answer

    async def _keep(
        self,
        changes: Sequence[Alarm],
        through: int | None,
        keyed: Keyed | None = None,
        answer: Answered | None = None,
    ) -> Answered | Problem | None:
        def work(connection: sqlite3.Connection) -> tuple[Answered | Problem | None, int]:
            if keyed is not None and answer is not None:
                if (before := keyed.answered(connection)) is not None:
                    return before, 0
                keyed.keep(connection, answer, changes[0].time_us)
            for alarm in changes:
                if alarm.state == "cleared":
                    connection.execute("DELETE FROM own_alarms WHERE id = ?", (alarm.id,))
                else:
                    body = msgspec.json.encode(alarm)
                    connection.execute("INSERT OR REPLACE INTO own_alarms VALUES (?, ?)", (alarm.id, body))
            if through is not None:
                database.put_meta(connection, MARK, through)
            return None, self._note_in(connection, [_told(a) for a in changes])

        def committed(done: tuple[Answered | Problem | None, int]) -> None:
            if done[0] is not None:
                return
            for alarm in changes:
                if alarm.state == "cleared":
                    self._alarms.pop(alarm.id, None)
                else:
                    self._alarms[alarm.id] = alarm
            self._grow(done[1])

        return (await self._writer.do(work, committed))[0]


def own_seen(alarm: Alarm) -> AlarmSeen:
    """One of our own as it is shown; nothing is asked of it, for it is done at once."""
    seen = alarm_seen("" if alarm.device == CITY else alarm.device, alarm, NO_FIXES, OWN)
    return msgspec.structs.replace(seen, asked=())


def _takes(asked: AlarmsAsked, alarm: Alarm) -> bool:
    about = "" if alarm.device == CITY else alarm.device
    return asked.node in {None, about} and asked.takes(alarm)


def load(connection: sqlite3.Connection, damage: list[str]) -> dict[str, Alarm]:
    """The alarms that stood when the store was closed, as far as they can be read."""
    rows = database.readable(connection, "SELECT id, body FROM own_alarms", (), "own_alarms", damage)
    return {name: msgspec.json.decode(body, type=Alarm) for name, body in rows}


def _told(alarm: Alarm) -> Told:
    seen = alarm_seen("" if alarm.device == CITY else alarm.device, alarm, NO_FIXES, OWN)
    data = msgspec.to_builtins(seen)
    return Told(node=seen.node, type="alarm", time_us=alarm.time_us, data=data, subject=alarm.device)


def _happened(connection: sqlite3.Connection) -> tuple[int, int, list[Occurrence], bool]:
    """Where the last look ended, where this one does, what there was between, and whether there is more."""
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
    occurred: list[Occurrence] = []
    for position, node, lost, body in gaps:
        if position <= through:
            reason = msgspec.json.decode(body, type=Gap).reason
            occurred.append(Occurrence(node, "missing", own_texts.as_told(reason[:200]), min(2**53, int(lost))))
    for position, body in notices:
        finding = msgspec.json.decode(body, type=Notice).finding
        if position <= through and finding is not None and (once := _occurrence(finding)) is not None:
            occurred.append(once)
    return mark, through, occurred, bool(cut)


def _occurrence(finding: Finding) -> Occurrence | None:
    detail: Mapping[str, Any] = finding.detail
    match finding.kind:
        case "unfinished":
            seqs = detail["lane"], detail["from_seq"], detail["to_seq_at_least"]
            return Occurrence(finding.node, "missing", own_texts.unfinished(detail["epoch"], *seqs))
        case "fork":
            return Occurrence(finding.node, "fork", own_texts.span(parse(detail["from"]), parse(detail["to"])))
        case _:
            return None
