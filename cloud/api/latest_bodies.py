"""What `/v1/latest` answers with: JSON, CSV, or an Arrow stream. In CSV and Arrow each point has a row of its own.

The event loop is free after each chunk of devices, and Arrow's columns are made beside it. Its schema has as metadata
what JSON has beside the devices: `cursor`, `complete`, and `gone` as JSON.
"""

# pyarrow has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingModuleSource=false, reportAttributeAccessIssue=false

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from cloud.api.csv_cells import CSV, cell
from cloud.api.routes import JSON
from cloud.times import parse
from cloud.views.answers import CityLatest, LatestRow, PointsNow
from wire.device import Point
from wire.sample import Value
from wire.time import Utc

ARROW: Final = "application/vnd.apache.arrow.stream"
COLUMNS: Final = (
    "device", "node", "kind", "profile", "name", "lon", "lat", "point", "value", "unit", "quality", "time", "clock",
)  # fmt: skip
WHO: Final = ("level", "level_value", "by", "until")  # with decided=1

Write = Callable[[CityLatest, str, bool, bool], Awaitable[bytes]]  # cursor, complete, who decides


async def json_of(found: CityLatest, cursor: str, complete: bool, _who: bool) -> bytes:
    """One object."""
    profiles: dict[tuple[str | None, bytes], int] = {}
    known: dict[tuple[str | None, int], int] = {}  # by the identity of a roster's points, which `alive` keeps
    alive: list[tuple[Point, ...]] = []
    pieces: list[bytes] = []
    gone: list[str] = []
    async for chunk in found.chunks:
        for row in chunk:
            if row.now is None:
                gone.append(row.device.id)
                continue
            place = (row.device.profile, id(row.points))
            if (described := known.get(place)) is None:
                alive.append(row.points)
                points = (row.device.profile, msgspec.json.encode(row.points))
                described = known[place] = profiles.setdefault(points, len(profiles))
            # Two objects that become one: neither is empty.
            pieces.append(
                msgspec.json.encode(row.device)[:-1]
                + b',"described":%d,' % described
                + msgspec.json.encode(row.now)[1:]
            )
    told = [{"profile": profile, "points": msgspec.Raw(points)} for profile, points in profiles]
    return b'{"cursor":%s,"complete":%s,"devices":[%s],"gone":%s,"profiles":%s}' % (
        msgspec.json.encode(cursor), b"true" if complete else b"false", b",".join(pieces), msgspec.json.encode(gone),
        msgspec.json.encode(told),
    )  # fmt: skip


async def csv_of(found: CityLatest, _cursor: str, _complete: bool, who: bool) -> bytes:
    """A row a point."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow((*COLUMNS, *WHO) if who else COLUMNS)
    async for chunk in found.chunks:
        writer.writerows(_rows(chunk, who=who))
    return text.getvalue().encode()


def _rows(chunk: Sequence[LatestRow], *, who: bool) -> Iterable[Sequence[object]]:
    for row in chunk:
        if row.now is None:
            continue
        seen, now = row.device, row.now
        units = {p.name: p.unit for p in row.points}
        head = [cell(v) for v in (seen.id, seen.node, seen.kind, seen.profile, seen.name, seen.lon, seen.lat)]
        for point, value in now.values.items():
            yield [
                *head, cell(point), cell(value), units.get(point, ""), now.quality.get(point, "good"),
                now.times.get(point, now.time), now.clocks.get(point, now.clock), *(_who(now, point) if who else ()),
            ]  # fmt: skip


def _who(now: PointsNow, point: str) -> Sequence[object]:
    """Who decides, in the columns of WHO."""
    decided = now.decided.get(point)
    if decided is None or decided.level is None:
        return ("", "", "", "")
    return (decided.level, cell(decided.value), cell(decided.by), decided.until or "")


class _Columns:
    """The rows of some devices, column by column: what all points of a device share is held once a device."""

    def __init__(self) -> None:
        self.rows: list[LatestRow] = []
        self.counts: list[int] = []
        self.points: list[str] = []
        self.values: list[Value] = []
        self.units: list[str] = []
        self.numbers: list[bool] = []  # whether the roster says that it is one
        self.times: list[Utc | None] = []
        self.qualities: dict[int, str] = {}
        self.clocks: dict[int, str] = {}
        self.own_times: dict[int, Utc] = {}
        self._of: dict[tuple[int, tuple[str, ...]], tuple[list[str], list[bool]]] = {}

    def add(self, row: LatestRow, now: PointsNow) -> None:
        """One device."""
        first, points = len(self.points), tuple(now.values)
        known = self._of.get((id(row.points), points))
        if known is None:
            of = {p.name: p for p in row.points}
            described = [of.get(p) for p in points]
            units = ["" if d is None else d.unit for d in described]
            known = self._of[id(row.points), points] = (
                units, [d is not None and d.type in {"int", "float"} for d in described],
            )  # fmt: skip
        self.rows.append(row)  # which keeps its points, by whose identity they are known
        self.counts.append(len(points))
        self.points += points
        self.values += now.values.values()
        self.units += known[0]
        self.numbers += known[1]
        self.times.append(now.time_us)
        if now.quality or now.times or now.clocks:
            at = {point: first + i for i, point in enumerate(points)}
            self.qualities |= {at[p]: q for p, q in now.quality.items()}
            self.clocks |= {at[p]: c for p, c in now.clocks.items()}
            self.own_times |= {at[p]: parse(t) for p, t in now.times.items()}


async def arrow_of(found: CityLatest, cursor: str, complete: bool, who: bool) -> bytes:
    """A stream of one batch, a row a point. What is no number is in `text`."""
    columns, gone = _Columns(), list[str]()
    async for chunk in found.chunks:
        for row in chunk:
            if row.now is None:
                gone.append(row.device.id)
            else:
                columns.add(row, row.now)
    told = {"cursor": cursor, "complete": "true" if complete else "false", "gone": msgspec.json.encode(gone).decode()}
    return await asyncio.to_thread(_stream, columns, told, who=who)


def _stream(columns: _Columns, told: Mapping[str, str], *, who: bool) -> bytes:
    import numpy as np
    import pyarrow as pa

    rows, counts = columns.rows, np.array(columns.counts, np.int64)
    places = pa.array(np.repeat(np.arange(len(rows), dtype=np.int32), counts))

    def shared(values: Sequence[Any], kind: Any) -> Any:
        return pa.array(values, kind).take(places)

    def words(values: Sequence[str | None]) -> Any:
        return pa.array(values, pa.string()).dictionary_encode()

    def marked(default: Sequence[str | None], own: Mapping[int, str]) -> Any:
        """What each device has for all of its points, but for those that have their own."""
        if not own:
            return words(default).take(places)
        found = [d for d, count in zip(default, columns.counts, strict=True) for _ in range(count)]
        for at, value in own.items():
            found[at] = value
        return words(found)

    def held(name: str) -> list[Any]:
        return [getattr(row.device, name) for row in rows]

    times = np.repeat(np.array([t or 0 for t in columns.times], np.int64), counts)
    for at, time_us in columns.own_times.items():
        times[at] = time_us
    numbers, texts = _split(columns.values, columns.numbers)
    made: dict[str, Any] = {
        name: words(held(attribute)).take(places)  # each word once, or pandas refuses them
        for name, attribute in (("device", "id"), ("node", "node"), ("kind", "kind"), ("profile", "profile"))
    }
    made |= {
        "name": shared(held("name"), pa.string()),
        "lon": shared(held("lon"), pa.float64()),
        "lat": shared(held("lat"), pa.float64()),
        "point": words(columns.points),
        "value": pa.array(numbers, pa.float64()),
        "text": pa.array(texts, pa.string()),
        "unit": words(columns.units),
        "quality": marked(["good"] * len(rows), columns.qualities),
        "time": pa.array(times).cast(pa.timestamp("us", "UTC")),
        "clock": marked([row.now.clock if row.now is not None else None for row in rows], columns.clocks),
    }
    if who:
        made |= _deciders(columns)
    table = pa.table(made).replace_schema_metadata(dict(told))
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def _deciders(columns: _Columns) -> dict[str, Any]:
    import pyarrow as pa

    said = [
        None if row.now is None else row.now.decided.get(point)
        for row, count, first in zip(columns.rows, columns.counts, _firsts(columns.counts), strict=True)
        for point in columns.points[first : first + count]
    ]
    numbers, texts = _split([None if d is None else d.value for d in said], [False] * len(said))
    untils = [None if d is None else d.until_us for d in said]
    return {
        "level": pa.array([None if d is None else d.level for d in said], pa.string()).dictionary_encode(),
        "level_value": pa.array(numbers, pa.float64()),
        "level_text": pa.array(texts, pa.string()),
        "by": pa.array([None if d is None or d.level is None else d.by for d in said], pa.string()),
        "until": pa.array(untils, pa.int64()).cast(pa.timestamp("us", "UTC")),
    }


def _firsts(counts: Iterable[int]) -> Iterable[int]:
    at = 0
    for count in counts:
        yield at
        at += count


def _split(values: Sequence[Value], numbers: Sequence[bool]) -> tuple[list[float | None], list[str | None]]:
    """Numbers, booleans as 0 and 1, and texts; what JSON has no number for is one again where it is meant as one."""
    if set(map(type, values)) <= {int, float, bool}:
        return list(map(float, values)), [None] * len(values)  # type: ignore[arg-type]
    found: list[float | None] = []
    texts: list[str | None] = []
    for value, number in zip(values, numbers, strict=True):
        text = value if isinstance(value, str) and not number else None
        texts.append(text)
        found.append(None if value is None or text is not None else float(value))
    return found, texts


SHAPES: Final[Mapping[str, tuple[str, Write]]] = {
    "json": (JSON, json_of),
    "csv": (f"{CSV}; charset=utf-8; header=present", csv_of),
    "arrow": (ARROW, arrow_of),
}
