"""The limit of the wire: how small the best offline columnar codecs make the same readings.

Devices that have the same points form one table, device by device, sample by sample. Each column is taken as whole
numbers where that is exact (scaled decimals, places in a list of texts), and by whatever makes it smallest: pcodec at
its highest level without its file header, or a Parquet column chunk (plain, delta, byte-split, or dictionary pages,
zstd level 19) without the file's footer. Beside values and times are counted: the names of devices and points, how
many samples each device has, and which samples lack a point. Not counted: seqs, order of arrival, clocks, qualities,
digests, and all by which a reader would find its way; so nothing that can be sent reaches it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from pcodec import ChunkConfig
from pcodec.wrapped import FileCompressor

from bench.formats import by_device
from wire.sample import Sample, Value
from wire.vector import MAX_DECIMALS

ENCODINGS: Final = ("PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT")
_EXACT: Final = 2**53
_LEVEL: Final = 19

Numbers = np.ndarray[tuple[int], np.dtype[np.int64 | np.float64]]


def least_bytes(samples: Iterable[Sample]) -> int:
    """Bytes of the readings and their times."""
    tables: dict[frozenset[str], dict[str, list[Sample]]] = {}
    for device, found in by_device(samples).items():
        points = frozenset(p for s in found for p in s.values)
        tables.setdefault(points, {})[device] = found
    return sum(map(_table, tables.values()))


def _table(devices: dict[str, list[Sample]]) -> int:
    rows = [s for found in devices.values() for s in found]
    points = dict.fromkeys(p for s in rows for p in s.values)
    total = _text([list(devices), list(points), [len(found) for found in devices.values()]])
    total += _smallest(_ticks([s.time_us for s in rows]))
    for point in points:
        values = [s.values[point] for s in rows if point in s.values]
        if len(values) < len(rows):
            total += _packed(np.packbits(np.array([point in s.values for s in rows])).tobytes())
        total += _column(values)
    return total


def _column(values: Sequence[Value]) -> int:
    if all(type(v) is float for v in values):
        return _smallest(_decimals(np.array(values, dtype=np.float64)))
    if all(type(v) is int for v in values):
        return _smallest(np.array(values, dtype=np.int64))
    table = list(dict.fromkeys(values))
    places = {value: i for i, value in enumerate(table)}
    return _text(table) + _smallest(np.array([places[v] for v in values], dtype=np.int64))


def _ticks(times_us: Sequence[int]) -> Numbers:
    times = np.array(times_us, dtype=np.int64)
    unit = next(u for u in (1_000_000, 1_000, 1) if not (times % u).any())
    return times // unit


def _decimals(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Numbers:
    for decimals in range(MAX_DECIMALS + 1):
        scaled = np.rint(values * 10**decimals)
        if (np.abs(scaled) < _EXACT).all() and (scaled / 10**decimals).tobytes() == values.tobytes():
            return scaled.astype(np.int64)
    return values


def _smallest(numbers: Numbers) -> int:
    if (numbers == numbers[0]).all():
        return 1 + len(np.trim_zeros(np.frombuffer(numbers[:1].tobytes(), dtype=np.uint8), "b"))
    return min(_pco(numbers), *(_parquet(numbers, e) for e in ENCODINGS), _parquet(numbers, None))


def _pco(numbers: Numbers) -> int:
    chunk = FileCompressor().chunk_compressor(numbers, ChunkConfig(compression_level=12))
    pages = range(len(chunk.n_per_page()))
    return len(chunk.write_meta()) + sum(len(chunk.write_page(i)) for i in pages)


def _parquet(numbers: Numbers, encoding: str | None) -> int:
    """One column chunk; without an encoding, as a dictionary."""
    if encoding == "DELTA_BINARY_PACKED" and numbers.dtype != np.int64:
        encoding = "PLAIN"
    out = io.BytesIO()
    pq.write_table(
        pa.table({"v": pa.array(numbers)}),
        out,
        compression="zstd",
        compression_level=_LEVEL,
        use_dictionary=encoding is None,
        column_encoding=None if encoding is None else {"v": encoding},
        write_statistics=False,
        store_schema=False,
    )
    meta = pq.ParquetFile(out).metadata
    return sum(meta.row_group(i).column(0).total_compressed_size for i in range(meta.num_row_groups))


def _text(item: object) -> int:
    return _packed(msgspec.json.encode(item))


def _packed(data: bytes) -> int:
    """One zstd frame without magic number, size, and checksum."""
    return len(
        zstandard.ZstdCompressor(
            compression_params=zstandard.ZstdCompressionParameters.from_level(
                _LEVEL, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=False
            )
        ).compress(data)
    )
