"""When each node was heard last, as the store knows it at a start: by its streams, its health, and what was told of its
silence."""

from __future__ import annotations

import sqlite3

from cloud.sqlite.damage import readable
from cloud.views.contract import DEFAULT_INTERVAL_S
from cloud.views.silence import Hearing


def hearings(connection: sqlite3.Connection, damage: list[str]) -> dict[str, Hearing]:
    """By node, as far as it can be read: `damage` gets the tables where that is not all."""
    query = (
        "SELECT name, max(last_heard_us), ifnull(interval_s, ?), told_us IS NOT NULL FROM streams"
        " JOIN nodes USING (node_no) LEFT JOIN health USING (node_no) LEFT JOIN silence USING (node_no)"
        " GROUP BY node_no"
    )
    rows = readable(connection, query, (DEFAULT_INTERVAL_S,), "streams, nodes, health or silence", damage)
    return {name: Hearing(heard_us, interval_s, bool(told)) for name, heard_us, interval_s, told in rows}
