"""Registers: which requests fetch which points, and what the registers say. Pure; no line is touched here.

Neighbouring points are fetched by one request of at most 125 registers or 2,000 bits; a gap of up to `max_gap`
between them is read along. What becomes of a request that a device refuses is in `limits.py`.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Sequence
from math import isfinite
from operator import add, itemgetter, mul, ne
from typing import Any, Final, cast

import msgspec

from drivers.errors import Refused
from drivers.modbus.settings import Access, Order, Space, Whole
from drivers.profile import Profile
from drivers.readings import Finish, absent, code_of, meaning
from drivers.scaling import IDENTITY
from drivers.texts import read_as, written
from wire.device import Point
from wire.sample import INT_MAX, INT_MIN, Value

_CODES: Final = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}
_LIMITS: Final = {
    "u16": (0, 2**16 - 1), "i16": (-(2**15), 2**15 - 1), "u32": (0, 2**32 - 1), "i32": (-(2**31), 2**31 - 1),
    "u64": (0, 2**64 - 1), "i64": (-(2**63), 2**63 - 1),
}  # fmt: skip

_Do = Callable[[Any, Any], Any]
_and: Final = cast("_Do", operator.and_)  # pyright: ignore[reportUnknownMemberType]
_over: Final = cast("_Do", operator.truediv)  # pyright: ignore[reportUnknownMemberType]
_Step = tuple[str, int, Finish]  # a point, the index of its raw value, and what that means


class Piece(msgspec.Struct, frozen=True):
    """One point inside a block."""

    point: str
    start: int
    width: int


class Block(msgspec.Struct, frozen=True):
    """One request: `count` registers or bits from `start`, and the points inside."""

    space: Space
    start: int
    count: int
    pieces: tuple[Piece, ...]


def spaces(profile: Profile, points: Sequence[str]) -> dict[Space, list[Piece]]:
    """Where these points are."""
    found: dict[Space, list[Piece]] = {}
    for name in points:
        access: Access = profile.access[name]
        found.setdefault(access.space, []).append(Piece(name, access.where, access.width))
    return found


def plan(profile: Profile, points: Sequence[str]) -> list[Block]:
    """The fewest requests, in the order of addresses, that fetch these points."""
    whole: Whole = profile.whole
    blocks: list[Block] = []
    for space, pieces in spaces(profile, points).items():
        limit = whole.max_bits if space in ("coil", "discrete") else whole.max_registers
        blocks += _grouped(space, pieces, limit, whole.max_gap)
    return blocks


def _grouped(space: Space, pieces: Sequence[Piece], limit: int, max_gap: int) -> list[Block]:
    blocks: list[Block] = []
    run: list[Piece] = []
    end = 0
    for piece in sorted(pieces, key=lambda p: (p.start, p.width)):
        reach = max(end, piece.start + piece.width)
        if run and (piece.start - end > max_gap or reach - run[0].start > limit):
            blocks.append(Block(space, run[0].start, end - run[0].start, tuple(run)))
            run, reach = [], piece.start + piece.width
        run.append(piece)
        end = reach
    if run:
        blocks.append(Block(space, run[0].start, end - run[0].start, tuple(run)))
    return blocks


class Reader:
    """What the answer to one block says, compiled once.

    Most points are numbers that are only scaled: those of a kind are taken through C in one go, never one by one. What
    such a run may hold that is not so plain (a missing value, a number that is not finite) is looked for in the run as
    a whole, and when it is there, the block is read point by point; both ways give the same, bit for bit.
    """

    def __init__(self, block: Block, profile: Profile) -> None:
        self.block = block
        self._raws: Callable[[Any], Sequence[Value]]
        index: list[int]
        if block.space in ("coil", "discrete"):
            self._raws, index = _bits, [p.start - block.start for p in block.pieces]
        else:
            self._raws, index = _layout(block, profile)
        self._slow: list[_Step] = []  # all points, one by one
        runs: dict[str, list[_Step]] = {}
        for piece, i in zip(block.pieces, index, strict=True):
            step = (piece.point, i, _meant(profile, piece.point))
            self._slow.append(step)
            runs.setdefault(_kind(profile.points[piece.point], profile.access[piece.point]), []).append(step)
        self._rest = runs.pop("", [])  # the points of no run
        self._runs = [_Run(kind, steps, profile) for kind, steps in runs.items()]

    def read(self, answer: bytes | Sequence[bool], values: dict[str, Value], quality: dict[str, str]) -> None:
        """Add what an answer says: its registers as bytes, or its bits."""
        raws = self._raws(answer)
        steps = self._rest
        for run in self._runs:
            if not run.read(raws, values):
                steps = self._slow
                break
        for name, i, meant in steps:
            values[name], reason = meant(raws[i])
            if reason is not None:
                quality[name] = reason


class _Run:
    """Points of one kind inside a block."""

    def __init__(self, kind: str, steps: Sequence[_Step], profile: Profile) -> None:
        accesses = [profile.access[name] for name, _, _ in steps]
        self._names = tuple(name for name, _, _ in steps)
        where = [i for _, i, _ in steps]
        # A slice of one is still a sequence, which itemgetter of one is not.
        straight = where == list(range(where[0], where[0] + len(where)))
        self._pick: Callable[[Any], Sequence[Any]] = itemgetter(
            *((slice(where[0], where[-1] + 1),) if straight else where)
        )
        self._missing = absent([code for a in accesses for code in a.invalid])
        self._finite = kind == "real"
        self._stages: list[tuple[_Do, tuple[int, ...]]] = []
        scalings = [a.scaling for a in accesses]
        if kind == "flag":
            self._stage(_and, [1 << a.field[0] if a.field is not None else 0 for a in accesses])
            self._stage(ne, [0 for _ in accesses])
        elif kind in ("float", "int"):
            if any(s.times != 1 for s in scalings):
                self._stage(mul, [s.times for s in scalings])
            if any(s.plus for s in scalings):
                self._stage(add, [s.plus for s in scalings])
            if kind == "float":  # also over 1, which makes a float of it
                self._stage(_over, [s.over for s in scalings])

    def _stage(self, do: _Do, operands: list[int]) -> None:
        self._stages.append((do, tuple(operands)))

    def read(self, raws: Sequence[Value], values: dict[str, Value]) -> bool:
        """Add the values; False where one of them may be none, so that each has to be looked at."""
        taken: Any = self._pick(raws)
        if self._missing and not self._missing.isdisjoint(taken):
            return False
        if self._finite and not isfinite(sum(taken)):  # a sum beyond all bounds is only looked at in vain
            return False
        for do, operands in self._stages:
            taken = map(do, taken, operands)
        values.update(zip(self._names, taken, strict=True))
        return True


class Decoder:
    """What the registers of one profile say; each block is compiled once."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._readers: dict[Block, Reader] = {}

    def reader(self, block: Block) -> Reader:
        """The reader of a block, for all devices of this profile."""
        if (reader := self._readers.get(block)) is None:
            reader = self._readers[block] = Reader(block, self._profile)
        return reader

    def read(
        self, block: Block, answer: bytes | Sequence[bool], values: dict[str, Value], quality: dict[str, str]
    ) -> None:
        """Add what the answer to a block says: its registers as bytes, or its bits."""
        self.reader(block).read(answer, values, quality)


def _bits(answer: Sequence[bool]) -> Sequence[bool]:
    return answer


def _layout(block: Block, profile: Profile) -> tuple[Callable[[Any], Sequence[Value]], list[int]]:
    """How to take the raw values out of the registers of a block, and at which index each of its points finds its own.

    One format for the whole block where its points lie one behind the other in big-endian order, several points in the
    same registers included. Else the bytes are first put so, by one look-up of all of them.
    """
    slots: dict[tuple[int, str, Order], int] = {}
    index: list[int] = []
    plain, end, codes, places = True, 0, "", list[int]()
    for piece in block.pieces:
        access: Access = profile.access[piece.point]
        at, size = 2 * (piece.start - block.start), 2 * piece.width
        code = f"{size}s" if access.as_ == "text" else _CODES[access.as_]
        slot = (at, code, access.order)
        if slot not in slots:
            slots[slot] = len(slots)
            plain = plain and access.order == "ABCD" and at >= end
            codes += (f"{at - end}x" if plain and at > end else "") + code
            end = at + size
            places += [at + i for i in _reorder(bytes(range(size)), access.order)]
        index.append(slots[slot])
    if plain:
        return struct.Struct(">" + codes).unpack_from, index
    unpack = struct.Struct(">" + "".join(code for _, code, _ in slots)).unpack
    ordered = itemgetter(*places)
    return lambda data: unpack(bytes(ordered(data))), index


def _kind(point: Point, access: Access) -> str:
    """In which run a point may go: those of one kind are computed alike, without a look at each. Else nothing."""
    scaling = access.scaling
    if access.is_bit:
        plain = point.type == "bool" and not access.invalid and access.choices is None and scaling == IDENTITY
        return "bit" if plain else ""
    if access.choices is not None or access.as_ == "text":
        return ""
    if access.field is not None:
        single = access.field[0] == access.field[1]
        return (
            "flag"
            if single and point.type == "bool" and not (access.invalid or access.invalid_bits) and scaling == IDENTITY
            else ""
        )
    if access.as_ in ("f32", "f64"):
        return "real" if point.type == "float" and scaling == IDENTITY else ""
    ends = [raw * scaling.times + scaling.plus for raw in _LIMITS[access.as_]]
    if point.type == "float":
        return "float" if all(abs(e) < 2**1000 for e in ends) else ""
    if point.type == "int" and scaling.whole:
        return "int" if all(INT_MIN <= e <= INT_MAX for e in ends) else ""
    return ""


def _meant(profile: Profile, name: str) -> Finish:
    access: Access = profile.access[name]
    meant = meaning(
        profile.points[name],
        field=access.field,
        invalid=access.invalid,
        invalid_bits=access.invalid_bits,
        choices=access.choices,
        scaling=access.scaling,
    )
    if access.as_ != "text":
        return meant

    return cast("Finish", read_as(access.encoding, meant))  # of a text, what is raw are its bytes


def encode(access: Access, point: Point, value: Value) -> list[int]:
    """The registers (or one bit) that say `value`, which is already allowed by its point.

    Raises:
        Refused: it does not fit.
    """
    if access.choices is not None:
        value = int(code_of(point, access.choices, value))
    if access.is_bit:
        return [int(bool(value))]
    if access.as_ == "text":
        data = written(str(value), access.encoding, 2 * access.length, point.name)
        return _registers(data.ljust(2 * access.length, b"\0"), access.order)
    number = float(value) if isinstance(value, bool) else _number(value)
    if access.as_ in ("f32", "f64"):
        try:
            return _registers(struct.pack(">" + _CODES[access.as_], float(access.scaling.raw(number))), access.order)
        except OverflowError as error:
            raise Refused(f"{value!r} does not fit {access.as_}") from error
    low, high = _LIMITS[access.as_]
    steps = access.scaling.steps(number)
    if not low <= steps <= high:
        raise Refused(f"{value!r} does not fit {access.as_}")
    return _registers(struct.pack(">" + _CODES[access.as_], steps), access.order)


def _number(value: Value) -> float:
    assert isinstance(value, int | float)
    return value


def _registers(data: bytes, order: Order) -> list[int]:
    ordered = _reorder(data, order)
    return [int.from_bytes(ordered[i : i + 2]) for i in range(0, len(ordered), 2)]


def _reorder(data: bytes, order: Order) -> bytes:
    """Between big-endian and the named order; its own inverse."""
    pairs = [data[i : i + 2] for i in range(0, len(data), 2)]
    if order in ("CDAB", "DCBA"):
        pairs.reverse()
    if order in ("BADC", "DCBA"):
        pairs = [p[::-1] for p in pairs]
    return b"".join(pairs)
