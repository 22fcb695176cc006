"""LatestTable: the latest of every device, in memory, and how it outlives the process.

What the log brought is saved now and then, with the position up to which it counts; a restart goes over the log
from there. What a snapshot brought stands apart and is saved at once, for it is in no log: dropped views are built
again without losing it. On the event loop; what is saved is folded and packed beside it.

Saving costs writes, not saving costs time at the next start. So it is saved as soon as that writes no more than
WRITTEN_A_BYTE bytes for each byte of bodies that the log has taken since the last time, or when a start would have to
go over more than AGAIN_BYTES of bodies or AGAIN_RECORDS records (docs/operations.md says how long those take). What is
saved is written in the order of its key: each page once.

Bounds: one entry a device; SAVE_SLICE devices are copied at a time on the event loop, and written in one transaction;
the devices of one node are sorted at a time.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from cloud.sqlite import database
from cloud.sqlite.damage import readable, whole
from cloud.sqlite.readers import Readers
from cloud.sqlite.view_builder import ViewBuilder
from cloud.sqlite.writer import Writer
from cloud.views.latest import BEFORE_THE_LOG, Cells, DeviceLatest, fold_all
from wire.batch import Batch, Snapshot
from wire.columns import Columns
from wire.contents import Contents
from wire.time import Utc

SAVE_SLICE: Final = 200
FOLD_SLICE: Final = 2_000
WRITTEN_A_BYTE: Final = 4
AGAIN_BYTES: Final = 64 << 20
AGAIN_RECORDS: Final = 25_000
PAGE_BYTES: Final = 4_096
FILLED: Final = 1.5  # pages are so much larger than what is in them
ROW_BYTES: Final = 600  # until something was saved
MARK: Final = "latest_mark"

Key = tuple[str, str]  # node, device


class LatestTable:
    """All devices of all nodes."""

    def __init__(self) -> None:
        self._logged: dict[Key, DeviceLatest] = {}
        self._fresh: dict[Key, DeviceLatest] = {}
        self._fresh_at: dict[Key, int] = {}  # where the log stood when the last of these came
        self._born, self._count = secrets.token_hex(4), 0  # of this process; how many snapshots have come to it
        self.mark = f"{self._born}.0"
        self.on_fresh: Callable[[str, Utc], object] | None = None  # is told of each snapshot: node, and when
        self.on_news: Callable[[Mapping[Key, Cells]], object] | None = None  # and of what in them nothing else has said
        self._unsaved: dict[str, set[str]] = {}  # devices by node
        self._nodes: dict[str, int] = {}  # their numbers in the store, as far as they were needed
        self._through = 0
        self._saved_through = 0
        self._looked = self._again_bytes = self._again_records = 0  # the log since it was saved, as far as looked at
        self._row_bytes = ROW_BYTES
        self._saving = asyncio.Lock()

    @property
    def through(self) -> int:
        """The position up to which the log has been taken in."""
        return self._through

    @property
    def saved_through(self) -> int:
        """The position from which a restart would go over the log."""
        return self._saved_through

    def load(self, connection: sqlite3.Connection, damage: list[str], now_us: Utc) -> None:
        """Begin with what was saved, as far as it can be read: `damage` gets the tables where that is not all."""
        for table, held in (("latest", self._logged), ("fresh", self._fresh)):
            query = (
                f"SELECT name, id, body, node_no, device_no FROM {table} JOIN devices USING (node_no, device_no)"  # noqa: S608  ours
                " JOIN nodes USING (node_no)"
            )
            size = 0
            rows = readable(connection, query, (), table, damage)
            for node, device, latest, bytes_ in whole(rows, lambda row: _loaded(row, now_us), table, damage):
                held[node, device] = latest
                size += bytes_
            if table == "latest" and held:
                self._row_bytes = size // len(held)
        self._through = self._saved_through = self._looked = database.meta(connection, MARK)
        (head,) = connection.execute("SELECT ifnull(max(position), 0) FROM log").fetchone()
        self._fresh_at = dict.fromkeys(self._fresh, int(head))  # when they came before that is not known any more

    def take(self, node: str, position: int, received_us: Utc, batch: Batch) -> None:
        """Take in a batch that arrived at `received_us`."""
        for table in Contents.placed(batch.entries).tables:
            unsaved = self._unsaved.setdefault(node, set())
            unsaved.update(table.devices)
            for i, device in enumerate(table.devices):
                self._of((node, device)).wait(position, table, i, received_us)
        self._through = max(self._through, position)

    def take_columns(self, node: str, position: int, columns: Columns, now_us: Utc) -> None:
        """Take in columns of one device that arrived at some time before now."""
        key = (node, columns.device)
        self._of(key).take(position, columns, now_us)
        self._unsaved.setdefault(node, set()).add(columns.device)

    def _of(self, key: Key) -> DeviceLatest:
        held = self._logged.get(key)
        if held is None:
            held = self._logged[key] = DeviceLatest()
        return held

    def cells(self, node: str, device: str) -> Sequence[Cells]:
        """What is known of a device: from the log, and from snapshots."""
        key = (node, device)
        return [held.cells() for held in (self._logged.get(key), self._fresh.get(key)) if held is not None]

    async def fold(self, node: str, devices: Iterable[str]) -> None:
        """Fold what waits of these devices, so that asking each of them costs little. The event loop is free after each
        FOLD_SLICE samples."""
        held = (self._logged.get((node, device)) for device in devices)
        folded = 0
        for samples in fold_all([one for one in held if one is not None]):
            folded += samples
            if folded >= FOLD_SLICE:
                folded = 0
                await asyncio.sleep(0)

    def changed(self, node: str, device: str, after: int) -> bool:
        """Say whether what is known of a device has changed since the log stood at a position."""
        logged = self._logged.get((node, device))
        return self._fresh_at.get((node, device), -1) >= after or (
            logged is not None and any(candidate[1] > after for candidate in logged.cells().values())
        )

    async def fresh(self, snapshot: Snapshot, writer: Writer, building: ViewBuilder, now_us: Utc) -> None:
        """Take in a snapshot, durably; one that is refused leaves nothing behind."""

        def work(connection: sqlite3.Connection) -> dict[Key, DeviceLatest]:
            return _add(connection, snapshot, building, now_us)

        def committed(added: dict[Key, DeviceLatest]) -> None:
            self.refreshed(added)
            self._count += 1
            self.mark = f"{self._born}.{self._count}"
            if self.on_fresh is not None:
                self.on_fresh(snapshot.node, now_us)

        await writer.do(work, committed)

    @staticmethod
    def fresh_of(connection: sqlite3.Connection, node: str) -> dict[Key, DeviceLatest]:
        """What the store holds of a node's snapshots."""
        rows = connection.execute(
            "SELECT id, body FROM fresh JOIN devices USING (node_no, device_no) JOIN nodes USING (node_no)"
            " WHERE name = ?",
            (node,),
        )
        return dict(whole(rows, lambda row: ((node, row[0]), DeviceLatest(row[1])), "fresh", []))  # told when opened

    def refreshed(self, added: Mapping[Key, DeviceLatest]) -> None:
        """These devices have other snapshots now."""
        if self.on_news is not None and (news := {key: new for key in added if (new := self._news(key, added[key]))}):
            self.on_news(news)
        self._fresh.update(added)
        self._fresh_at.update(dict.fromkeys(added, self._through))

    def _news(self, key: Key, added: DeviceLatest) -> Cells:
        known = [held.cells() for held in (self._logged.get(key), self._fresh.get(key)) if held is not None]
        return {
            cell: candidate
            for cell, candidate in added.cells().items()
            if all(cell not in cells or cells[cell][0] < candidate[0] for cells in known)
        }

    def passed(self, position: int) -> None:
        """What the log holds up to here has been taken in, as far as it was any of ours."""
        self._through = max(self._through, position)

    def become(self, other: LatestTable) -> None:
        """Hold what another one holds, which is not used any more; whoever is told stays."""
        mark, told = self.mark, (self.on_fresh, self.on_news)
        self.__dict__.update(other.__dict__)
        self.mark, (self.on_fresh, self.on_news) = mark, told

    async def due(self, readers: Readers) -> bool:
        """Whether saving is worth what it writes now, or must not wait any longer."""
        count, size, looked = await readers.ask(lambda connection: _grown(connection, self._looked))
        self._again_records += count
        self._again_bytes += size
        self._looked = max(looked, self._looked)
        unsaved = sum(map(len, self._unsaved.values()))
        if not unsaved:
            return False
        pages = min(unsaved, 1 + int(len(self._logged) * self._row_bytes * FILLED) // PAGE_BYTES)
        written = 2 * PAGE_BYTES * pages  # into the write-ahead log, and out of it
        worth = written <= WRITTEN_A_BYTE * self._again_bytes
        return worth or self._again_bytes >= AGAIN_BYTES or self._again_records >= AGAIN_RECORDS

    async def save(self, writer: Writer) -> None:
        """Save what has changed, in slices, and then the position that it counts for."""
        async with self._saving:  # a second one would be done first, and count for what the first has not written yet
            await self._save(writer)

    async def _save(self, writer: Writer) -> None:
        through, again = self._through, (self._again_bytes, self._again_records)
        unsaved, self._unsaved = self._unsaved, {}
        self._again_bytes = self._again_records = 0
        try:
            size = count = 0
            part: list[DeviceLatest] = []
            for node in await self._in_order(unsaved, writer):
                part += await self._of_node(node, unsaved[node], writer)
                while len(part) >= SAVE_SLICE:
                    size += await _write(part[:SAVE_SLICE], writer)
                    count += SAVE_SLICE
                    del part[:SAVE_SLICE]
            size += await _write(part, writer)
            count += len(part)
            if through != self._saved_through:
                await writer.do(lambda connection: database.put_meta(connection, MARK, through))
        except BaseException:
            for node, devices in unsaved.items():
                self._unsaved.setdefault(node, set()).update(devices)
            self._again_bytes += again[0]
            self._again_records += again[1]
            raise
        self._saved_through = through
        if count:
            self._row_bytes = size // count

    async def _in_order(self, nodes: Collection[str], writer: Writer) -> list[str]:
        """Nodes as they lie in the store."""
        if not self._nodes.keys() >= set(nodes):
            query = "SELECT name, node_no FROM nodes"
            self._nodes = dict(await writer.do(lambda connection: connection.execute(query).fetchall()))
        return sorted(self._nodes.keys() & set(nodes), key=self._nodes.__getitem__)

    async def _of_node(self, node: str, devices: Iterable[str], writer: Writer) -> list[DeviceLatest]:
        """Devices of a node as they lie in the store."""
        found = [self._logged[node, device] for device in devices]
        if any(held.place is None for held in found):
            query = "SELECT id, node_no, device_no FROM devices JOIN nodes USING (node_no) WHERE name = ?"
            for device, *place in await writer.do(lambda connection: connection.execute(query, (node,)).fetchall()):
                if (held := self._logged.get((node, device))) is not None:
                    held.place = (place[0], place[1])
        return sorted((held for held in found if held.place is not None), key=_place)


def _loaded(row: tuple[str, str, bytes, int, int], now_us: Utc) -> tuple[str, str, DeviceLatest, int]:
    node, device, body, *place = row
    return node, device, DeviceLatest(body, (place[0], place[1]), now_us), len(body)


def _place(held: DeviceLatest) -> tuple[int, int]:
    assert held.place is not None
    return held.place


async def _write(part: Sequence[DeviceLatest], writer: Writer) -> int:
    """Save some devices, in their order; how many bytes they are."""
    if not part:
        return 0
    waited = [one.waiting for one in part]
    copies = [one.copy() for one in part]
    rows = await asyncio.to_thread(_packed, copies)
    await writer.do(lambda connection: _save(connection, rows))
    for one, waiting, copied in zip(part, waited, copies, strict=True):
        one.settle(waiting, copied)
    return sum(len(body) for *_, body in rows)


def _packed(copies: Iterable[DeviceLatest]) -> list[tuple[int, int, bytes]]:
    return [(*_place(one), one.saved()) for one in copies]


def _grown(connection: sqlite3.Connection, after: int) -> tuple[int, int, int]:
    """How many records, and how many bytes of them, there are beyond a position; and the newest."""
    return connection.execute(
        "SELECT count(*), ifnull(sum(length(body)), 0), ifnull(max(position), 0) FROM log WHERE position > ?", (after,)
    ).fetchone()


def _save(connection: sqlite3.Connection, rows: Iterable[tuple[int, int, bytes]]) -> None:
    connection.executemany("INSERT OR REPLACE INTO latest VALUES (?, ?, ?)", rows)


def _add(
    connection: sqlite3.Connection, snapshot: Snapshot, building: ViewBuilder, now_us: Utc
) -> dict[Key, DeviceLatest]:
    """Add a snapshot to what was saved of those before; what is kept of its devices now."""
    by_device: dict[str, list[Columns]] = {}
    for columns in snapshot.columns:
        by_device.setdefault(columns.device, []).append(columns)
    node_no, numbers = building.numbers(connection, snapshot.node, by_device)
    added: dict[Key, DeviceLatest] = {}
    for device, runs in by_device.items():
        place = (node_no, numbers[device])
        row = connection.execute("SELECT body FROM fresh WHERE node_no = ? AND device_no = ?", place).fetchone()
        before = whole([] if row is None else [row], lambda row: DeviceLatest(row[0]), "fresh", [])  # told when opened
        held = added[snapshot.node, device] = next(before, DeviceLatest())
        for columns in runs:
            held.take(BEFORE_THE_LOG, columns, now_us)
        connection.execute("INSERT OR REPLACE INTO fresh VALUES (?, ?, ?)", (*place, held.saved()))
    return added
