"""The bytes of rows, batches, acks and snapshots: CBOR (RFC 8949) in one zstd frame (RFC 8878).

`schema.cddl` beside this file is the normative description. Bounds, checked before anything is expanded:

    MAX_BODY_BYTES    1 MiB   of one compressed body
    MAX_PLAIN_BYTES   4 MiB   of it decompressed, and no more than 256 KiB + 200 times what came; a frame that does
                              not state its size is refused
    MAX_DEPTH         12      nested containers
    MAX_ENTRIES       100,000 entries a batch
    MAX_READINGS      500,000 readings a batch, counted as samples times points
    MAX_SPREAD_BYTES  32 MiB  that names, values and qualities would take if each stood by itself

Text keys only, no duplicate keys, no indefinite lengths, nothing after the end, and of all CBOR tags only the
typed arrays of `wire.vector`. A map's unknown keys and an array's further items are skipped, so that an old
reader understands a newer writer of the same version.
"""

# Untyped data is taken apart here, by patterns that check it: what they bind has no type before.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any, Final, Never, TypeVar, cast

import cbor2
import msgspec
import zstandard

from wire import vector
from wire.batch import DIGEST_BYTES, Ack, Batch, Lane, Placed, Snapshot
from wire.columns import Cell, Columns
from wire.device import Roster
from wire.entries import Alarm, ClockFix, Entry, Gap, Health, Unknown
from wire.errors import Malformed, TooLarge, Unsupported
from wire.sample import QUALITY_MAX_CHARS, Clock

VERSION: Final = 1
ACCEPTS: Final = (1,)

MAX_BODY_BYTES: Final = 1 << 20
MAX_PLAIN_BYTES: Final = 4 << 20
MAX_GROWTH: Final = 200  # times the compressed size; real bodies grow 3 to 30 times
GROWTH_FREE_BYTES: Final = 256 << 10
MAX_DEPTH: Final = 12
MAX_ENTRIES: Final = 100_000
MAX_READINGS: Final = 500_000
MAX_SPREAD_BYTES: Final = 32 << 20
MAX_NAME_CHARS: Final = 200
MAX_TIME_US: Final = 2**52  # the year 2112

_COLUMNS: Final = "columns"
_TYPES: Final[Mapping[str, type[Alarm | ClockFix | Gap | Health | Roster]]] = {
    "alarm": Alarm,
    "clock_fix": ClockFix,
    "gap": Gap,
    "health": Health,
    "roster": Roster,
}
_NAMES: Final = {kind: name for name, kind in _TYPES.items()}
_UNITS_US: Final = (1_000_000, 1_000)

# Tags for which cbor2 has a decoder of its own; each is refused instead (regular expressions, cycles, giants …).
_BUILT_IN_TAGS: Final = (
    *range(6), 21, 22, 23, 24, 25, 28, 29, 30, 32, 33, 34, 35, 36, 37, 52, 54, 100, 256, 257, 258, 260, 261, 1004,
    43000, 55799,
)  # fmt: skip

_T = TypeVar("_T")


# ---- out --------------------------------------------------------------------------------------------------------


def encode_row(placed: Sequence[Placed]) -> bytes:
    """One sealed outbox row: its entries, places counted from the row's own first seq."""
    return _squeeze({"v": VERSION, **_entries_out(placed)})


def encode_batch(batch: Batch) -> bytes:
    """The body of one batch."""
    head = {f: getattr(batch, f) for f in batch.__struct_fields__ if f != "entries"}
    return _squeeze({"v": VERSION, **head, "lane": batch.lane.value, **_entries_out(batch.entries)})


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The body of one snapshot."""
    placed = [Placed(range(c.n), c) for c in snapshot.columns]
    return _squeeze({"v": VERSION, "node": snapshot.node, **_entries_out(placed)})


def encode_ack(ack: Ack) -> bytes:
    """The body of one answer: plain CBOR, for it is small."""
    return cbor2.dumps(msgspec.to_builtins(ack, builtin_types=(bytes,)))


def _squeeze(body: Mapping[str, Any]) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(
        cbor2.dumps(body, encoders={array: _typed_out})
    )


def _typed_out(encoder: cbor2.CBOREncoder, items: array[Any]) -> None:
    encoder.encode(vector.tag(items))


def _entries_out(placed: Iterable[Placed]) -> dict[str, Any]:
    """The tables and the entries. Point names and clocks are written once and referred to by their place."""
    shapes: dict[tuple[str, ...], int] = {}
    clocks: dict[Clock, int] = {}
    entries: list[list[Any]] = []
    for item in placed:
        entry = item.entry
        if isinstance(entry, Columns):
            shape = shapes.setdefault(tuple(entry.cells), len(shapes))
            clock = clocks.setdefault(entry.clock, len(clocks))
            cells = [_cell_out(c) for c in entry.cells.values()]
            places = vector.pack_ints(item.places)
            entries.append([_COLUMNS, places, entry.device, clock, shape, _times_out(entry.times), cells])
        elif isinstance(entry, Unknown):
            raise TypeError("an entry of unknown type cannot be written")
        else:
            body = msgspec.to_builtins(entry, builtin_types=(bytes,))
            entries.append([_NAMES[type(entry)], item.places[0], body])
    return {
        "shapes": [list(s) for s in shapes],
        "clocks": [[c.boot, c.synced] for c in clocks],
        "entries": entries,
    }


def _cell_out(cell: Cell) -> list[Any]:
    if cell.quality:
        return [cell.vector, cell.present, [list(run) for run in cell.quality]]
    return [cell.vector] if cell.present is None else [cell.vector, cell.present]


def _times_out(times: Sequence[int]) -> list[Any]:
    unit = next((u for u in _UNITS_US if all(t % u == 0 for t in times)), 1)
    return [len(times), unit, vector.pack_ints([t // unit for t in times])]


# ---- in ---------------------------------------------------------------------------------------------------------


def decode_row(data: bytes) -> list[Placed]:
    """The entries of one outbox row.

    Raises:
        Malformed, Unsupported, TooLarge.
    """
    return _entries_in(_open(data))


def decode_batch(data: bytes) -> Batch:
    """A batch from outside.

    Raises:
        Malformed, Unsupported, TooLarge.
    """
    body = _open(data)
    placed = _entries_in(body)
    lane = _field(body, "lane", str)
    if lane not in set(Lane):
        raise Malformed(f"lane is {lane!r}; there are {', '.join(Lane)}")
    batch = Batch(
        node=_name(body.get("node"), "node"),
        lane=Lane(lane),
        epoch=_seq(body, "epoch"),
        first_seq=_seq(body, "first_seq"),
        through_seq=_seq(body, "through_seq"),
        prev=_digest(body, "prev"),
        digest=_digest(body, "digest"),
        held_from=_seq(body, "held_from"),
        head_seq=_seq(body, "head_seq"),
        entries=placed,
    )
    _fills(placed, batch.through_seq - batch.first_seq + 1)
    return batch


def decode_snapshot(data: bytes) -> Snapshot:
    """A snapshot from outside.

    Raises:
        Malformed, Unsupported, TooLarge.
    """
    body = _open(data)
    columns = [p.entry for p in _entries_in(body)]
    if not all(isinstance(c, Columns) for c in columns):
        raise Malformed("a snapshot holds columns and nothing else")
    return Snapshot(node=_name(body.get("node"), "node"), columns=cast("list[Columns]", columns))


def decode_ack(data: bytes) -> Ack:
    """An answer from the cloud.

    Raises:
        Malformed, TooLarge.
    """
    if len(data) > 4096:
        raise TooLarge(f"an ack of {len(data)} bytes; 4096 are enough for any")
    ack = _convert(_plain(data), Ack, "ack")
    if len(ack.digest) != DIGEST_BYTES or ack.through_seq < 0:
        raise Malformed("an ack names a place that cannot be")
    return ack


def plain_bytes(data: bytes) -> int:
    """How large a body of ours is decompressed, by its frame's own word."""
    return zstandard.get_frame_parameters(data).content_size


def _open(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BODY_BYTES:
        raise TooLarge(f"{len(data)} bytes; a body has at most {MAX_BODY_BYTES}")
    try:
        frame = zstandard.get_frame_parameters(data)
    except zstandard.ZstdError as error:
        raise Malformed(f"not a zstd frame: {error}") from error
    # The size must be known before: python-zstandard ignores max_output_size when the frame states one.
    if frame.content_size in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
        raise Malformed("the zstd frame does not state its content size")
    bound = min(MAX_PLAIN_BYTES, GROWTH_FREE_BYTES + MAX_GROWTH * len(data))
    if frame.content_size > bound:
        raise TooLarge(f"{frame.content_size} bytes decompressed; at most {bound} of {len(data)}")
    try:
        plain = zstandard.ZstdDecompressor(max_window_size=MAX_PLAIN_BYTES).decompress(data, allow_extra_data=False)
    except (zstandard.ZstdError, MemoryError) as error:
        raise Malformed(f"the zstd frame does not open: {error}") from error
    body = _plain(plain)
    if not isinstance(body, dict):
        raise Malformed("a body is a CBOR map")
    fields = cast("dict[str, Any]", body)
    version = fields.get("v")
    if version not in ACCEPTS or isinstance(version, bool | float):
        raise Unsupported(f"version {version!r} is not spoken here; accepted: {list(ACCEPTS)}", ACCEPTS)
    return fields


def _plain(data: bytes) -> object:
    source = BytesIO(data)
    try:
        body = cbor2.CBORDecoder(
            source,
            tag_hook=_typed_in,
            semantic_decoders=dict.fromkeys(_BUILT_IN_TAGS, _refuse),
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        ).decode()
    except (cbor2.CBORDecodeError, UnicodeDecodeError, RecursionError, MemoryError) as error:
        raise Malformed(f"not CBOR as schema.cddl has it: {error}") from error
    if source.read(1):
        raise Malformed("bytes follow the end of the CBOR item")
    return body


def _typed_in(tag: cbor2.CBORTag, _immutable: bool) -> array[Any]:
    if not isinstance(tag.value, bytes):
        raise ValueError(f"tag {tag.tag} holds no byte string")
    try:
        return vector.typed(tag.tag, tag.value)
    except Malformed as error:
        raise ValueError(str(error)) from error


def _refuse(_value: object, _immutable: bool) -> Never:
    raise ValueError("this tag is not accepted")


def _entries_in(body: Mapping[str, Any]) -> list[Placed]:
    raw = _field(body, "entries", list)
    if len(raw) > MAX_ENTRIES:
        raise TooLarge(f"{len(raw)} entries; a batch has at most {MAX_ENTRIES}")
    shapes = [[_name(n, "point") for n in _list(s, "shape")] for s in _field(body, "shapes", list)]
    if any(len(set(s)) != len(s) for s in shapes):
        raise Malformed("a shape names a point twice")
    clocks = [_clock(c) for c in _field(body, "clocks", list)]
    budget = _Budget()
    placed: list[Placed] = []
    for item in raw:
        kind, *parts = _list(item, "entry") or [None]
        placed.append(_columns(parts, shapes, clocks, budget) if kind == _COLUMNS else _other(kind, parts))
    return placed


class _Budget:
    """What a body may still expand to. Asked before each expansion."""

    def __init__(self) -> None:
        self.readings, self.spread = MAX_READINGS, MAX_SPREAD_BYTES

    def take(self, readings: int, spread: int) -> None:
        self.readings -= readings
        self.spread -= spread
        if self.readings < 0:
            raise TooLarge(f"more than {MAX_READINGS} readings")
        if self.spread < 0:
            raise TooLarge(f"more than {MAX_SPREAD_BYTES} bytes if each value stood by itself")


def _columns(parts: list[Any], shapes: list[list[str]], clocks: list[Clock], budget: _Budget) -> Placed:
    if len(parts) < 6:
        raise Malformed("columns need places, device, clock, shape, times and cells")
    places, device, clock, shape, times, cells = parts[:6]
    match times:
        case [n, unit, ticks, *_] if type(n) is int and n > 0 and type(unit) is int and unit in (1, *_UNITS_US):
            pass
        case _:
            raise Malformed("times are how many, their unit (1, 1000 or 1000000 µs) and integers")
    names = _at(shapes, shape, "shape")
    found = _list(cells, "cells")
    if len(found) != len(names):
        raise Malformed(f"{len(found)} cells for the {len(names)} points of the shape")
    budget.take(n * max(1, len(names)), n * sum(map(len, names)))
    bound = MAX_TIME_US // unit
    counted = vector.unpack_ints(vector.check_ints(ticks, n, -bound, bound), n)
    columns = [_cell(c, n, budget) for c in found]
    return Placed(
        vector.unpack_ints(vector.check_ints(places, n, 0, 2**53), n),
        Columns(
            _name(device, "device"),
            _at(clocks, clock, "clock"),
            counted if unit == 1 else [t * unit for t in counted],
            dict(zip(names, columns, strict=True)),
        ),
    )


def _cell(raw: object, n: int, budget: _Budget) -> Cell:
    if type(raw) is list and len(raw) == 1:  # nearly all: nothing is missing, all is good
        packed = vector.check(raw[0], n)
        if longest := vector.longest_text(packed):
            budget.take(0, n * longest)
        return Cell(packed)
    match raw:
        case [packed, None | bytes() as present, *rest]:
            count = n
            if present is not None:
                count = present.count(1)
                if len(present) != n or not count or count + present.count(0) != n:
                    raise Malformed("presence is one byte, 0 or 1, a sample, and not all 0")
            found = vector.check(packed, count)
            budget.take(0, count * vector.longest_text(found))
            return Cell(found, present, _runs(rest[0], n, budget) if rest else ())
        case _:
            raise Malformed("a cell is a vector, its presence and its qualities")


def _runs(raw: object, n: int, budget: _Budget) -> tuple[tuple[int, int, str], ...]:
    runs: list[tuple[int, int, str]] = []
    end = 0
    for run in _list(raw, "qualities"):
        match run:
            case [first, count, str(text), *_] if (
                type(first) is int
                and type(count) is int
                and end <= first
                and count > 0
                and first + count <= n
                and len(text) <= QUALITY_MAX_CHARS
            ):
                budget.take(0, count * len(text))
                runs.append((first, count, text))
                end = first + count
            case _:
                raise Malformed("qualities are runs in order: first sample, how many, which")
    return tuple(runs)


def _other(kind: object, parts: list[Any]) -> Placed:
    if not isinstance(kind, str) or len(parts) < 2 or type(parts[0]) is not int or not 0 <= parts[0] <= 2**53:
        raise Malformed("an entry is its type, its place and its body")
    place: int = parts[0]
    known = _TYPES.get(kind)
    if known is None:
        return Placed((place,), Unknown(kind[:MAX_NAME_CHARS]))
    entry: Entry = _convert(parts[1], known, kind)
    if isinstance(entry, Gap):
        if not 0 < entry.seqs <= 2**53:
            raise Malformed(f"a gap of {entry.seqs} seqs")
        return Placed(range(place, place + entry.seqs), entry)
    return Placed((place,), entry)


def _fills(placed: Sequence[Placed], width: int) -> None:
    """Raise Malformed unless the places fill 0 … width - 1 without a hole and without a double.

    Of runs only the ends are looked at, for gaps are wide.
    """
    spans = [(width, width)]
    singles: list[int] = []
    for item in placed:
        if isinstance(item.places, range) and item.places.step == 1:
            spans.append((item.places.start, item.places.stop))
        else:
            singles.extend(item.places)
    spans.sort()
    singles.sort()
    at = used = 0
    for start, stop in spans:
        if start < at:
            raise Malformed(f"place {start} is taken twice")
        hole = start - at
        if len(singles) - used < hole or singles[used : used + hole] != list(range(at, start)):
            raise Malformed(f"between place {at} and {start} one is empty or taken twice")
        used += hole
        at = stop
    if at != width or used != len(singles) or not width:
        raise Malformed(f"the entries do not fill the {width} places of the batch")


def _convert(raw: object, kind: type[_T], what: str) -> _T:
    try:
        return msgspec.convert(raw, kind, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise Malformed(f"{what}: {error}") from error


def _field(body: Mapping[str, Any], name: str, kind: type[_T]) -> _T:
    value = body.get(name)
    if type(value) is not kind:
        raise Malformed(f"{name} is missing or no {kind.__name__}")
    return value


def _seq(body: Mapping[str, Any], name: str) -> int:
    value = _field(body, name, int)
    if not 0 <= value < 2**63:
        raise Malformed(f"{name} is {value}; it lies in 0 … 2^63 - 1")
    return value


def _digest(body: Mapping[str, Any], name: str) -> bytes:
    value = _field(body, name, bytes)
    if len(value) != DIGEST_BYTES:
        raise Malformed(f"{name} has {len(value)} bytes; a digest has {DIGEST_BYTES}")
    return value


def _name(value: object, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARS:
        raise Malformed(f"{what} needs a name of 1 to {MAX_NAME_CHARS} characters")
    return value


def _clock(raw: object) -> Clock:
    match raw:
        case [boot, bool(synced), *_] if type(boot) is int and 0 <= boot < 2**63:
            return Clock(boot, synced)
        case _:
            raise Malformed("a clock is a boot and whether it was synchronised")


def _list(raw: object, what: str) -> list[Any]:
    if not isinstance(raw, list):
        raise Malformed(f"{what} is no array")
    return cast("list[Any]", raw)


def _at(table: Sequence[_T], place: object, what: str) -> _T:
    if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < len(table):
        raise Malformed(f"{what} {place!r} is not in the table of {len(table)}")
    return table[place]
