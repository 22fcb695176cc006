"""The nouns of `wire` as bodies: maps of CBOR in the frames of `wire.frame`, whose bounds hold first.

`schema.cddl` beside this file is the normative description. Bounds, checked before anything is expanded:

    MAX_ENTRIES       100,000 entries a batch, each device of each table being one
    MAX_READINGS      500,000 readings a batch, counted as samples times points
    MAX_SPREAD_BYTES  32 MiB  that names, values and qualities would take if each stood by itself

A map's unknown keys and an array's further items are skipped, so that an old reader understands a newer writer of the
same version.
"""

# Untyped data is taken apart here, by patterns that check it: what they bind has no type before.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import isfinite
from typing import Any, Final, TypeVar, cast, overload

import cbor2
import msgspec

from wire import vector, vector_check
from wire.batch import DIGEST_BYTES, Ack, Batch, Lane, Predecessor, Snapshot
from wire.chain import CHAINED
from wire.columns import Cell, Columns
from wire.contents import Contents, Placed
from wire.device import Roster
from wire.entries import Alarm, ClockFix, Decisions, Entry, Gap, Health, Mark, Result, Unknown, Visit
from wire.errors import Malformed, TooLarge, Unsupported
from wire.frame import MAX_BODY_BYTES, MAX_PLAIN_BYTES, dumps, has_checksum, loads, plain_bytes, squeeze, stretch
from wire.sample import QUALITY_MAX_CHARS, Clock
from wire.table import Table
from wire.time import Micros
from wire.vector import Runs, one_run

VERSION: Final = 1
ACCEPTS: Final = (VERSION, CHAINED)

MAX_ENTRIES: Final = 100_000
MAX_READINGS: Final = 500_000
MAX_SPREAD_BYTES: Final = 32 << 20
MAX_NAME_CHARS: Final = 200
MAX_TIME_US: Final = Micros(2**52)  # the year 2112

_TYPES: Final[Mapping[str, type[Alarm | ClockFix | Decisions | Gap | Health | Mark | Result | Roster | Visit]]] = {
    "alarm": Alarm,
    "clock_fix": ClockFix,
    "decisions": Decisions,
    "gap": Gap,
    "health": Health,
    "mark": Mark,
    "result": Result,
    "roster": Roster,
    "visit": Visit,
}
_NAMES: Final = {kind: name for name, kind in _TYPES.items()}
EMPTY_MAP: Final = 0xA0
_UNITS_US: Final = (1_000_000, 1_000)

_T = TypeVar("_T")


# ---- out --------------------------------------------------------------------------------------------------------


def encode_row(placed: Sequence[Placed]) -> bytes:
    """One sealed row: its entries, places counted from the row's own first seq."""
    return squeeze(dumps({"v": VERSION, **_contents_out(Contents.placed(placed))}))


def encode_batch(batch: Batch) -> bytes:
    """The self-contained body of one batch."""
    return squeeze(plain_batch(batch))


def plain_batch(batch: Batch) -> bytes:
    """The CBOR of one batch."""
    head = {f: getattr(batch, f) for f in batch.__struct_fields__ if f not in {"entries", "predecessor"}}
    head |= {} if batch.predecessor is msgspec.UNSET else {"predecessor": _predecessor_out(batch.predecessor)}
    said = dumps({"v": VERSION, **head, "lane": batch.lane.value})
    packed = batch.entries.plain if isinstance(batch.entries, Packed) else encode_contents(batch.entries)
    # Two maps of fewer than 24 keys together are one: the first byte of each says how many keys follow (RFC 8949 §3.1).
    return bytes((said[0] + packed[0] - EMPTY_MAP,)) + said[1:] + packed[1:]


def encode_contents(placed: Sequence[Placed]) -> bytes:
    """The CBOR of entries by themselves: what a body holds beside its head. See `Packed`."""
    return dumps(_contents_out(Contents.placed(placed)))


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The body of one snapshot."""
    return squeeze(dumps({"v": VERSION, "node": snapshot.node, **_contents_out(Contents.of(snapshot.columns))}))


def encode_ack(ack: Ack) -> bytes:
    """The body of one answer: plain CBOR, for it is small."""
    return cbor2.dumps(msgspec.to_builtins(ack, builtin_types=(bytes,)))


def _predecessor_out(run: Predecessor | None) -> dict[str, Any] | None:
    if run is None:
        return None
    body: dict[str, Any] = {"epoch": run.epoch, "through_seq": run.through_seq, "digest": run.digest}
    return body if run.whole else body | {"whole": False}


def _contents_out(contents: Contents) -> dict[str, Any]:
    """The tables and the entries. Clocks are written once and referred to by their place."""
    clocks: dict[Clock, int] = {}
    tables = [
        [
            clocks.setdefault(t.clock, len(clocks)),
            list(t.cells),
            list(t.devices),
            vector.pack_ints(t.runs.counts),
            t.order,
            [t.unit_us, t.ticks],
            [_cell_out(c) for c in t.cells.values()],
        ]
        for t in contents.tables
    ]
    entries: list[list[Any]] = []
    for item in contents.others:
        if isinstance(item.entry, Unknown | Columns):
            raise TypeError("an entry of unknown type cannot be written")
        body = msgspec.to_builtins(item.entry, builtin_types=(bytes,))
        entries.append([_NAMES[type(item.entry)], item.places[0], body])
    return {
        "clocks": [[c.boot, c.synced] for c in clocks],
        "seated": contents.seated,
        "tables": tables,
        "entries": entries,
    }


def _cell_out(cell: Cell) -> list[Any]:
    if cell.quality:
        return [cell.vector, cell.present, [list(run) for run in cell.quality]]
    return [cell.vector] if cell.present is None else [cell.vector, cell.present]


class Packed(Sequence[Placed]):
    """Entries as they will stand in a body: they go into one as they are, and are opened only for who looks at them.

    `plain` was written by `encode_contents`.
    """

    __slots__ = ("_contents", "plain")

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        self._contents: Contents | None = None

    def _all(self) -> Contents:
        if self._contents is None:
            self._contents = _contents_in(cast("dict[str, Any]", loads(self.plain)))
        return self._contents

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, index: int) -> Placed: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Placed]: ...
    def __getitem__(self, index: int | slice) -> Placed | Sequence[Placed]:
        return self._all()[index]


# ---- in ---------------------------------------------------------------------------------------------------------


def decode_row(data: bytes) -> Contents:
    """What one row holds.

    Raises:
        Malformed, Unsupported, TooLarge.
    """
    return _contents_in(_open(data))


def reopen_row(data: bytes) -> Contents:
    """What a row of one's own holds. Its frame's checksum says that it is as it was sealed, so its vectors are not
    looked at one by one again: a day of rows is opened in half the time.

    Raises:
        Malformed, Unsupported, TooLarge.
        ArithmeticError, LookupError, TypeError, ValueError: it was not sealed by us, now or when it is expanded.
    """
    return _contents_in(_open(data), ours=True)


def decode_batch(data: bytes) -> Batch:
    """A batch from outside.

    Raises:
        Malformed, Unsupported, TooLarge.
    """
    batch = _batch(_open(data), ours=False)
    Contents.placed(batch.entries).fills(batch.through_seq - batch.first_seq + 1)
    return batch


def reopen_batch(data: bytes) -> Batch:
    """A batch that was decoded once before it was kept. Where its frame's checksum says that it is still the same, its
    vectors are not looked at one by one again.

    Raises:
        Malformed, Unsupported, TooLarge.
    """
    if has_checksum(data):
        body = _open(data)
        with suppress(LookupError, TypeError, ValueError):  # of a writer that says more than we do
            return _batch(body, ours=True)
    return decode_batch(data)


def _batch(body: Mapping[str, Any], *, ours: bool) -> Batch:
    contents = _contents_in(body, ours=ours)
    lane = _field(body, "lane", str)
    if lane not in set(Lane):
        raise Malformed(f"lane is {lane!r}; there are {', '.join(Lane)}")
    return Batch(
        node=_name(body.get("node"), "node"),
        lane=Lane(lane),
        epoch=_seq(body, "epoch"),
        first_seq=_seq(body, "first_seq"),
        through_seq=_seq(body, "through_seq"),
        prev=_digest(body, "prev"),
        digest=_digest(body, "digest"),
        held_from=_seq(body, "held_from"),
        head_seq=_seq(body, "head_seq"),
        entries=contents,
        predecessor=_predecessor(body),
    )


def decode_snapshot(data: bytes) -> Snapshot:
    """A snapshot from outside.

    Raises:
        Malformed, Unsupported, TooLarge.
    """
    body = _open(data)
    columns = [p.entry for p in _contents_in(body)]
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
    ack = _convert(loads(data), Ack, "ack")
    numbers = (ack.generation, ack.epoch, ack.through_seq, ack.head_seq)
    if len(ack.digest) != DIGEST_BYTES or not all(0 <= n < 2**63 for n in numbers):  # SQLite keeps no greater ones
        raise Malformed("an ack names a place that cannot be")
    if not 0 <= ack.server_us < MAX_TIME_US or not all(map(isfinite, (ack.pause_s, ack.live_s, ack.held_s))):
        raise Malformed("an ack names a time that cannot be")
    return ack


def _open(data: bytes) -> dict[str, Any]:
    body = loads(stretch(data))
    if not isinstance(body, dict):
        raise Malformed("a body is a CBOR map")
    fields = cast("dict[str, Any]", body)
    version = fields.get("v")
    if type(version) is not int or version != VERSION:
        raise Unsupported(f"version {version!r} is not spoken here; accepted: {list(ACCEPTS)}", ACCEPTS)
    return fields


def _contents_in(body: Mapping[str, Any], *, ours: bool = False) -> Contents:
    tables = _field(body, "tables", list)
    entries = _field(body, "entries", list)
    clocks = [_clock(c) for c in _field(body, "clocks", list)]
    budget = _Budget()
    budget.take(0, 0, len(entries))
    return Contents(
        [_table_of_ours(t, clocks) if ours else _table(t, clocks, budget) for t in tables],
        [_other(e) for e in entries],
        seated=_field(body, "seated", bool),
    )


class _Budget:
    """What a body may still expand to. Asked before each expansion."""

    def __init__(self) -> None:
        self.entries, self.readings, self.spread = MAX_ENTRIES, MAX_READINGS, MAX_SPREAD_BYTES

    def take(self, readings: int, spread: int, entries: int = 0) -> None:
        self.entries -= entries
        self.readings -= readings
        self.spread -= spread
        if self.entries < 0:
            raise TooLarge(f"more than {MAX_ENTRIES} entries")
        if self.readings < 0:
            raise TooLarge(f"more than {MAX_READINGS} readings")
        if self.spread < 0:
            raise TooLarge(f"more than {MAX_SPREAD_BYTES} bytes if each value stood by itself")


def _table(raw: object, clocks: list[Clock], budget: _Budget) -> Table:
    match raw:
        case [clock, list(points), list(devices), counts, order, [unit, ticks, *_], list(cells), *_]:
            pass
        case _:
            raise Malformed("a table is its clock, points, devices, counts, order, times and cells")
    if type(unit) is not int or unit not in (1, *_UNITS_US):
        raise Malformed(f"times have the unit 1, 1000 or 1000000 µs, not {unit!r}")
    names = [_name(p, "point") for p in points]
    if len(set(names)) != len(names):
        raise Malformed("a table names a point twice")
    if len(cells) != len(names):
        raise Malformed(f"{len(cells)} cells for {len(names)} points")
    if not devices:
        raise Malformed("a table has no device")
    budget.take(0, 0, len(devices))
    of_devices = one_run(len(devices))
    runs = Runs(vector.unpack_ints(vector_check.check_ints(counts, of_devices, 1, MAX_READINGS), of_devices))
    budget.take(runs.n * max(1, len(names)), runs.n * sum(map(len, names)))
    bound = MAX_TIME_US // unit
    return Table(
        _at(clocks, clock, "clock"),
        [_name(d, "device") for d in devices],
        runs,
        vector_check.check_ints(order, runs, 0, 2**53),
        unit,
        vector_check.check_ints(ticks, runs, -bound, bound),
        {name: _cell(c, runs, budget) for name, c in zip(names, cells, strict=True)},
    )


def _table_of_ours(raw: list[Any], clocks: list[Clock]) -> Table:
    clock, points, devices, counts, order, (unit, ticks), cells = raw
    runs = Runs(vector.unpack_ints(counts, one_run(len(devices))))
    found = [Cell(c[0]) if len(c) == 1 else Cell(c[0], c[1], _runs_of_ours(c[2]) if c[2:] else ()) for c in cells]
    return Table(clocks[clock], devices, runs, order, unit, ticks, dict(zip(points, found, strict=True)))


def _runs_of_ours(raw: list[Any]) -> tuple[tuple[int, int, str], ...]:
    return tuple((first, count, text) for first, count, text, *_ in raw)


def _cell(raw: object, runs: Runs, budget: _Budget) -> Cell:
    if type(raw) is list and len(raw) == 1:  # nearly all: nothing is missing, all is good
        packed = vector_check.check(raw[0], runs)
        if longest := vector_check.longest_text(packed):
            budget.take(0, runs.n * longest)
        return Cell(packed)
    n = runs.n
    match raw:
        case [packed, None | bytes() as present, *rest]:
            shape = runs
            if present is not None:
                count = present.count(1)
                ends = zip(runs.starts, [*runs.starts[1:], n], strict=True)
                if len(present) != n or count + present.count(0) != n or not all(1 in present[a:b] for a, b in ends):
                    raise Malformed("presence is one byte, 0 or 1, a sample, and of no device all 0")
                shape = one_run(count)
            found = vector_check.check(packed, shape)
            budget.take(0, shape.n * vector_check.longest_text(found))
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


def _other(raw: object) -> Placed:
    match raw:
        case [str(kind), place, body, *_] if type(place) is int and 0 <= place <= 2**53:
            pass
        case _:
            raise Malformed("an entry is its type, its place and its body")
    known = _TYPES.get(kind)
    if known is None:
        return Placed((place,), Unknown(kind[:MAX_NAME_CHARS]))
    entry: Entry = _convert(body, known, kind)
    if isinstance(entry, Gap):
        if not 0 < entry.seqs <= 2**53:
            raise Malformed(f"a gap of {entry.seqs} seqs")
        return Placed(range(place, place + entry.seqs), entry)
    return Placed((place,), entry)


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


def _predecessor(body: Mapping[str, Any]) -> Predecessor | msgspec.UnsetType | None:
    if "predecessor" not in body:  # a node that cannot say it
        return msgspec.UNSET
    match body["predecessor"]:
        case None:
            return None
        case dict() as said:
            found = cast("dict[str, Any]", said)
            whole = _field(found, "whole", bool) if "whole" in found else True
            return Predecessor(_seq(found, "epoch"), _seq(found, "through_seq"), _digest(found, "digest"), whole=whole)
        case _:
            raise Malformed("a predecessor is a map, or null where none is known")


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


__all__ = [
    "ACCEPTS", "MAX_BODY_BYTES", "MAX_PLAIN_BYTES", "VERSION", "Packed", "decode_ack", "decode_batch", "decode_row",
    "decode_snapshot", "encode_ack", "encode_batch", "encode_contents", "encode_row", "encode_snapshot", "plain_batch",
    "plain_bytes", "reopen_batch", "reopen_row",
]  # fmt: skip
