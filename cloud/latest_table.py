"""LatestTable: the latest of every device, in memory, and how it outlives the process.

What the log brought is saved now and then, with the position up to which it counts; a restart goes over the log
from there. What a snapshot brought stands apart and is saved at once, for it is in no log: dropped views are built
again without losing it. On the event loop.

Bounds: one entry a device; at most SAVE_EVERY batches, or SAVE_SLICE devices in one transaction, between saves.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable
from itertools import islice
from typing import Final

from cloud import database
from cloud.building import Building
from cloud.latest import BEFORE_THE_LOG, Cells, DeviceLatest
from cloud.writer import Writer
from wire.batch import Batch, Snapshot
from wire.columns import Columns
from wire.contents import Contents

SAVE_SLICE: Final = 500
MARK: Final = "latest_mark"

Key = tuple[str, str]  # node, device


class LatestTable:
    """All devices of all nodes."""

    def __init__(self) -> None:
        self._logged: dict[Key, DeviceLatest] = {}
        self._fresh: dict[Key, DeviceLatest] = {}
        self._unsaved: set[Key] = set()
        self._through = 0

    @property
    def through(self) -> int:
        """The position up to which the log has been taken in."""
        return self._through

    def load(self, connection: sqlite3.Connection) -> None:
        """Begin with what was saved."""
        for table, held in (("latest", self._logged), ("fresh", self._fresh)):
            rows = connection.execute(
                f"SELECT name, id, body FROM {table} JOIN devices USING (node_no, device_no)"  # noqa: S608  ours
                " JOIN nodes USING (node_no)"
            )
            held.update({(node, device): DeviceLatest(body) for node, device, body in rows})
        self._through = database.meta(connection, MARK)

    def take(self, node: str, position: int, batch: Batch) -> None:
        """Take in a batch."""
        for table in Contents.placed(batch.entries).tables:
            for i, device in enumerate(table.devices):
                key = (node, device)
                self._of(key).wait(position, table, i)
                self._unsaved.add(key)
        self._through = max(self._through, position)

    def take_columns(self, node: str, position: int, columns: Columns) -> None:
        """Take in columns of one device."""
        key = (node, columns.device)
        self._of(key).take(position, columns)
        self._unsaved.add(key)

    def _of(self, key: Key) -> DeviceLatest:
        held = self._logged.get(key)
        if held is None:
            held = self._logged[key] = DeviceLatest()
        return held

    def cells(self, node: str, device: str) -> Iterable[Cells]:
        """What is known of a device: from the log, and from snapshots."""
        key = (node, device)
        return [held.cells() for held in (self._logged.get(key), self._fresh.get(key)) if held is not None]

    async def fresh(self, snapshot: Snapshot, writer: Writer, building: Building) -> None:
        """Take in a snapshot, durably; one that is refused leaves nothing behind."""

        def work(connection: sqlite3.Connection) -> dict[Key, DeviceLatest]:
            return _add(connection, snapshot, building)

        await writer.do(work, self._fresh.update)

    async def save(self, writer: Writer) -> None:
        """Save what has changed, in slices, and then the position that it counts for."""
        through = self._through
        unsaved, self._unsaved = self._unsaved, set()
        left = iter(unsaved)
        try:
            while keys := list(islice(left, SAVE_SLICE)):
                rows = [(*key, self._logged[key].saved()) for key in keys]
                await writer.do(lambda connection, rows=rows: _save(connection, rows))
                await asyncio.sleep(0)
            await writer.do(lambda connection: database.put_meta(connection, MARK, through))
        except BaseException:
            self._unsaved |= unsaved
            raise


def _save(connection: sqlite3.Connection, rows: Iterable[tuple[str, str, bytes]]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO latest SELECT node_no, device_no, ?3 FROM devices JOIN nodes USING (node_no)"
        " WHERE id = ?2 AND name = ?1",
        rows,
    )


def _add(connection: sqlite3.Connection, snapshot: Snapshot, building: Building) -> dict[Key, DeviceLatest]:
    """Add a snapshot to what was saved of those before; what is kept of its devices now."""
    by_device: dict[str, list[Columns]] = {}
    for columns in snapshot.columns:
        by_device.setdefault(columns.device, []).append(columns)
    node_no, numbers = building.numbers(connection, snapshot.node, by_device)
    added: dict[Key, DeviceLatest] = {}
    for device, runs in by_device.items():
        place = (node_no, numbers[device])
        row = connection.execute("SELECT body FROM fresh WHERE node_no = ? AND device_no = ?", place).fetchone()
        held = added[snapshot.node, device] = DeviceLatest(None if row is None else row[0])
        for columns in runs:
            held.take(BEFORE_THE_LOG, columns)
        connection.execute("INSERT OR REPLACE INTO fresh VALUES (?, ?, ?)", (*place, held.saved()))
    return added
