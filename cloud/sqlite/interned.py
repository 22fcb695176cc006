"""Interned: small numbers for nodes, streams and devices, and what the writer remembers of them between batches.

Lives in the writer's thread. After a rollback it is cleared and fills again from the store. Bounds: a node has at
most MAX_EPOCHS epochs a lane and MAX_NODE_DEVICES devices, ever; more is Malformed, for something is wrong there.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from cloud.log.streams import Stream, begun
from cloud.views.ledger import Neighbours
from wire.batch import Batch, Lane
from wire.errors import Malformed
from wire.time import Utc

MAX_EPOCHS: Final = 10_000
MAX_NODE_DEVICES: Final = 20_000
NEAR: Final = 20
NEWEST: Final = 200  # streams that are looked at when a new one begins

_COLUMNS: Final = (
    "first_heard_us, last_heard_us, through_seq, digest, held_from, head_seq, samples, readings, from_us, to_us,"
    " said, before_epoch, before_seq, before_digest, heard_at"
)


class Interned:
    """A cache over the tables nodes, streams and devices."""

    def __init__(self) -> None:
        self._nodes: dict[str, int] = {}
        self._streams: dict[tuple[str, int, Lane], Stream] = {}
        self._devices: dict[int, dict[str, int]] = {}
        self._epochs: dict[tuple[str, Lane], list[int]] = {}
        self._head: int | None = None

    def clear(self) -> None:
        """Forget all; the store knows better."""
        self._nodes.clear()
        self._streams.clear()
        self._devices.clear()
        self._epochs.clear()
        self._head = None

    def head(self, connection: sqlite3.Connection) -> int:
        """The last position."""
        if self._head is None:
            (self._head,) = connection.execute("SELECT ifnull(max(position), 0) FROM log").fetchone()
        assert self._head is not None
        return self._head

    def next_position(self, connection: sqlite3.Connection) -> int:
        """The position after the last one."""
        self._head = self.head(connection) + 1
        return self._head

    def node(self, connection: sqlite3.Connection, name: str) -> int:
        """A node's number; it gets one when it has none."""
        known = self._nodes.get(name)
        if known is None:
            connection.execute("INSERT OR IGNORE INTO nodes (name) VALUES (?)", (name,))
            (known,) = connection.execute("SELECT node_no FROM nodes WHERE name = ?", (name,)).fetchone()
            self._nodes[name] = known
        return known

    def stream(self, connection: sqlite3.Connection, node: str, epoch: int, lane: Lane) -> Stream | None:
        """A stream, if there is one. Its order is its number."""
        key = (node, epoch, lane)
        known = self._streams.get(key)
        if known is None:
            known = load_stream(connection, node, epoch, lane)
            if known is not None:
                self._streams[key] = known
        return known

    def around(self, connection: sqlite3.Connection, stream: Stream) -> Neighbours:
        """The streams with measurements that appeared before and after it in its lane, of the NEAR nearest."""
        key = (stream.node, stream.lane)
        epochs = self._epochs.get(key)
        if epochs is None:
            rows = connection.execute(
                "SELECT epoch FROM streams JOIN nodes USING (node_no) WHERE name = ? AND lane = ? ORDER BY stream_no",
                (stream.node, stream.lane.value),
            )
            epochs = self._epochs[key] = [epoch for (epoch,) in rows]
        at = len(epochs) - 1 if epochs[-1] == stream.epoch else epochs.index(stream.epoch)

        def measured(places: range) -> Stream | None:
            """The first of these that has measured something: a run of gaps hides no fork behind it."""
            found = (self.stream(connection, stream.node, epochs[place], stream.lane) for place in places[:NEAR])
            return next((s for s in found if s is not None and s.to_us is not None), None)

        return Neighbours(measured(range(at - 1, -1, -1)), measured(range(at + 1, len(epochs))))

    def begin_stream(self, connection: sqlite3.Connection, batch: Batch, now_us: Utc) -> Stream:
        """A new stream, standing at its origin.

        Raises:
            Malformed: the node has too many epochs.
        """
        node_no = self.node(connection, batch.node)
        (count,) = connection.execute(
            "SELECT count(*) FROM streams WHERE node_no = ? AND lane = ?", (node_no, batch.lane.value)
        ).fetchone()
        if count >= MAX_EPOCHS:
            raise Malformed(f"the node has begun {count} epochs in this lane; no more are taken")
        stream = begun(batch, 0, now_us)
        said = (stream.said, stream.before_epoch, stream.before_seq, stream.before_digest)
        cursor = connection.execute(
            f"INSERT INTO streams (node_no, epoch, lane, {_COLUMNS})"  # noqa: S608  ours
            " VALUES (?, ?, ?, ?, ?, 0, x'', 0, 0, 0, 0, 0, 0, ?, ?, ?, ?, 0)",
            (node_no, batch.epoch, batch.lane.value, now_us, now_us, *said),
        )
        assert cursor.lastrowid is not None
        stream.order = cursor.lastrowid
        self._streams[batch.node, batch.epoch, batch.lane] = stream
        self._epochs.pop((batch.node, batch.lane), None)
        return stream

    def save(self, connection: sqlite3.Connection, stream: Stream) -> None:
        """Write where a stream stands now."""
        connection.execute(
            "UPDATE streams SET last_heard_us = ?, through_seq = ?, digest = ?, held_from = ?, head_seq = ?,"
            " samples = ?, readings = ?, from_us = ?, to_us = ?, heard_at = ? WHERE stream_no = ?",
            (
                stream.last_heard_us,
                stream.through_seq,
                stream.digest,
                stream.held_from,
                stream.head_seq,
                stream.samples,
                stream.readings,
                stream.from_us,
                stream.to_us,
                stream.heard_at,
                stream.order,
            ),
        )

    def devices(self, connection: sqlite3.Connection, node_no: int) -> dict[str, int]:
        """The numbers of a node's devices; do not change it."""
        known = self._devices.get(node_no)
        if known is None:
            rows = connection.execute("SELECT id, device_no FROM devices WHERE node_no = ?", (node_no,))
            known = self._devices[node_no] = dict(rows)
        return known

    def devices_named(self, connection: sqlite3.Connection, node: str) -> int:
        """How many devices a node has ever named."""
        return len(self.devices(connection, self.node(connection, node)))

    def add_device(self, connection: sqlite3.Connection, node_no: int, device: str, position: int) -> int:
        """Give a device its number, from the position at which the node first named it.

        Raises:
            Malformed: the node has too many.
        """
        known = self.devices(connection, node_no)
        device_no = len(known)
        if device_no >= MAX_NODE_DEVICES:
            raise Malformed(f"the node has named {device_no} devices; no more are taken")
        connection.execute("INSERT INTO devices VALUES (?, ?, ?, ?)", (node_no, device_no, device, position))
        known[device] = device_no
        return device_no


def load_stream(connection: sqlite3.Connection, node: str, epoch: int, lane: Lane) -> Stream | None:
    """One stream as it stands in the store."""
    rows = _streams(connection, "name = ? AND epoch = ? AND lane = ?", (node, epoch, lane.value))
    return rows[0] if rows else None


def load_streams(connection: sqlite3.Connection, node: str) -> list[Stream]:
    """All streams of a node, in the order of their first appearance."""
    return _streams(connection, "name = ?", (node,))


def load_newest(connection: sqlite3.Connection, node: str) -> list[Stream]:
    """The NEWEST newest streams of a node, in the order of their first appearance."""
    where = (
        "stream_no IN (SELECT stream_no FROM streams JOIN nodes USING (node_no) WHERE name = ?"
        " ORDER BY stream_no DESC LIMIT ?)"
    )
    return _streams(connection, where, (node, NEWEST))


def _streams(connection: sqlite3.Connection, where: str, values: tuple[object, ...]) -> list[Stream]:
    rows = connection.execute(
        f"SELECT name, epoch, lane, stream_no, {_COLUMNS} FROM streams JOIN nodes USING (node_no)"  # noqa: S608  ours
        f" WHERE {where} ORDER BY stream_no",
        values,
    )
    names = Stream.__struct_fields__
    streams = [Stream(**dict(zip(names, row, strict=True))) for row in rows]
    for stream in streams:
        stream.lane = Lane(stream.lane)
    return streams


def stream_key(connection: sqlite3.Connection, stream_no: int) -> tuple[str, int, str]:
    """Node, epoch and lane of a stream."""
    row = connection.execute(
        "SELECT name, epoch, lane FROM streams JOIN nodes USING (node_no) WHERE stream_no = ?", (stream_no,)
    ).fetchone()
    return row[0], row[1], row[2]
