"""History in SQLite: what points did, put together from the batches and chunks that hold their readings.

All that is asked of the store is a function of a connection that reads. A long answer is read in slices, each in one
read transaction, of one node and at most `SLICE_US` of time: in between others have their turn, and what comes
meanwhile may be in the later slices. Bounds: as `cloud.history.contract` says; READINGS at once, of one slice.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, islice
from operator import attrgetter
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from cloud.history.calendar import edges
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
)
from cloud.history.gather import Gathered, Key
from cloud.history.partial import Readings
from cloud.history.raw import Cells, Stretch, cells_of, put, slices
from cloud.sqlite import reports
from cloud.sqlite.pieces import NodePiece, node_pieces
from cloud.sqlite.readers import Readers
from cloud.sqlite.views import fixes_of
from cloud.times import Now
from cloud.views.readings_page import PageWindow
from wire.time import Utc

READINGS: Final = 5_000_000


class _Portion(msgspec.Struct, frozen=True):
    """Series of a few nodes that are put together at once."""

    series: Sequence[Series]
    cells: Cells


class SqliteHistory:
    """Owns no readers; `cloud.sqlite.store` does."""

    def __init__(self, readers: Readers, now: Now) -> None:
        self._readers, self._now = readers, now

    async def history(self, asked: HistoryAsked) -> HistoryFound:
        """What the points did."""
        buckets = _buckets(asked, self._now())
        known = await self._readers.ask(lambda connection: reports.targets_of(connection, asked.which, MAX_SERIES))
        series = series_of(known, asked)
        check(len(series), len(buckets) - 1)
        portions = list(_portions(series, buckets))
        bodies = 0
        for portion in portions:
            for node, group in groupby(portion.series, attrgetter("node")):
                found = list(group)
                most = MAX_BODIES - bodies
                window = (portion.cells.edges[0], buckets[-1])
                bodies += await self._readers.ask(partial(_count, node=node, series=found, window=window, most=most))
                if bodies > MAX_BODIES:
                    raise TooMuch(
                        f"more than {MAX_BODIES:,} bodies would have to be opened: ask for a shorter time, or for fewer"
                        " devices"
                    )
        return found_of(asked, buckets, known, series, self._blocks(portions))

    async def _blocks(self, portions: Sequence[_Portion]) -> AsyncIterator[Block]:
        for portion in portions:
            yield await self._block(portion.series, portion.cells)

    async def _block(self, series: Sequence[Series], cells: Cells) -> Block:
        from cloud.history.grid import Grid  # brings numpy: not before somebody asks

        grid = Grid([s.terms for s in series], cells.edges, cells.lead)
        places = {(s.device, s.point): (row, s) for row, s in enumerate(series)}

        def read(connection: sqlite3.Connection, node: str, found: Sequence[Series], within: Stretch) -> None:
            put(grid, cells, within, places, readings_of(connection, node, found, within))

        for node, group in groupby(series, attrgetter("node")):
            found = list(group)
            for within in slices(cells):
                await self._readers.ask(partial(read, node=node, found=found, within=within))
        return Block(series, await asyncio.to_thread(grid.course, cells.starts))


def readings_of(
    connection: sqlite3.Connection, node: str, series: Sequence[Series], within: Stretch
) -> Mapping[Key, Readings]:
    """The readings of a node's series in a slice of time.

    Raises:
        TooMuch: there are more than READINGS.
    """
    gathered = Gathered({s.point for s in series})
    for piece in _pieces(connection, node, series, (within.from_us, within.to_us)):
        for run in piece.open():
            gathered.add(run)
        if gathered.readings > READINGS:
            raise TooMuch(f"more than {READINGS:,} readings of {node} within hours: ask for fewer devices or points")
    return gathered.take()


def _pieces(
    connection: sqlite3.Connection, node: str, series: Sequence[Series], window: tuple[Utc, Utc]
) -> Iterator[NodePiece]:
    row = connection.execute("SELECT node_no FROM nodes WHERE name = ?", (node,)).fetchone()
    if row is None:
        return
    wanted = {s.device for s in series}
    devices = {
        number: device
        for device, number in connection.execute("SELECT id, device_no FROM devices WHERE node_no = ?", row)
        if device in wanted
    }
    yield from node_pieces(connection, row[0], devices, fixes_of(connection, row[0]), PageWindow(*window, None))


def _count(
    connection: sqlite3.Connection, node: str, series: Sequence[Series], window: tuple[Utc, Utc], most: int
) -> int:
    """How many bodies these are, at most one more than `most`."""
    return sum(1 for _ in islice(_pieces(connection, node, series, window), most + 1))


def _buckets(asked: HistoryAsked, now_us: Utc) -> list[Utc]:
    """The buckets that are asked for, of which the last may not be over."""
    found = edges(asked.every, ZoneInfo(asked.zone), asked.from_us, min(asked.to_us, now_us))
    return [*found[:-1], min(found[-1], now_us)]


def _portions(series: Sequence[Series], buckets: Sequence[Utc]) -> Iterator[_Portion]:
    """As many series at once as make CELLS_AT_ONCE, at least one."""
    at = 0
    while at < len(series):
        lead = max(lead_us(s.terms) for s in series[at:])
        cells = cells_of(buckets, lead)
        stop = at + max(1, CELLS_AT_ONCE // (len(cells.edges) - 1))
        yield _Portion(series[at:stop], cells)
        at = stop
