"""Card losses: what a node no longer knows when its card was replaced or went back, and what follows here.

Alarms and orders lie on the card. A run that does not close the one before it says that they are lost, or may be:

    alarms   all of the node's that stood are over, told with the reason. One that nobody had acknowledged stands as
             `returned` until somebody has: here, at once, for the node cannot be asked any more. A node that has kept
             some of its alarms says them again in its new run, and then they stand as it says
    orders   where the card is new: those that the node had accepted, and not ended, have failed. Those of which it has
             said nothing are sent again, as always

All of it is in the transaction that takes the run's first batch. When and of which node is kept, and so is who has
acknowledged: a rebuild comes to the same. Bounds: those of a node's alarms and open orders (2,000 each); the last loss
of a node.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from cloud.log.notices import Announcement
from cloud.log.streams import Stream
from cloud.problem import Problem, or_raise
from cloud.records.ended_alarms import acknowledged, answer_of, told_of
from cloud.records.keys import Answered, Keyed
from cloud.records.order_notices import told_ended
from cloud.sqlite import keys
from cloud.sqlite.damage import whole
from cloud.sqlite.readers import Readers
from cloud.sqlite.writer import NoteIn, Writer
from cloud.views.order_stages import OwnEnd
from wire.batch import Lane
from wire.entries import Alarm
from wire.orders import Order
from wire.time import Utc

OVER: Final = "over: the node's card was replaced or went back, and it does not know this alarm any more"
FORGOTTEN: Final = "the node's card was replaced after it had accepted the order, which it does not know any more"


def loses_alarms(stream: Stream, newest: Sequence[Stream], broken_off: Sequence[Stream]) -> bool:
    """Whether a node may not know its alarms any more, given its newest runs where this one of them has just begun."""
    others = [s for s in newest if s.order != stream.order]
    if stream.said in {"none", "lost"}:  # said in each lane, and true from the first
        return bool(others) and all(s.epoch != stream.epoch for s in others)
    return stream.said == "named" and stream.lane is Lane.URGENT and any(s.lane is Lane.URGENT for s in broken_off)


def lose(connection: sqlite3.Connection, stream: Stream, now_us: Utc, damage: list[str]) -> list[Announcement]:
    """End what the node does not know any more, of all that the log holds now; returns what to report. What is garbled
    stays as it is, and `damage` says so: it must not keep the node's batches out."""
    (head,) = connection.execute("SELECT ifnull(max(position), 0) FROM log").fetchone()
    (node_no,) = connection.execute("SELECT node_no FROM nodes WHERE name = ?", (stream.node,)).fetchone()
    connection.execute("INSERT OR REPLACE INTO card_losses VALUES (?, ?, ?)", (node_no, head, now_us))
    told = [told_of(stream.node, alarm) for alarm in _end_alarms(connection, node_no, head, now_us, damage)]
    if stream.said != "none":
        return told
    rows = connection.execute(
        "SELECT order_no, kind, body FROM orders WHERE node = ? AND ended_us IS NULL"
        " AND stage NOT IN ('issued', 'sent') ORDER BY order_no",
        (stream.node,),
    ).fetchall()
    ending = OwnEnd("failed", now_us, FORGOTTEN)
    opened = whole(rows, lambda row: (row[0], row[1], msgspec.json.decode(row[2], type=Order)), "orders", damage)
    for order_no, kind, order in opened:
        connection.execute(
            "UPDATE orders SET stage = ?, ended_us = ?, own_end = ? WHERE order_no = ?",
            (ending.stage, now_us, msgspec.json.encode(ending).decode(), order_no),
        )
        told.append(told_ended(stream.node, kind, order, ending))
    return told


def lose_again(connection: sqlite3.Connection) -> None:
    """The same for alarms that were built anew from the log, and what was done with them since. Tells nothing."""
    for node_no, position, now_us in connection.execute("SELECT * FROM card_losses").fetchall():
        _end_alarms(connection, node_no, position, now_us, [])
        acts = "SELECT id, by_whom, time_us, note FROM acknowledged WHERE node_no = ? AND time_us >= ?"
        for name, by, time_us, note in connection.execute(acts, (node_no, now_us)).fetchall():
            alarm = _ended(connection, node_no, name)
            if alarm is not None and alarm.state != "cleared":
                _keep(connection, node_no, acknowledged(alarm, by, time_us, note))


def _end_alarms(
    connection: sqlite3.Connection, node_no: int, position: int, now_us: Utc, damage: list[str]
) -> list[Alarm]:
    rows = connection.execute(
        "SELECT body FROM alarms WHERE node_no = ? AND state <> 'cleared' AND ended = 0 AND position <= ? ORDER BY id",
        (node_no, position),
    ).fetchall()
    over: list[Alarm] = []
    for alarm in whole(rows, lambda row: msgspec.msgpack.decode(row[0], type=Alarm), "alarms", damage):
        # A consequence of another needs nobody; what was shelved and never seen does.
        state = "cleared" if alarm.acknowledged or alarm.cause else "returned"
        detail = f"{OVER}. It said: {alarm.detail}"[:2_000] if alarm.detail else OVER
        over.append(
            msgspec.structs.replace(
                alarm, state=state, active=False, time_us=now_us, boot=None, until_us=None, detail=detail
            )
        )
        _keep(connection, node_no, over[-1])
    return over


def _keep(connection: sqlite3.Connection, node_no: int, alarm: Alarm) -> None:
    connection.execute(
        "UPDATE alarms SET state = ?, body = ?, ended = 1 WHERE node_no = ? AND id = ?",
        (alarm.state, msgspec.msgpack.encode(alarm), node_no, alarm.id),
    )


def _ended(connection: sqlite3.Connection, node_no: int, name: str) -> Alarm | None:
    row = connection.execute(
        "SELECT body FROM alarms WHERE node_no = ? AND id = ? AND ended = 1", (node_no, name)
    ).fetchone()
    return None if row is None else msgspec.msgpack.decode(row[0], type=Alarm)


class SqliteEndedAlarms:
    """What operators do with alarms that their node does not know any more. Owns neither writer nor readers."""

    def __init__(self, writer: Writer, readers: Readers, note_in: NoteIn, grow: Callable[[int], None]) -> None:
        self._writer = writer
        self._readers = readers
        self._note_in = note_in
        self._grow = grow

    async def has(self, node: str, name: str) -> bool:
        """See `EndedAlarms.has`."""

        def query(connection: sqlite3.Connection) -> bool:
            where = "SELECT 1 FROM alarms JOIN nodes USING (node_no) WHERE name = ? AND id = ? AND ended = 1"
            return connection.execute(where, (node, name)).fetchone() is not None

        return await self._readers.ask(query)

    async def acknowledge(self, node: str, name: str, by: str, now_us: Utc, note: str, keyed: Keyed) -> Answered | None:
        """See `EndedAlarms.acknowledge`."""

        def work(connection: sqlite3.Connection) -> tuple[Answered | Problem | None, int]:
            if (before := keys.answered(connection, keyed)) is not None:
                return before, 0
            row = connection.execute("SELECT node_no FROM nodes WHERE name = ?", (node,)).fetchone()
            node_no = -1 if row is None else row[0]
            alarm = _ended(connection, node_no, name)
            if alarm is None or alarm.state == "cleared":
                return None, 0
            after = acknowledged(alarm, by, now_us, note)
            _keep(connection, node_no, after)
            connection.execute(
                "INSERT OR REPLACE INTO acknowledged VALUES (?, ?, ?, ?, ?)", (node_no, name, by, now_us, note)
            )
            answer = answer_of(node, after)
            keys.keep(connection, keyed, answer, now_us)
            return answer, self._note_in(connection, [told_of(node, after)])

        done, _ = await self._writer.do(work, lambda result: self._grow(result[1]))
        return or_raise(done)
