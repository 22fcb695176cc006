"""Hours: what the folder folds, as it reads it from the store. Each answer is one read transaction.

Bounds: one node's readings of STRETCH_US at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from cloud.history.calendar import FIRST_US, HOUR_US, LAST_US
from cloud.history.contract import described_series
from cloud.history.gather import fold_cells
from cloud.history.partial import HourRow
from cloud.history.raw import Cells, Stretch, stretches
from cloud.history.sources import Extent
from cloud.log.contract import READ_BYTES, Reach, Record
from cloud.log.cursor import Origins
from cloud.sqlite import database
from cloud.sqlite.history import readings_of
from cloud.sqlite.read_log import reach_of, records_of
from cloud.sqlite.read_views import fixes_of
from cloud.sqlite.readers import Readers
from cloud.times import DAY_US
from wire.device import Device, Point
from wire.time import Micros, Utc

_Profiles = dict[str, tuple[Point, ...]]


class SqliteHours:
    """Owns no readers."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def origins(self) -> Origins:
        """The log's generation, and where it comes from."""
        return await self._readers.ask(database.origins_of)

    async def losses(self) -> int:
        """How often the store was built again with something missing."""
        return await self._readers.ask(lambda connection: database.meta(connection, database.LOSSES))

    async def reach(self) -> Reach:
        """Which positions the log has."""
        return await self._readers.ask(reach_of)

    async def read(self, after: int, limit: int, limit_bytes: int = READ_BYTES) -> Sequence[Record]:
        """The records of the log after a position, oldest first."""
        return await self._readers.ask(lambda connection: records_of(connection, after, limit, limit_bytes))

    async def nodes(self) -> Sequence[str]:
        """The names of all nodes."""
        query = "SELECT name FROM nodes ORDER BY name"
        return [name for (name,) in await self._readers.ask(lambda connection: connection.execute(query).fetchall())]

    async def days(self) -> set[int]:
        """The days of UTC in which anything was read: all batches and chunks are gone over."""

        def query(connection: sqlite3.Connection) -> set[int]:
            found: set[int] = set()
            for table in ("spans", "chunks"):
                rows = connection.execute(
                    "SELECT DISTINCT (from_us + ifnull(offset_us, 0)) / ?1, (to_us + ifnull(offset_us, 0)) / ?1"  # noqa: S608  ours
                    f" FROM {table} t LEFT JOIN fixes f ON f.node_no = t.node_no AND f.boot = t.base"
                    " WHERE from_us + ifnull(offset_us, 0) >= ?2 AND to_us + ifnull(offset_us, 0) < ?3",
                    (DAY_US, FIRST_US, LAST_US),
                )
                for first, last in rows:
                    found.update(range(first, last + 1))
            return found

        return await self._readers.ask(query)

    async def offsets(self, node: str) -> Mapping[int, Micros]:
        """What corrects the times of a node's boots now."""

        def query(connection: sqlite3.Connection) -> Mapping[int, Micros]:
            row = connection.execute("SELECT node_no FROM nodes WHERE name = ?", (node,)).fetchone()
            return {} if row is None else {b: fix.offset_us for b, fix in fixes_of(connection, row[0]).items()}

        return await self._readers.ask(query)

    async def extents(self, node: str | None, boot: int | None, after: int) -> Sequence[Extent]:
        """Between which times something was read, one extent a node and time base."""

        def query(connection: sqlite3.Connection) -> list[Extent]:
            found: list[Extent] = []
            for table, position in (("spans", "position"), ("chunks", "last_position")):
                found += connection.execute(
                    f"SELECT name, base, min(from_us), max(to_us) FROM {table} JOIN nodes USING (node_no)"  # noqa: S608  ours
                    f" WHERE (?1 IS NULL OR name = ?1) AND (?2 IS NULL OR base = ?2) AND {position} > ?3"
                    " GROUP BY node_no, base",
                    (node, boot, after),
                )
            return found

        return await self._readers.ask(query)

    async def hours(self, node: str, from_us: Utc, to_us: Utc) -> Sequence[HourRow]:
        """All partials of a node's hours between two whole ones."""
        cells = Cells([*map(Utc, range(from_us, to_us + 1, HOUR_US))], 0, ())
        rows: list[HourRow] = []
        for within in stretches(cells):
            rows += await self._readers.ask(lambda connection, within=within: _rows(connection, node, cells, within))
        return rows


_Described = tuple[Device | None, Mapping[str, Point]]
_UNKNOWN: Final[_Described] = (None, {})


def _rows(connection: sqlite3.Connection, node: str, cells: Cells, within: Stretch) -> list[HourRow]:
    known = _described(connection, node)
    edges = cells.edges[within.first : within.stop + 1]
    rows: list[HourRow] = []
    for (device, point), readings in readings_of(connection, node, None, None, within).items():
        of, points = known.get(device, _UNKNOWN)
        terms = described_series(device, node, point, of, points.get(point)).terms
        at, partials = fold_cells(readings, edges, terms, edges[0])
        rows += [HourRow(point, device, edges[c], p, terms) for c, p in zip(at, partials, strict=True)]
    return rows


def _described(connection: sqlite3.Connection, node: str) -> Mapping[str, _Described]:
    """Each of a node's devices, and its points, as its roster has them."""
    row = connection.execute(
        "SELECT node_no, profiles FROM rosters JOIN nodes USING (node_no) WHERE name = ?", (node,)
    ).fetchone()
    if row is None:
        return {}
    profiles = {
        profile: {p.name: p for p in points} for profile, points in msgspec.json.decode(row[1], type=_Profiles).items()
    }
    devices = connection.execute("SELECT body FROM rostered WHERE node_no = ?", row[:1])
    found = [msgspec.json.decode(body, type=Device) for (body,) in devices]
    return {d.id: (d, profiles.get(d.profile, {})) for d in found}
