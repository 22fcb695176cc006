"""Who decides what points are set to, as it lies in SQLite: a row a point, the last that its node has said.

Idempotent by position, like all views. A node says all of it again from time to time (`edge.control.telling`), so what
was said before this was kept comes by itself. Bounds: MAX_KEPT points a node, the oldest are forgotten.
"""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from cloud.views.decided import ByPoint, DecidedAt, LivedBy, said_in
from wire.entries import Decisions

MAX_KEPT: Final = 40_000


def take(connection: sqlite3.Connection, node_no: int, position: int, entry: Decisions) -> None:
    """Take in what a node has said. That it names a device here is no claim to it."""
    rows = [
        (node_no, device, decision.point, position, body)
        for said, decision in said_in(entry)
        for body in (msgspec.msgpack.encode(said),)
        for device in decision.devices
    ]
    connection.executemany(
        "INSERT INTO decided VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET position = excluded.position,"
        " body = excluded.body WHERE excluded.position >= position",
        rows,
    )
    lived = LivedBy(entry.plan, entry.rules, entry.time_us, entry.boot)
    connection.execute(
        "INSERT INTO lived_by VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET position = excluded.position,"
        " body = excluded.body WHERE excluded.position >= position",
        (node_no, position, msgspec.msgpack.encode(lived)),
    )
    (count,) = connection.execute("SELECT count(*) FROM decided WHERE node_no = ?", (node_no,)).fetchone()
    if count > MAX_KEPT:
        connection.execute(
            "DELETE FROM decided WHERE node_no = ?1 AND (device, point) IN (SELECT device, point FROM decided"
            " WHERE node_no = ?1 ORDER BY position, device, point LIMIT ?2)",
            (node_no, count - MAX_KEPT),
        )


def stands(connection: sqlite3.Connection, node_no: int, position: int) -> bool:
    """Whether a view still shows what a node said at this position."""
    row = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM decided WHERE node_no = ?1 AND position = ?2)"
        " OR EXISTS (SELECT 1 FROM lived_by WHERE node_no = ?1 AND position = ?2)",
        (node_no, position),
    ).fetchone()
    return bool(row[0])


def of_device(connection: sqlite3.Connection, node_no: int, device: str) -> ByPoint:
    """What its node said last, by point."""
    rows = connection.execute("SELECT point, body FROM decided WHERE node_no = ? AND device = ?", (node_no, device))
    return {point: msgspec.msgpack.decode(body, type=DecidedAt) for point, body in rows}


def lived_by(connection: sqlite3.Connection, node_no: int) -> LivedBy | None:
    """What the node lives by; None where it has not said it."""
    row = connection.execute("SELECT body FROM lived_by WHERE node_no = ?", (node_no,)).fetchone()
    return None if row is None else msgspec.msgpack.decode(row[0], type=LivedBy)


def of_all(connection: sqlite3.Connection) -> dict[int, dict[str, tuple[ByPoint, int]]]:
    """By the number of a node, and device: what was said last by point, and the position of the last word. What many
    points share is decoded once."""
    known: dict[bytes, DecidedAt] = {}
    found: dict[int, dict[str, tuple[ByPoint, int]]] = {}
    for node_no, device, point, position, body in connection.execute(
        "SELECT node_no, device, point, position, body FROM decided"
    ):
        if (said := known.get(body)) is None:
            said = known[body] = msgspec.msgpack.decode(body, type=DecidedAt)
        devices = found.setdefault(node_no, {})
        by_point, last = devices.get(device, ({}, 0))
        by_point[point] = said
        devices[device] = by_point, max(last, position)
    return found
