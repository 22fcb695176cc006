"""Registers: which requests fetch which points, and what the registers say. Pure; no line is touched here.

Neighbouring points are fetched by one request of at most 125 registers or 2,000 bits; a gap of up to `max_gap`
between them is read along. A block that a device refuses with its gaps can be split at them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Final

import msgspec

from drivers.errors import Refused
from drivers.modbus.words import Access, Order, Space, Whole
from drivers.profile import Profile
from drivers.readings import Finish, meaning
from wire.device import Point
from wire.sample import Value

_CODES: Final = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}
_LIMITS: Final = {
    "u16": (0, 2**16 - 1), "i16": (-(2**15), 2**15 - 1), "u32": (0, 2**32 - 1), "i32": (-(2**31), 2**31 - 1),
    "u64": (0, 2**64 - 1), "i64": (-(2**63), 2**63 - 1),
}  # fmt: skip

Raw = Callable[[bytes, int], Value]
"""Registers as bytes (big-endian, in the order of the wire) and a place in them, to what stands there."""


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

    def without_gaps(self) -> list[Block]:
        """The same points, with nothing read that nobody asked for."""
        return _grouped(self.space, self.pieces, self.count, 0)


def plan(profile: Profile, points: Sequence[str]) -> list[Block]:
    """The fewest requests, in the order of addresses, that fetch these points."""
    whole: Whole = profile.whole
    blocks: list[Block] = []
    spaces: dict[Space, list[Piece]] = {}
    for name in points:
        access: Access = profile.access[name]
        spaces.setdefault(access.space, []).append(Piece(name, access.where, access.width))
    for space, pieces in spaces.items():
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


class Decoder:
    """What the registers of one profile say, compiled once."""

    def __init__(self, profile: Profile) -> None:
        self._raw: dict[str, Raw] = {n: _raw(profile.access[n]) for n in profile.points}
        self._meant: dict[str, Finish] = {
            n: meaning(p, field=a.field, invalid=a.invalid, choices=a.choices, scaling=a.scaling)
            for n, p in profile.points.items()
            if (a := profile.access[n])
        }

    def read(
        self, block: Block, answer: bytes | Sequence[bool], values: dict[str, Value], quality: dict[str, str]
    ) -> None:
        """Add what the answer to a block says: its registers as bytes, or its bits."""
        for piece in block.pieces:
            at = piece.start - block.start
            raw = self._raw[piece.point](answer, 2 * at) if isinstance(answer, bytes) else bool(answer[at])
            values[piece.point], reason = self._meant[piece.point](raw)
            if reason is not None:
                quality[piece.point] = reason


def encode(access: Access, point: Point, value: Value) -> list[int]:
    """The registers (or one bit) that say `value`, which is already allowed by its point.

    Raises:
        Refused: it does not fit.
    """
    if access.is_bit:
        return [int(bool(value))]
    if access.as_ == "text":
        data = str(value).encode()
        if len(data) > 2 * access.length:
            raise Refused(f"{point.name} takes at most {2 * access.length} bytes of text")
        return _registers(data.ljust(2 * access.length, b"\0"), access.order)
    if access.choices is not None:
        value = int(next(code for code, text in access.choices.items() if text == value))
    number = access.scaling.raw(float(value) if isinstance(value, bool) else _number(value))
    if access.as_ in ("f32", "f64"):
        try:
            return _registers(struct.pack(">" + _CODES[access.as_], float(number)), access.order)
        except OverflowError as error:
            raise Refused(f"{value!r} does not fit {access.as_}") from error
    low, high = _LIMITS[access.as_]
    steps = _nearest(number)
    if not low <= steps <= high:
        raise Refused(f"{value!r} does not fit {access.as_}")
    return _registers(struct.pack(">" + _CODES[access.as_], steps), access.order)


def _number(value: Value) -> float:
    assert isinstance(value, int | float)
    return value


def _nearest(number: Fraction) -> int:
    return (2 * number.numerator + number.denominator) // (2 * number.denominator)


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


def _raw(access: Access) -> Raw:
    order, size = access.order, 2 * access.width
    if access.as_ == "text":
        return lambda data, at: _reorder(data[at : at + size], order).split(b"\0")[0].decode("utf-8", "replace").strip()
    code = struct.Struct(">" + _CODES[access.as_])
    if order == "ABCD":
        return lambda data, at: code.unpack_from(data, at)[0]
    return lambda data, at: code.unpack(_reorder(data[at : at + size], order))[0]
