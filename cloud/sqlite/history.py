"""History in SQLite: what points did, put together of folded hours and of the readings of all other time.

All that is asked of the store is a function of a connection that reads. A long answer is read in stretches, each in one
read transaction, of one node and at most STRETCH_US of time: in between others have their turn, and what comes
meanwhile may be in the later stretches. Which hours are answered from what was folded is settled before the first:
those of which the folder knows all that the store has. Bounds: as `cloud.history.contract` says; READINGS at once.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, islice
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import msgspec

from cloud.history.calendar import FIRST_US, HOUR_US, LAST_US, edges
from cloud.history.contract import (
    CELLS_AT_ONCE,
    MAX_BODIES,
    MAX_SERIES,
    Block,
    HistoryAsked,
    HistoryFound,
    Series,
    TooMuch,
    check,
    found_of,
    lead_us,
    series_of,
    unknown_of,
)
from cloud.history.folded import FoldedHours
from cloud.history.gather import Gathered, Key
from cloud.history.partial import Readings
from cloud.history.place import DAY_HOURS, Place
from cloud.history.raw import Cells, Stretch, cells_of, put, stretches, unfolded
from cloud.sqlite import database, reports
from cloud.sqlite.pieces import NodePiece, earliest_of, node_pieces, offset_of
from cloud.sqlite.read_views import fixes_of
from cloud.sqlite.readers import Readers
from cloud.times import Now
from cloud.views.readings_page import PageWindow
from wire.time import Utc

if TYPE_CHECKING:  # which brings numpy: not before somebody asks
    from cloud.history.grid import Grid

LOG: Final = logging.getLogger("lamplighter.cloud")
READINGS: Final = 5_000_000

Touched = Mapping[str, Sequence[tuple[Utc, Utc]]]  # by node, between which times something has come since


class _Portion(msgspec.Struct, frozen=True):
    """Series of a few nodes that are put together at once. `raw` has, of each node, the cells that must be made of
    readings; the others are folded."""

    series: Sequence[Series]
    cells: Cells
    raw: Mapping[str, Sequence[bool]]

    def nodes(self) -> Iterator[tuple[str, Sequence[Series]]]:
        """The series of each."""
        for node, group in groupby(self.series, _node):
            yield node, list(group)


class SqliteHistory:
    """Owns no readers; `cloud.sqlite.store` does."""

    def __init__(self, readers: Readers, now: Now, folded: FoldedHours | None = None, bodies: int = MAX_BODIES) -> None:
        """`folded` is what a folder keeps of the same store, where one does; at most so many `bodies` are opened for
        one answer."""
        self._readers, self._now, self._folded, self._bodies = readers, now, folded, bodies

    async def series(self, asked: HistoryAsked) -> tuple[int, Sequence[str]]:
        """How many series are meant, and which devices that were named are not known."""
        known = await self._readers.ask(lambda connection: reports.targets_of(connection, asked.which, MAX_SERIES))
        return len(series_of(known, asked)), unknown_of(asked, known)

    async def history(self, asked: HistoryAsked) -> HistoryFound:
        """What the points did."""
        buckets = _buckets(asked, self._now())
        known = await self._readers.ask(lambda connection: reports.targets_of(connection, asked.which, MAX_SERIES))
        series = series_of(known, asked)
        check(len(series), len(buckets) - 1)
        place, touched = await self._state({s.node for s in series})
        portions = list(_portions(series, buckets, place, touched))
        most = self._bodies
        for portion in portions:
            for node, found in portion.nodes():
                most -= await self._readers.ask(
                    partial(_count, node=node, series=found, cells=portion.cells, raw=portion.raw[node], most=most)
                )
                if most < 0:
                    raise _too_many_bodies(self._bodies)
        return found_of(asked, buckets, known, series, self._blocks(portions, place))

    async def _state(self, nodes: set[str]) -> tuple[Place, Touched]:
        """How far the folder has come, and what it has not seen yet: the place first, for it may move on."""
        place = None if self._folded is None else await asyncio.to_thread(self._folded.place)
        if place is None or not place.days:
            return Place(), {}
        touched = await self._readers.ask(lambda connection: _touched(connection, place, nodes))
        return (Place(), {}) if touched is None else (place, touched)

    async def _blocks(self, portions: Sequence[_Portion], place: Place) -> AsyncIterator[Block]:
        for portion in portions:
            yield await self._block(portion, place)

    async def _block(self, portion: _Portion, place: Place) -> Block:
        from cloud.history.grid import Grid

        cells, series = portion.cells, portion.series
        grid = Grid([s.terms for s in series], cells.edges, cells.lead)
        raw = {node: list(wanted) for node, wanted in portion.raw.items()}
        if not all(map(all, raw.values())):
            try:
                await asyncio.to_thread(self._put_folded, grid, portion, place, raw)
            except OSError as error:  # files that were replaced meanwhile, or that somebody took away
                LOG.warning("what was folded is not used for an answer: %s", error)
                raw = {node: [True] * len(wanted) for node, wanted in raw.items()}
        places = {(s.device, s.point): (row, s) for row, s in enumerate(series)}

        def read(connection: sqlite3.Connection, node: str, found: Sequence[Series], within: Stretch) -> None:
            put(grid, cells, within, places, readings_of(connection, node, {s.device for s in found},
                                                         {s.point for s in found}, within))  # fmt: skip

        most = self._bodies
        for node, found in portion.nodes():
            if raw[node] != portion.raw[node]:
                most -= await self._readers.ask(
                    partial(_count, node=node, series=found, cells=cells, raw=raw[node], most=most)
                )
                if most < 0:
                    raise _too_many_bodies(self._bodies)
            earliest = await self._readers.ask(partial(_earliest, node=node, wanted={s.device for s in found}))
            for within in stretches(cells, raw[node]):
                if within.to_us > earliest:
                    await self._readers.ask(partial(read, node=node, found=found, within=within))
        return Block(series, await asyncio.to_thread(grid.course, cells.starts))

    def _put_folded(self, grid: Grid, portion: _Portion, place: Place, raw: dict[str, list[bool]]) -> None:
        """Put what was folded into the grid. Hours that were folded otherwise than they are asked for become raw.

        Raises:
            OSError: a file cannot be read.
        """
        import numpy as np

        assert self._folded is not None
        cells, series = portion.cells, portion.series
        takes = ~np.array([raw[s.node] for s in series])
        begin = cells.edges[cells.lead]
        for row, s in enumerate(series):
            takes[row, : (begin - lead_us(s.terms) - cells.edges[0]) // HOUR_US] = False
        days = range(cells.edges[0] // HOUR_US // DAY_HOURS, (cells.edges[-1] - 1) // HOUR_US // DAY_HOURS + 1)
        rows = {(s.point, s.node, s.device): row for row, s in enumerate(series)}
        for found in self._folded.read(place, days, rows, [s.terms for s in series]):
            grid.put_columns(found.series, found.hours_us, found.columns, found.words, takes)
            for row, hour_us in zip(
                found.series[found.strange].tolist(), found.hours_us[found.strange].tolist(), strict=True
            ):
                cell = (hour_us - cells.edges[0]) // HOUR_US
                if 0 <= cell < takes.shape[1]:
                    raw[series[int(row)].node][cell] = True


def _node(series: Series) -> str:
    return series.node


def readings_of(
    connection: sqlite3.Connection, node: str, devices: set[str] | None, points: set[str] | None, within: Stretch
) -> Mapping[Key, Readings]:
    """The readings of a node's devices and points in a stretch of time; of all where None is given.

    Raises:
        TooMuch: there are more than READINGS.
    """
    gathered = Gathered(devices, points)
    for piece in _pieces(connection, node, devices, (within.from_us, within.to_us)):
        for run in piece.open():
            gathered.add(run)
        if gathered.readings > READINGS:
            raise TooMuch(f"more than {READINGS:,} readings of {node} within hours: ask for fewer devices or points")
    return gathered.take()


def _pieces(
    connection: sqlite3.Connection, node: str, wanted: set[str] | None, window: tuple[Utc, Utc]
) -> Iterator[NodePiece]:
    row = connection.execute("SELECT node_no FROM nodes WHERE name = ?", (node,)).fetchone()
    if row is None:
        return
    devices = {
        number: device
        for device, number in connection.execute("SELECT id, device_no FROM devices WHERE node_no = ?", row)
        if wanted is None or device in wanted
    }
    yield from node_pieces(connection, row[0], devices, fixes_of(connection, row[0]), PageWindow(*window, None))


def _touched(connection: sqlite3.Connection, place: Place, nodes: set[str]) -> Touched | None:
    """What has come after a place; None where that cannot be told, or the place is that of another store."""
    floor, generation = database.meta(connection, "floor"), database.meta(connection, "generation")
    if place.generation != generation or place.position < floor:
        return None
    if place.losses != database.meta(connection, database.LOSSES):
        return None
    found: dict[str, list[tuple[Utc, Utc]]] = {}
    for node_no, node in connection.execute(
        "SELECT DISTINCT node_no, name FROM log JOIN streams USING (stream_no) JOIN nodes USING (node_no)"
        " WHERE position > ?",
        (place.position,),
    ).fetchall():
        if node not in nodes:
            continue
        fixed = connection.execute(
            "SELECT 1 FROM fixes WHERE node_no = ? AND position > ?", (node_no, place.position)
        ).fetchone()
        if fixed is not None:
            found[node] = [(FIRST_US, LAST_US)]
            continue
        fixes = fixes_of(connection, node_no)
        found[node] = [
            (from_us + offset_of(base, fixes), to_us + offset_of(base, fixes))
            for base, from_us, to_us in _come_since(connection, node_no, place.position)
        ]
    return found


def _come_since(connection: sqlite3.Connection, node_no: int, position: int) -> Iterator[tuple[int, Utc, Utc]]:
    """Of what has come after a position: its base, and between which times it lies."""
    yield from connection.execute(
        "SELECT base, from_us, to_us FROM spans WHERE node_no = ? AND position > ?", (node_no, position)
    )
    chunked = "SELECT 1 FROM streams JOIN chunked USING (stream_no) WHERE node_no = ? AND position > ?"
    if connection.execute(chunked, (node_no, position)).fetchone() is not None:
        yield from connection.execute(
            "SELECT base, from_us, to_us FROM chunks WHERE node_no = ? AND last_position > ?", (node_no, position)
        )


def _count(
    connection: sqlite3.Connection,
    node: str,
    series: Sequence[Series],
    cells: Cells,
    raw: Sequence[bool],
    most: int,
) -> int:
    """How many bodies are opened, at most one more than `most`."""
    devices, count = {s.device for s in series}, 0
    earliest = _earliest(connection, node, devices)
    for within in stretches(cells, raw):
        if within.to_us <= earliest:
            continue
        count += sum(1 for _ in islice(_pieces(connection, node, devices, (within.from_us, within.to_us)), most + 1))
        if count > most:
            break
    return count


def _earliest(connection: sqlite3.Connection, node: str, wanted: set[str]) -> Utc:
    """Before when nothing of a node's devices lies: the years before it are not searched six hours at a time."""
    row = connection.execute("SELECT node_no FROM nodes WHERE name = ?", (node,)).fetchone()
    if row is None:
        return LAST_US
    known = connection.execute("SELECT id, device_no FROM devices WHERE node_no = ?", row)
    devices = [number for device, number in known if device in wanted]
    found = earliest_of(connection, row[0], devices, fixes_of(connection, row[0]))
    return LAST_US if found is None else found


def _too_many_bodies(most: int) -> TooMuch:
    return TooMuch(f"more than {most:,} bodies would have to be opened: ask for a shorter time, or for fewer devices")


def _buckets(asked: HistoryAsked, now_us: Utc) -> list[Utc]:
    """The buckets that are asked for, of which the last may not be over."""
    found = edges(asked.every, ZoneInfo(asked.zone), asked.from_us, min(asked.to_us, now_us))
    return [*found[:-1], min(found[-1], now_us)]


def _portions(series: Sequence[Series], buckets: Sequence[Utc], place: Place, touched: Touched) -> Iterator[_Portion]:
    """As many series at once as make CELLS_AT_ONCE, at least one."""
    at = 0
    while at < len(series):
        cells = cells_of(buckets, max(lead_us(s.terms) for s in series[at:]))
        stop = at + max(1, CELLS_AT_ONCE // (len(cells.edges) - 1))
        part = series[at:stop]
        nodes = dict.fromkeys(s.node for s in part)
        yield _Portion(part, cells, {n: unfolded(cells, n, place, touched.get(n, ())) for n in nodes})
        at = stop
