"""Alarms, results, visits and the targets of orders, as they lie in SQLite. Promises and bounds as
`cloud.views.contract` has them.

Bound: SCANNED alarms are opened for one page; then it ends early.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from cloud.sqlite.view_builder import claims_of
from cloud.views.answers import DeviceSeen, seen_as
from cloud.views.contract import AlarmsAsked, KnownDevice, TargetsAsked, VisitAt
from groundwork.nearest import nearest
from wire.device import Device, Point
from wire.entries import Alarm, Result, Visit

SCANNED: Final = 5_000
_Profiles = dict[str, tuple[Point, ...]]


def alarms_of(
    connection: sqlite3.Connection, asked: AlarmsAsked
) -> tuple[list[tuple[str, Alarm]], tuple[str, str] | None]:
    """A page of alarms, and where to go on."""
    found: list[tuple[str, Alarm]] = []
    where, values = "n.name >= ? AND (n.name, a.id) > (?, ?)", [asked.after[0], *asked.after]
    for column, value in (("n.name", asked.node), ("a.id", asked.id)):
        if value is not None:
            where, values = f"{where} AND {column} = ?", [*values, value]
    if not asked.states:
        where += " AND a.state <> 'cleared'"
    # An id alone leads to its alarms; else the nodes are gone through by name, and nothing is sorted.
    joined = "alarms a JOIN nodes n" if asked.id is not None else "nodes n CROSS JOIN alarms a"
    rows = connection.execute(
        f"SELECT n.name, a.id, a.body FROM {joined} USING (node_no) WHERE {where}"  # noqa: S608  ours
        " ORDER BY n.name, a.id LIMIT ?",
        (*values, SCANNED + 1),
    )
    last = asked.after
    for scanned, (node, name, body) in enumerate(rows):
        if scanned == SCANNED or len(found) == asked.limit:
            return found, last
        last = (node, name)
        alarm = msgspec.msgpack.decode(body, type=Alarm)
        if asked.takes(alarm):
            found.append((node, alarm))
    return found, None


def results_of(connection: sqlite3.Connection, orders: Sequence[str]) -> Mapping[str, list[tuple[str, Result]]]:
    """The stages of orders."""
    found: dict[str, list[tuple[str, Result]]] = {}
    for order in orders:
        rows = connection.execute(
            "SELECT name, body FROM results JOIN nodes USING (node_no) WHERE id = ? ORDER BY position, seq", (order,)
        ).fetchall()
        if rows:
            found[order] = [(node, msgspec.msgpack.decode(body, type=Result)) for node, body in rows]
    return found


def visits_of(
    connection: sqlite3.Connection, node: str, before: tuple[int, int], limit: int, *, acted: bool
) -> list[VisitAt]:
    """What a node has said of visits, the newest first."""
    rows = connection.execute(
        "SELECT position, seq, body FROM visits JOIN nodes USING (node_no) WHERE name = ? AND (position, seq) < (?, ?)"
        " AND (? OR act <> 'acted') ORDER BY position DESC, seq DESC LIMIT ?",
        (node, *before, acted, limit),
    )
    return [VisitAt(position, seq, msgspec.msgpack.decode(body, type=Visit)) for position, seq, body in rows]


def targets_of(connection: sqlite3.Connection, asked: TargetsAsked, limit: int) -> list[KnownDevice]:
    """The devices that are meant, each under its owner."""
    profiles: dict[int, _Profiles] = {}

    def target(device: str, node: str, node_no: int, body: bytes | None) -> KnownDevice:
        described = None if body is None else msgspec.json.decode(body, type=Device)
        if node_no not in profiles:
            row = connection.execute("SELECT profiles FROM rosters WHERE node_no = ?", (node_no,)).fetchone()
            profiles[node_no] = {} if row is None else msgspec.json.decode(row[0], type=_Profiles)
        points = () if described is None else profiles[node_no].get(described.profile, ())
        return KnownDevice(device, node, described, points)

    found: list[KnownDevice] = []
    if asked.devices is not None:
        for device in sorted(set(asked.devices)):
            claim = next((c for c in claims_of(connection, device) if c.active), None)
            if claim is not None:
                row = connection.execute(
                    "SELECT body FROM rostered WHERE node_no = ? AND device_no = ?", (claim.node_no, claim.device_no)
                ).fetchone()
                found.append(target(device, claim.node, claim.node_no, None if row is None else row[0]))
        return found[: limit + 1]
    rows = connection.execute(
        "SELECT d.id, n.name, n.node_no, r.body, EXISTS (SELECT 1 FROM devices e WHERE e.id = d.id AND"
        " e.node_no <> d.node_no) OR EXISTS (SELECT 1 FROM assignments s WHERE s.device = d.id)"
        " FROM rostered r JOIN devices d USING (node_no, device_no)"
        " JOIN nodes n USING (node_no) WHERE (?1 IS NULL OR r.kind = ?1) AND (?2 IS NULL OR n.name = ?2)"
        " ORDER BY d.id, n.name",
        (asked.kind, asked.node),
    )
    for device, node, node_no, body, doubled in rows:
        if doubled:  # only its owner is told to act
            owner = next((c for c in claims_of(connection, device) if c.active), None)
            if owner is None or owner.node_no != node_no:
                continue
        if asked.takes(msgspec.json.decode(body, type=Device), node):
            found.append(target(device, node, node_no, body))
            if len(found) > limit:
                break
    return found


def described_of(connection: sqlite3.Connection, node: str, devices: Collection[str] | None) -> list[DeviceSeen]:
    """Devices as a node describes them; all that it has named where None."""
    row = connection.execute("SELECT node_no FROM nodes WHERE name = ?", (node,)).fetchone()
    if row is None:
        return []
    query = "SELECT d.id, r.body FROM devices d LEFT JOIN rostered r USING (node_no, device_no) WHERE d.node_no = ?"
    if devices is None:
        found = sorted(connection.execute(query, row))
    else:
        each = (connection.execute(f"{query} AND d.id = ?", (*row, device)).fetchone() for device in sorted(devices))
        found = [named for named in each if named is not None]
    return [
        seen_as(device, node, None if body is None else msgspec.json.decode(body, type=Device), ())
        for device, body in found
    ]


def near(connection: sqlite3.Connection, device: str) -> str | None:
    """The nearest known id."""
    return nearest(device, (name for (name,) in connection.execute("SELECT DISTINCT id FROM devices ORDER BY id")))
