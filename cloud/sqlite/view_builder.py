"""Building the views in SQLite: what a batch changes in them, within the transaction that takes it into the log.

Per batch one row that says which devices it holds between which times, and one row per entry that is not columns.
Nothing here costs a row, or an object, per reading. Every write is idempotent by position: a batch that is applied
again, or out of order, leaves what a later position has said.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from cloud.log.batch_facts import BatchFacts
from cloud.log.notices import Finding
from cloud.sqlite import alarm_steps, decided
from cloud.sqlite.interned import Interned
from cloud.times import DAY_US, SECOND_US
from cloud.views.answers import Doubt
from cloud.views.doubts import MAX_DOUBTS, detail_of, doubt_of, doubts_of, fit
from cloud.views.order_stages import forward
from cloud.views.visits import MAX_VISITS
from wire.batch import Batch
from wire.device import Roster
from wire.entries import Alarm, ClockFix, Decisions, Gap, Health, Result, Visit
from wire.orders import FINAL
from wire.time import Utc

# How long a run of samples lasts, in classes: within one, a search by its beginning knows how far back to look.
SPANS_US: Final = (3_600 * SECOND_US, DAY_US, 32 * DAY_US)
MAX_ALARMS: Final = 1_000  # cleared ones that are kept for each node
MAX_RESULTS: Final = 10_000  # stages of orders that are kept for each node, the newest


def span_of(from_us: Utc, to_us: Utc) -> int:
    """The class of a run by how long it lasts; len(SPANS_US) for the longest."""
    length = to_us - from_us
    return next((i for i, longest in enumerate(SPANS_US) if length <= longest), len(SPANS_US))


def device_set(numbers: Iterable[int]) -> bytes:
    """A set of device numbers, one bit each."""
    bits = 0
    for number in numbers:
        bits |= 1 << number
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def in_device_set(held: bytes, number: int) -> bool:
    """Say whether a number is in the set."""
    place, bit = divmod(number, 8)
    return place < len(held) and bool(held[place] >> bit & 1)


class ViewBuilder:
    """Lives in the writer's thread."""

    def __init__(self, interned: Interned) -> None:
        self._interned = interned

    def apply(
        self,
        connection: sqlite3.Connection,
        position: int,
        received_us: Utc,
        batch: Batch,
        facts: BatchFacts,
        *,
        chunked: bool = False,
    ) -> Sequence[Finding]:
        """Take a batch into all views but `latest`, and return what to announce. Samples of one that is `chunked` are
        found in chunks.

        Raises:
            Malformed: the node has too many devices.
        """
        node_no = self._interned.node(connection, batch.node)
        new: list[str] = []
        for base, extent in facts.extents.items():
            numbers = self._numbers(connection, node_no, extent.devices, position, new)
            if chunked:
                continue
            connection.execute(
                "INSERT OR REPLACE INTO spans VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    node_no,
                    base,
                    span_of(extent.from_us, extent.to_us),
                    extent.from_us,
                    position,
                    extent.to_us,
                    device_set(numbers.values()),
                ),
            )
        reported = False
        roster: Roster | None = None
        for item in facts.others:
            entry = item.entry
            if isinstance(entry, Result):
                _result(
                    connection, node_no, batch.node, (position, batch.first_seq + item.places[0]), entry, received_us
                )
                reported = True
            elif isinstance(entry, Visit):
                _visit(connection, node_no, (position, batch.first_seq + item.places[0]), entry)
            elif isinstance(entry, Roster):
                if (of_roster := self._roster(connection, node_no, position, entry)) is not None:
                    new.extend(of_roster)
                    roster = entry
            elif isinstance(entry, Decisions):
                decided.take(connection, node_no, position, entry)
            elif isinstance(entry, Gap):
                stream = self._interned.stream(connection, batch.node, batch.epoch, batch.lane)
                assert stream is not None
                first_seq = batch.first_seq + item.places[0]
                connection.execute(
                    "INSERT OR REPLACE INTO gaps VALUES (?, ?, ?, ?, ?, ?)",
                    (stream.order, first_seq, node_no, position, entry.lost, msgspec.json.encode(entry)),
                )
            else:
                _other(connection, node_no, position, entry)
                if isinstance(entry, Alarm):
                    alarm_steps.take(connection, batch, position, item.places[0], entry, received_us)
                elif isinstance(entry, ClockFix):
                    alarm_steps.correct(connection, batch.node, entry.boot)
        if reported:
            connection.execute(
                "DELETE FROM results WHERE node_no = ?1 AND position < (SELECT position FROM results"
                " WHERE node_no = ?1 ORDER BY position DESC LIMIT 1 OFFSET ?2)",
                (node_no, MAX_RESULTS),
            )
        conflicts = _conflicts(connection, batch.node, new, received_us) if new else []
        return [*conflicts, *_doubts(connection, batch.node, node_no, new, roster, received_us)]

    def numbers(
        self, connection: sqlite3.Connection, node: str, devices: Iterable[str]
    ) -> tuple[int, Mapping[str, int]]:
        """The numbers of a node and of devices that a snapshot names.

        Raises:
            Malformed: the node has too many devices.
        """
        node_no = self._interned.node(connection, node)
        (head,) = connection.execute("SELECT ifnull(max(position), 0) FROM log").fetchone()
        return node_no, self._numbers(connection, node_no, devices, head, [])

    def _numbers(
        self, connection: sqlite3.Connection, node_no: int, devices: Iterable[str], position: int, new: list[str]
    ) -> Mapping[str, int]:
        known = self._interned.devices(connection, node_no)
        numbers: dict[str, int] = {}
        for device in sorted(devices):
            number = known.get(device)
            if number is None:
                number = self._interned.add_device(connection, node_no, device, position)
                new.append(device)
            numbers[device] = number
        return numbers

    def _roster(self, connection: sqlite3.Connection, node_no: int, position: int, roster: Roster) -> list[str] | None:
        """The devices that are claimed anew; None where it says nothing new."""
        row = connection.execute("SELECT position, digest FROM rosters WHERE node_no = ?", (node_no,)).fetchone()
        digest = roster.digest().hex()
        if row is not None and row[0] > position:
            return None
        new: list[str] = []
        numbers = self._numbers(connection, node_no, (d.id for d in roster.devices), position, new)
        connection.execute(
            "INSERT OR REPLACE INTO rosters VALUES (?, ?, ?, ?)",
            (node_no, position, digest, msgspec.json.encode(roster.profiles)),
        )
        if row is not None and row[1] == digest:
            return None
        # Claimed anew are also those whose claim the roster before this one had withdrawn.
        withdrawn = connection.execute(
            "SELECT id FROM devices d LEFT JOIN rostered r USING (node_no, device_no)"
            " WHERE d.node_no = ? AND r.device_no IS NULL AND d.position < ?",
            (node_no, 0 if row is None else row[0]),
        )
        new.extend({device for (device,) in withdrawn} & numbers.keys())
        connection.execute("DELETE FROM rostered WHERE node_no = ?", (node_no,))
        connection.executemany(
            "INSERT OR REPLACE INTO rostered VALUES (?, ?, ?, ?)",
            ((node_no, numbers[d.id], d.kind, msgspec.json.encode(fit(d))) for d in roster.devices),
        )
        return new


def _result(
    connection: sqlite3.Connection, node_no: int, node: str, at: tuple[int, int], result: Result, received_us: Utc
) -> None:
    """Keep each stage as it was first said, and let the order itself, where it is known, move forward to it."""
    connection.execute(
        "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET position = excluded.position,"
        " seq = excluded.seq, body = excluded.body WHERE (excluded.position, excluded.seq) < (position, seq)",
        (result.order, node_no, result.stage, *at, msgspec.msgpack.encode(result)),
    )
    row = connection.execute("SELECT stage FROM orders WHERE id = ? AND node = ?", (result.order, node)).fetchone()
    if row is not None and (stage := forward(row[0], result.stage)) != row[0]:
        connection.execute(
            "UPDATE orders SET stage = ?, ended_us = ?, sent_us = ifnull(sent_us, ?) WHERE id = ?",
            (stage, received_us if stage in FINAL else None, received_us, result.order),
        )


def _visit(connection: sqlite3.Connection, node_no: int, at: tuple[int, int], visit: Visit) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO visits VALUES (?, ?, ?, ?, ?)",
        (node_no, *at, visit.act, msgspec.msgpack.encode(visit)),
    )
    connection.execute(
        "DELETE FROM visits WHERE node_no = ?1 AND (position, seq) < (SELECT position, seq FROM visits"
        " WHERE node_no = ?1 ORDER BY position DESC, seq DESC LIMIT 1 OFFSET ?2)",
        (node_no, MAX_VISITS - 1),
    )


def _other(connection: sqlite3.Connection, node_no: int, position: int, entry: object) -> None:
    if isinstance(entry, Alarm):
        connection.execute(
            "INSERT INTO alarms VALUES (?, ?, ?, ?, ?, 0) ON CONFLICT DO UPDATE SET position = excluded.position,"
            " state = excluded.state, body = excluded.body, ended = 0 WHERE excluded.position >= position",
            (node_no, entry.id, position, entry.state, msgspec.msgpack.encode(entry)),
        )
        if entry.state == "cleared":
            connection.execute(
                "DELETE FROM alarms WHERE node_no = ?1 AND state = 'cleared' AND position < (SELECT position FROM"
                " alarms WHERE node_no = ?1 AND state = 'cleared' ORDER BY position DESC LIMIT 1 OFFSET ?2)",
                (node_no, MAX_ALARMS),
            )
    elif isinstance(entry, Health):
        connection.execute(
            "INSERT INTO health VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET position = excluded.position,"
            " interval_s = excluded.interval_s, body = excluded.body WHERE excluded.position >= position",
            (node_no, position, entry.interval_s, msgspec.msgpack.encode(entry)),
        )
    elif isinstance(entry, ClockFix):
        connection.execute(
            "INSERT INTO fixes VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET position = excluded.position,"
            " offset_us = excluded.offset_us, error_us = excluded.error_us WHERE excluded.position >= position",
            (node_no, entry.boot, position, entry.offset_us, entry.error_us),
        )


def _doubts(
    connection: sqlite3.Connection, node: str, node_no: int, new: Iterable[str], roster: Roster | None, now_us: Utc
) -> list[Finding]:
    """Keep the doubts of a new roster in place of those of the one before it, and those about the ids of new devices;
    tell of new ones."""
    doubts = {d for d in map(doubt_of, new) if d is not None}.union(() if roster is None else doubts_of(roster))
    if not doubts and roster is None:
        return []
    rows = connection.execute("SELECT whose, what, why FROM doubts WHERE node_no = ?", (node_no,)).fetchall()
    known = {Doubt(whose=whose, what=what, why=why) for whose, what, why in rows}
    if roster is not None:  # the ids of devices that the node has named once stay marked
        of_roster = "DELETE FROM doubts WHERE node_no = ? AND NOT (whose LIKE 'device %' AND what = 'id')"
        connection.execute(of_roster, (node_no,))
    (count,) = connection.execute("SELECT count(*) FROM doubts WHERE node_no = ?", (node_no,)).fetchone()
    kept = sorted(doubts, key=lambda d: (d.whose, d.what))[: max(0, MAX_DOUBTS - count)]
    connection.executemany(
        "INSERT OR REPLACE INTO doubts VALUES (?, ?, ?, ?)", ((node_no, d.whose, d.what, d.why) for d in kept)
    )
    fresh = doubts - known
    return [Finding(node=node, kind="unfit", time_us=now_us, detail=detail_of(fresh))] if fresh else []


def _conflicts(connection: sqlite3.Connection, node: str, devices: Iterable[str], now_us: Utc) -> list[Finding]:
    found: list[Finding] = []
    for device in sorted(set(devices)):
        nodes = owners(claims_of(connection, device))
        if node in nodes and len(nodes) > 1:
            detail = {"device": device, "nodes": nodes}
            found.append(Finding(node=node, kind="conflict", time_us=now_us, detail=detail))
    return found


class DeviceClaim(msgspec.Struct, frozen=True):
    """A node that says that a device is its own."""

    node: str
    node_no: int
    device_no: int
    active: bool


def claims_of(connection: sqlite3.Connection, device: str) -> list[DeviceClaim]:
    """The nodes that have ever named a device, its owner first.

    One that an operator has assigned belongs to that node alone, once it has named it. Else a roster that names it goes
    before readings alone; then who named it first. A roster that came after the readings and does not name it withdraws
    the claim, and so do tokens that were all revoked; when no claim is left, all stand again.
    """
    rows = connection.execute(
        "SELECT name, d.node_no, d.device_no, r.device_no IS NOT NULL,"
        " o.position IS NOT NULL AND d.position < o.position, b.node IS NOT NULL, ifnull(a.node = name, 0)"
        " FROM devices d JOIN nodes USING (node_no) LEFT JOIN rostered r USING (node_no, device_no)"
        " LEFT JOIN rosters o USING (node_no) LEFT JOIN barred b ON b.node = name"
        " LEFT JOIN assignments a ON a.device = d.id"
        " WHERE d.id = ? ORDER BY 7 DESC, 4 DESC, d.position, d.node_no",
        (device,),
    ).fetchall()
    assigned = connection.execute("SELECT 1 FROM assignments WHERE device = ?", (device,)).fetchone() is not None
    if assigned:
        return [DeviceClaim(*row[:3], active=bool(row[6])) for row in rows]
    stands = [not row[5] and bool(row[3] or not row[4]) for row in rows]
    return [DeviceClaim(*row[:3], active=active or not any(stands)) for row, active in zip(rows, stands, strict=True)]


def owners(claims: Sequence[DeviceClaim]) -> tuple[str, ...]:
    """Whose claims stand, by name."""
    return tuple(c.node for c in claims if c.active)
