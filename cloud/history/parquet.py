"""Parquet: partials of whole hours in files that others read, too.

    _place.json                         how far the folder has come (`cloud.history.place`)
    day=2026-11-28/hours.parquet        a day of UTC that is over: point, node, device and hour, in this order
    day=2026-11-29/_hour=13.parquet     an hour of the day that goes on; readers of folders leave out what begins with _

A file is written whole under another name, brought to the disk and renamed. Whoever has the old one open reads on in
it: a place says at most that more is marked than is.

A row group holds one point, at most GROUP rows of it. Bounds: the rows of one point of a day are in memory while files
are put together; the ends of OPEN files are kept.
"""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import inf, isinf, isnan
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cloud.history.calendar import HOUR_US
from cloud.history.partial import NEVER, HourRow, Partial, Terms
from groundwork.files import sync

GROUP: Final = 32_768
OPEN: Final = 64
LEVEL: Final = 3
DAY_FILE: Final = "hours.parquet"

_TEXT: Final = pa.dictionary(pa.int32(), pa.string())
_MOMENT: Final = pa.timestamp("us", "UTC")
# Our own name, the column's and its type.
_COLUMNS: Final = (
    ("good", "good", pa.int32()),
    ("uncertain", "uncertain", pa.int32()),
    ("bad", "bad", pa.int32()),
    ("least", "min", pa.float64()),
    ("most", "max", pa.float64()),
    ("integral", "integral", pa.float64()),
    ("covered_us", "covered_us", pa.int64()),
    ("begin_us", "begin", _MOMENT),
    ("end_us", "end", _MOMENT),
    ("first", "first", pa.float64()),
    ("last", "last", pa.float64()),
    ("last_us", "last_time", _MOMENT),
    ("increase", "increase", pa.float64()),
    ("resets", "resets", pa.int32()),
    ("wraps", "wraps", pa.int32()),
    ("unsure", "unsure", pa.float64()),
    ("text", "text", pa.string()),
)
_KEY: Final = (("point", _TEXT), ("node", _TEXT), ("device", _TEXT), ("hour", _MOMENT))
_TERMS: Final = (("hold_us", pa.int64()), ("wraps_at", pa.float64()))
SCHEMA: Final = pa.schema([*_KEY, *((name, kind) for _, name, kind in _COLUMNS), *_TERMS])


class Damaged(OSError):
    """A file cannot be read, or is not there; the text says which."""


class Found(msgspec.Struct, frozen=True):
    """Rows as arrays: the series and the hour of each, and the columns of `Partial` by its own names."""

    series: Any
    hours_us: Any
    columns: Mapping[str, Any]
    words: Mapping[int, str]  # by place in the arrays
    strange: Any  # rows that were folded under other terms than they are asked under


def day_name(number: int) -> str:
    """The folder of a day by its number since 1970."""
    return f"day={datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=number):%Y-%m-%d}"


def table_of(node: str, rows: Sequence[HourRow]) -> Any:
    """Rows of one node, in the order of files."""
    rows = sorted(rows, key=lambda r: (r.point, r.device, r.hour_us))
    partials = list(zip(*(msgspec.structs.astuple(r.partial) for r in rows), strict=True))
    names = Partial.__struct_fields__
    made: dict[str, Any] = {
        "point": pa.array([r.point for r in rows]).cast(_TEXT),
        "node": pa.array([node] * len(rows)).cast(_TEXT),
        "device": pa.array([r.device for r in rows]).cast(_TEXT),
        "hour": pa.array([r.hour_us for r in rows], pa.int64()).cast(_MOMENT),
        "hold_us": pa.array([r.terms.hold_us for r in rows], pa.int64()),
        "wraps_at": pa.array([None if isinf(r.terms.wraps_at) else r.terms.wraps_at for r in rows], pa.float64()),
    }
    for own, name, kind in _COLUMNS:
        values = partials[names.index(own)]
        if kind == pa.float64():
            values = [None if isnan(v) else v for v in values]
        elif kind == _MOMENT:
            made[name] = pa.array([None if v == NEVER else v for v in values], pa.int64()).cast(_MOMENT)
            continue
        made[name] = pa.array(values, kind)
    return pa.table({name: made[name] for name in SCHEMA.names}, schema=SCHEMA)


class Writing:
    """A file that comes to be: rows in row groups, then whole under its name, or not at all."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._beside = path, path.with_name(f".{path.name}.new")
        self._writer = pq.ParquetWriter(
            self._beside, SCHEMA, compression="zstd", compression_level=LEVEL, write_page_checksum=True
        )
        self.rows = 0

    def add(self, table: Any) -> None:
        """Add rows, which go on after those before them."""
        if table.num_rows:
            self._writer.write_table(table.select(SCHEMA.names).cast(SCHEMA), row_group_size=GROUP)
            self.rows += table.num_rows

    def done(self) -> None:
        """Bring it to the disk and rename it."""
        self._writer.close()
        sync(self._beside)
        self._beside.replace(self._path)
        sync(self._path.parent)

    def drop(self) -> None:
        """Leave nothing of it."""
        self._writer.close()
        self._beside.unlink(missing_ok=True)


Keep = Callable[[Any], Any]  # of a table, the rows that stay


def write(path: Path, tables: Sequence[Any]) -> int:
    """A file of these rows, none of them twice; how many."""
    writing = Writing(path)
    if tables:
        whole = _sorted(pa.concat_tables(tables))
        points = whole["point"].cast(pa.string()).to_numpy(zero_copy_only=False)
        ends = [*(np.flatnonzero(points[1:] != points[:-1]) + 1).tolist(), len(points)]
        start = 0
        for end in ends:
            writing.add(whole.slice(start, end - start))
            start = end
    writing.done()
    return writing.rows


def join(sources: Sequence[tuple[Path, Keep]], to: Writing) -> Iterator[None]:
    """Bring rows out of some files into one, point by point: of each file those that are to be kept.

    Raises:
        Damaged: one of them cannot be read.
    """
    files: list[Any] = []
    try:
        for path, _ in sources:
            files.append(_opened(path))
        groups: dict[str, list[tuple[int, int]]] = {}
        for at, file in enumerate(files):
            for group in range(file.metadata.num_row_groups):
                groups.setdefault(file.metadata.row_group(group).column(0).statistics.min, []).append((at, group))
        for point in sorted(groups):
            parts = [sources[at][1](_group(files[at], group, sources[at][0])) for at, group in groups[point]]
            to.add(_sorted(pa.concat_tables(parts)))
            yield
    finally:
        for file in files:
            file.close()


def _opened(path: Path) -> Any:
    try:
        return pq.ParquetFile(path, read_dictionary=["point", "node", "device"], page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise Damaged(f"{path}: {str(error).strip().splitlines()[0]}") from error


def _group(file: Any, group: int, path: Path) -> Any:
    try:
        return file.read_row_group(group)
    except (pa.ArrowException, OSError) as error:
        raise Damaged(f"{path}: {str(error).strip().splitlines()[0]}") from error


def _sorted(table: Any) -> Any:
    """In the order of files: Arrow does not sort by what is kept as places in a dictionary."""
    table = table.unify_dictionaries().combine_chunks()
    ranks: list[Any] = [_micros(table["hour"])]
    for name in ("device", "node", "point"):
        words, codes = _codes(table[name])
        order = sorted(range(len(words)), key=words.__getitem__)
        rank = np.empty(len(words), np.int64)
        rank[order] = np.arange(len(words))
        ranks.append(rank[codes])
    return table.take(pa.array(np.lexsort(ranks)))


def without(table: Any, marks: Mapping[str, int]) -> Any:
    """The rows of a table but for the marked hours of nodes."""
    if not marks:
        return table
    nodes = table["node"].cast(pa.string()).to_pylist()
    hours = _micros(table["hour"]) // HOUR_US % 24
    there = np.array([marks.get(n, 0) for n in nodes], np.int64)
    return table.filter(pa.array((there >> hours & 1) == 0))


def of_hour(table: Any, hour: int) -> Any:
    """The rows of one hour of the day."""
    return table.filter(pa.array(_micros(table["hour"]) // HOUR_US % 24 == hour))


def _micros(column: Any) -> Any:
    return pc.fill_null(column.cast(pa.int64()), NEVER).to_numpy()


class FoldedFiles:
    """The files as they are read. Asked in threads; keeps the ends of OPEN files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: OrderedDict[tuple[Path, int, int], Any] = OrderedDict()

    def read(
        self, paths: Sequence[Path], series: Mapping[tuple[str, str, str], int], terms: Sequence[Terms]
    ) -> Iterator[Found]:
        """The rows of these series (by point, node and device) in files; those that there are not have none.

        Raises:
            Damaged: a file is not there, or cannot be read.
        """
        points = sorted({p for p, _, _ in series})
        nodes = sorted({n for _, n, _ in series})
        for path in paths:
            file = self._file(path)
            for group in range(file.metadata.num_row_groups):
                row_group = file.metadata.row_group(group)
                if _meets(row_group, 0, points) and _meets(row_group, 1, nodes):
                    found = _found(_group(file, group, path), series, terms)
                    if found is not None:
                        yield found

    def _file(self, path: Path) -> Any:
        try:
            stat = (self._directory / path).stat()
        except OSError as error:
            raise Damaged(str(error)) from error
        key = (path, stat.st_ino, stat.st_mtime_ns)
        file = self._open.pop(key, None)
        if file is None:
            file = _opened(self._directory / path)
        self._open[key] = file
        while len(self._open) > OPEN:
            self._open.popitem(last=False)
        return file


def _meets(row_group: Any, column: int, wanted: Sequence[str]) -> bool:
    """Whether a row group may hold one of these."""
    stats = row_group.column(column).statistics
    if stats is None or not stats.has_min_max:
        return True
    return any(stats.min <= w <= stats.max for w in wanted)


def _codes(column: Any) -> tuple[list[str], Any]:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.unify_dictionaries().chunk(0)
    return array.dictionary.to_pylist(), array.indices.to_numpy()


def _found(table: Any, series: Mapping[tuple[str, str, str], int], terms: Sequence[Terms]) -> Found | None:
    names, found = zip(*(_codes(table[key]) for key in ("point", "node", "device")), strict=True)
    # One number a combination of the three that occurs; few do.
    mixed = (found[0].astype(np.int64) * len(names[1]) + found[1]) * len(names[2]) + found[2]
    kinds, places = np.unique(mixed, return_inverse=True)
    rows = np.array(
        [
            series.get((names[0][k // len(names[2]) // len(names[1])], names[1][k // len(names[2]) % len(names[1])],
                        names[2][k % len(names[2])]), -1)
            for k in kinds.tolist()
        ],
        np.int64,
    )[places]  # fmt: skip
    there = rows >= 0
    if not there.any():
        return None
    mask = pa.array(there)
    table = table.filter(mask)
    rows = rows[there]
    columns: dict[str, Any] = {}
    for own, name, kind in _COLUMNS:
        if own == "text":
            continue
        columns[own] = _micros(table[name]) if kind == _MOMENT else table[name].to_numpy()
    words: dict[int, str] = {}
    if table["text"].null_count < table.num_rows:
        words = {i: word for i, word in enumerate(table["text"].to_pylist()) if word is not None}
    held = np.array([t.hold_us for t in terms], np.int64)[rows]
    wraps = np.array([t.wraps_at for t in terms], np.float64)[rows]
    folded = pc.fill_null(table["wraps_at"], inf).to_numpy()
    strange = (table["hold_us"].to_numpy() != held) | (folded != wraps)
    return Found(rows, _micros(table["hour"]), columns, words, strange)
