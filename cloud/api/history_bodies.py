"""History as bytes: JSON, CSV, an Arrow stream or a Parquet file of the same values, piece by piece.

Each block is made into bytes in a thread, one after the other. In JSON the buckets' beginnings are told once, and of
each series a list a function. In the others each bucket of each series is a row, its beginning with its time zone; CSV
has it once more as a spreadsheet takes it.

Bound: one block and its bytes are held, PIECE_BYTES a piece and what one series makes.
"""

# pyarrow has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingModuleSource=false, reportAttributeAccessIssue=false

from __future__ import annotations

import asyncio
import csv
import io
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, Literal, get_args
from zoneinfo import ZoneInfo

import msgspec

from cloud.api.csv_cells import cell
from cloud.history.calendar import Every, text
from cloud.history.contract import Block, HistoryAsked, HistoryFound, Series
from cloud.times import SECOND_US
from wire.device import PointType
from wire.time import Utc

if TYPE_CHECKING:  # which brings numpy: not before somebody asks
    from cloud.history.grid import Course

Function = Literal[
    "mean", "min", "max", "first", "last", "count", "uncertain", "bad", "coverage", "increase", "resets", "wraps",
    "unsure",
]  # fmt: skip
FUNCTIONS: Final[tuple[Function, ...]] = get_args(Function)
PIECE_BYTES: Final = 256 << 10
_COUNTER: Final = ("increase", "resets", "wraps", "unsure")
_COLUMNS: Final = ("device", "node", "point", "unit", "begin", "local")


class HistorySeries(msgspec.Struct, frozen=True, kw_only=True):
    """What a point of a device did: of each function one value a bucket, null where it is not known.

    A value is held until the next, at most for `hold_s`; where `hold_known` is false neither its profile nor its node
    says how long, and `coverage` is null. `period_s` is how often it is read, or should be heard; null where its node
    does not say. `counter` and `wraps_at` are null where the profile does not say.
    """

    device: str
    node: str
    point: str
    type: PointType | None
    unit: str
    hold_s: float
    hold_known: bool
    period_s: float | None
    counter: bool | None
    wraps_at: float | None
    values: Mapping[str, Sequence[float | str | None]]


class HistoryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The buckets, each from its beginning to the next one's, the last to `to`; and the series by node, device and
    point. `unknown` are devices that were named and are not known."""

    every: Every
    tz: str
    begins: Sequence[str]
    to: str
    unknown: Sequence[str]
    series: Sequence[HistorySeries]


class _Values(msgspec.Struct, frozen=True):
    """The series of a block of which something is told, with an array a function: a row each, NaN for what is not
    known. `words` are the last of those that have texts, by row and bucket."""

    series: Sequence[Series]
    columns: Mapping[Function, Any]
    words: Mapping[tuple[int, int], str]

    def rows(self) -> Iterator[tuple[Series, Mapping[str, Sequence[Any]]]]:
        """Each series with a list a function."""
        worded = {row for row, _ in self.words}
        for row, series in enumerate(self.series):
            values: dict[str, Sequence[Any]] = {f: column[row].tolist() for f, column in self.columns.items()}
            if row in worded and "last" in values:
                values["last"] = [self.words.get((row, b), v) for b, v in enumerate(values["last"])]
            yield series, values


async def _json(
    asked: HistoryAsked, found: HistoryFound, blocks: AsyncIterator[Block], functions: Sequence[Function]
) -> AsyncGenerator[bytes]:
    zone, edges = ZoneInfo(asked.zone), found.edges
    head = HistoryAnswer(
        every=asked.every,
        tz=asked.zone,
        begins=[text(edge, zone) for edge in edges[:-1]],
        to=text(edges[-1], zone),
        unknown=found.unknown,
        series=(),
    )

    def encoded(block: Block) -> list[bytes]:
        return [
            msgspec.json.encode(_told(series, values)) for series, values in _values(block, edges, functions).rows()
        ]

    yield msgspec.json.encode(head).removesuffix(b"]}")
    comma = b""
    async for block in blocks:
        for piece in _gathered(await asyncio.to_thread(encoded, block), b","):
            yield comma + piece
            comma = b","
    yield b"]}"


async def _csv(
    asked: HistoryAsked, found: HistoryFound, blocks: AsyncIterator[Block], functions: Sequence[Function]
) -> AsyncGenerator[bytes]:
    zone, edges = ZoneInfo(asked.zone), found.edges
    begins = [text(edge, zone) for edge in edges[:-1]]
    local = [begin[:19].replace("T", " ") for begin in begins]

    def lines(rows: Iterable[Iterable[object]]) -> bytes:
        out = io.StringIO()
        csv.writer(out).writerows(rows)
        return out.getvalue().encode()

    def of_block(block: Block) -> list[bytes]:
        made: list[bytes] = []
        for series, values in _values(block, edges, functions).rows():
            head = [repeat(cell(v)) for v in (series.device, series.node, series.point, _unit(series))]
            made.append(lines(zip(*head, begins, local, *(map(_shown, values[f]) for f in functions), strict=False)))
        return made

    empty = [""] * (len(_COLUMNS) + len(functions) - 1)
    yield lines([(*_COLUMNS, *functions), *((cell(device), *empty) for device in found.unknown)])
    async for block in blocks:
        for piece in _gathered(await asyncio.to_thread(of_block, block), b""):
            yield piece


def _gathered(parts: Sequence[bytes], between: bytes) -> Iterator[bytes]:
    """The same in pieces of some PIECE_BYTES."""
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= PIECE_BYTES:
            yield between.join(held)
            held, size = [], 0
    if held:
        yield between.join(held)


def _shown(value: object) -> object:
    """NaN is an empty cell."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else cell(value)


def _told(series: Series, values: Mapping[str, Sequence[Any]]) -> HistorySeries:
    described, terms = series.described, series.terms
    return HistorySeries(
        device=series.device,
        node=series.node,
        point=series.point,
        type=None if described is None else described.type,
        unit=_unit(series),
        hold_s=terms.hold_us / SECOND_US,
        hold_known=series.hold_known,
        period_s=series.period_s,
        counter=series.counts,
        wraps_at=None if described is None else described.wraps_at,
        values=values,
    )


def _unit(series: Series) -> str:
    return "" if series.described is None else series.described.unit


class _Sink(io.RawIOBase):
    """What writers of Arrow write, until it is taken."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held.append(bytes(data))
        self._size += len(self._held[-1])
        return len(self._held[-1])

    def tell(self) -> int:
        return self._size

    def pieces(self) -> Iterator[bytes]:
        """All that was written since, in pieces of PIECE_BYTES."""
        held, self._held = b"".join(self._held), []
        for at in range(0, len(held), PIECE_BYTES):
            yield held[at : at + PIECE_BYTES]


async def _arrow(
    asked: HistoryAsked, found: HistoryFound, blocks: AsyncIterator[Block], functions: Sequence[Function]
) -> AsyncGenerator[bytes]:
    import pyarrow as pa

    sink = _Sink()
    async for piece in _written(
        sink, pa.ipc.new_stream(sink, _schema(asked, functions)), asked, found, blocks, functions
    ):
        yield piece


async def _parquet(
    asked: HistoryAsked, found: HistoryFound, blocks: AsyncIterator[Block], functions: Sequence[Function]
) -> AsyncGenerator[bytes]:
    import pyarrow.parquet as pq

    sink = _Sink()
    writer = pq.ParquetWriter(sink, _schema(asked, functions), compression="zstd")
    async for piece in _written(sink, writer, asked, found, blocks, functions):
        yield piece


async def _written(
    sink: _Sink, writer: Any, asked: HistoryAsked, found: HistoryFound, blocks: AsyncIterator[Block],
    functions: Sequence[Function],
) -> AsyncGenerator[bytes]:  # fmt: skip
    def write(block: Block) -> None:
        writer.write_table(_table(block, asked, found.edges, functions))

    with writer:
        async for block in blocks:
            await asyncio.to_thread(write, block)
            for piece in sink.pieces():
                yield piece
    for piece in sink.pieces():
        yield piece


def _schema(asked: HistoryAsked, functions: Sequence[Function]) -> Any:
    import pyarrow as pa

    words = pa.dictionary(pa.int32(), pa.string())
    fields: list[tuple[str, Any]] = [(name, words) for name in ("device", "node", "point", "unit")]
    fields.append(("begin", pa.timestamp("us", asked.zone)))
    fields += [(f, pa.float64()) for f in functions]
    if "last" in functions:
        fields.append(("last_text", pa.string()))
    return pa.schema(fields)


def _table(block: Block, asked: HistoryAsked, edges: Sequence[Utc], functions: Sequence[Function]) -> Any:
    import numpy as np
    import pyarrow as pa

    values, buckets, schema = _values(block, edges, functions), len(edges) - 1, _schema(asked, functions)
    n = len(values.series)
    places = pa.array(np.repeat(np.arange(n, dtype=np.int32), buckets))
    made: dict[str, Any] = {
        name: pa.DictionaryArray.from_arrays(places, pa.array([of(s) for s in values.series], pa.string()))
        for name, of in _WORDS.items()
    }
    made["begin"] = pa.array(np.tile(np.array(edges[:-1], np.int64), n)).cast(schema.field("begin").type)
    for name, column in values.columns.items():
        made[name] = pa.array(column.ravel().astype(np.float64), from_pandas=True)
    if "last" in functions:
        words: list[str | None] = [None] * (n * buckets)
        for (row, bucket), word in values.words.items():
            words[row * buckets + bucket] = word
        made["last_text"] = pa.array(words, pa.string())
    return pa.table({name: made[name] for name in schema.names}, schema=schema)


def _values(block: Block, edges: Sequence[Utc], functions: Sequence[Function]) -> _Values:
    """What is told of a block: without series of which nothing is known, unless a roster describes them."""
    import numpy as np

    course = block.course
    lengths = np.diff(np.array(edges, np.int64))
    heard = np.any(course.good + course.uncertain + course.bad + course.covered_us, axis=1)
    kept = np.flatnonzero(heard | np.array([s.described is not None for s in block.series]))
    series = [block.series[int(row)] for row in kept]
    columns: dict[Function, Any] = {}
    for f in functions:
        column = _FOUND[f](course, lengths)[kept]
        unknown = [not s.hold_known if f == "coverage" else f in _COUNTER and s.counts is False for s in series]
        columns[f] = np.where(np.array(unknown)[:, None], np.nan, column) if any(unknown) else column
    at = {int(row): place for place, row in enumerate(kept)}
    return _Values(series, columns, {(at[row], bucket): word for (row, bucket), word in course.words.items()})


_FOUND: Final[Mapping[Function, Callable[[Course, Any], Any]]] = {
    "mean": lambda course, _: course.mean,
    "min": lambda course, _: course.least,
    "max": lambda course, _: course.most,
    "first": lambda course, _: course.first,
    "last": lambda course, _: course.last,
    "count": lambda course, _: course.good + course.uncertain,
    "uncertain": lambda course, _: course.uncertain,
    "bad": lambda course, _: course.bad,
    "coverage": lambda course, lengths: (course.covered_us / lengths).round(6),
    "increase": lambda course, _: course.increase,
    "resets": lambda course, _: course.resets,
    "wraps": lambda course, _: course.wraps,
    "unsure": lambda course, _: course.unsure,
}

_WORDS: Final[Mapping[str, Callable[[Series], str]]] = {
    "device": lambda series: series.device,
    "node": lambda series: series.node,
    "point": lambda series: series.point,
    "unit": _unit,
}

Make = Callable[[HistoryAsked, HistoryFound, AsyncIterator[Block], Sequence[Function]], AsyncGenerator[bytes]]
SHAPES: Final[Mapping[str, tuple[str, Make]]] = {
    "json": ("application/json", _json),
    "csv": ("text/csv; charset=utf-8; header=present", _csv),
    "arrow": ("application/vnd.apache.arrow.stream", _arrow),
    "parquet": ("application/vnd.apache.parquet", _parquet),
}
ENDINGS: Final = {"json": "json", "csv": "csv", "arrow": "arrows", "parquet": "parquet"}
