"""Guessing: how a profile would read registers of a unit that nobody knows. Pure; no line is touched here.

Beside the profile as it is written, its points of several registers are read in each word order, all addresses one
higher and one lower (data sheets count from 1 as often as from 0), and holding registers for input registers and the
other way round.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, get_args

import msgspec

from drivers.guesses import Guess, GuessedPoint
from drivers.modbus.registers import Block, Piece, Reader
from drivers.modbus.settings import Access, Order, Space
from drivers.profile import Profile
from wire.sample import Value

ORDERS: Final[tuple[Order, ...]] = get_args(Order)
OTHER: Final[Mapping[Space, Space]] = {"holding": "input", "input": "holding"}
MAX_STARTS: Final = 16
Place = tuple[Space, int]


class Registers(msgspec.Struct, frozen=True):
    """What a unit answered: the words (or bits) of each reading by place, and the places that it refuses."""

    unit: int
    readings: tuple[Mapping[Place, int], ...]
    refused: frozenset[Place] = frozenset()


class Answer(msgspec.Struct, frozen=True):
    """A bare answer to a read: nobody knows from which register on."""

    unit: int
    function: Literal[3, 4]
    data: bytes


def guesses(profile: Profile, evidence: Registers | Answer) -> Sequence[Guess]:
    """All readings of the registers by this profile; none where not one point of it was heard."""
    if isinstance(evidence, Answer):
        return [g for start in _starts(profile, evidence) for g in _of_registers(profile, _placed(evidence, start))]
    return list(_of_registers(profile, evidence))


def _of_registers(profile: Profile, found: Registers) -> Iterator[Guess]:
    for kind, changes, variant in _variants(profile):
        points = _told(variant, found)
        if any(not t.absent for t in points.values()):
            changed = tuple(n for n in points if variant.access[n] != profile.access[n]) if kind else ()
            address = {"unit": found.unit}
            yield Guess(points=points, changes=changes, changed=changed, kind=kind, address=address)


Variant = tuple[Literal["", "order", "shift", "space"], dict[str, str | int], Profile]


def _variants(profile: Profile) -> Iterator[Variant]:
    access: Mapping[str, Access] = profile.access
    yield "", {}, profile
    for order in ORDERS:
        wide = {n: a for n, a in access.items() if a.width > 1 and a.as_ != "text" and a.order != order}
        if wide:
            made = {n: msgspec.structs.replace(a, order=order) for n, a in wide.items()}
            yield "order", {"order": order}, _with(profile, made)
    for by in (1, -1):
        if all(a.where + by >= 0 and a.where + by + a.width <= 65536 for a in access.values()):
            yield "shift", {"by": by}, _with(profile, {n: _moved(a, a.space, a.where + by) for n, a in access.items()})
    spaces: list[Space] = [s for s in OTHER if any(a.space == s for a in access.values())]
    if len(spaces) == 1:
        other = OTHER[spaces[0]]
        made = {n: _moved(a, other, a.where) for n, a in access.items() if a.space in OTHER}
        yield "space", {"space": other}, _with(profile, made)


def _moved(access: Access, space: Space, where: int) -> Access:
    places: dict[str, int | None] = {"holding": None, "input": None, "coil": None, "discrete": None, space: where}
    return msgspec.structs.replace(access, **places)


def _with(profile: Profile, access: Mapping[str, Access]) -> Profile:
    return msgspec.structs.replace(profile, access={**profile.access, **access})


def _told(profile: Profile, found: Registers) -> dict[str, GuessedPoint]:
    """What each point would be. Points that were not asked for are left out."""
    points: dict[str, GuessedPoint] = {}
    for name in profile.points:
        access: Access = profile.access[name]
        places: list[Place] = [(access.space, access.where + i) for i in range(access.width)]
        if any(p in found.refused for p in places):
            points[name] = GuessedPoint(absent=True)
            continue
        values: list[Value] = []
        blank, why = True, ""
        reader = Reader(
            Block(access.space, access.where, access.width, (Piece(name, access.where, access.width),)), profile
        )
        for reading in found.readings:
            if any(p not in reading for p in places):
                continue
            words = [reading[p] for p in places]
            blank = blank and all(w in (0, 0xFFFF) for w in words)
            data = [bool(w) for w in words] if access.is_bit else b"".join(w.to_bytes(2) for w in words)
            got: dict[str, Value] = {}
            quality: dict[str, str] = {}
            reader.read(data, got, quality)
            values.append(got[name])
            why = quality.get(name, why)
        if values:
            points[name] = told(access, tuple(values), blank=blank, why=why)
    return points


def told(access: Access, values: tuple[Value, ...], *, blank: bool, why: str) -> GuessedPoint:
    """A point as it was read, with what its raw value is like."""
    field = access.field
    bits = 1 if access.is_bit else field[1] - field[0] + 1 if field is not None else 16 * access.width
    return GuessedPoint(
        values=values,
        bits=bits,
        real=access.as_ in ("f32", "f64"),
        step=0.0 if access.as_ == "text" else abs(access.scale),
        blank=blank,
        why=why,
        codes=len(access.choices or ()),
    )


def _starts(profile: Profile, answer: Answer) -> list[int]:
    """Where an answer of this size may begin: at points of the profile behind which enough of it lies."""
    space: Space = "holding" if answer.function == 3 else "input"
    count = len(answer.data) // 2
    accesses: list[Access] = [a for a in profile.access.values() if a.space == space]
    within = {
        a.where: sum(a.where <= b.where and b.where + b.width <= a.where + count for b in accesses) for a in accesses
    }
    return sorted(within, key=lambda w: (-within[w], w))[:MAX_STARTS]


def _placed(answer: Answer, start: int) -> Registers:
    space: Space = "holding" if answer.function == 3 else "input"
    words: dict[Place, int] = {
        (space, start + i): int.from_bytes(answer.data[2 * i : 2 * i + 2]) for i in range(len(answer.data) // 2)
    }  # fmt: skip
    return Registers(answer.unit, (words,))


def pasted(frames: Sequence[bytes]) -> list[Registers | Answer]:
    """What copied frames say: an answer that follows its question is placed by it. RTU with a checksum, with or without
    the question before it in one piece; TCP; and a bare unit and answer without a checksum."""
    found: list[Registers | Answer] = []
    question: bytes | None = None
    for body in (b for f in frames for b in _bodies(f)):
        unit, function = body[0], body[1]
        if len(body) == 6 and function in (3, 4) and 1 <= int.from_bytes(body[4:6]) <= 125:
            question = body
        elif function in (3, 4) and len(body) == 3 + body[2]:
            answer = Answer(unit, 3 if function == 3 else 4, body[3:])
            fits = question is not None and question[:2] == body[:2] and 2 * int.from_bytes(question[4:6]) == body[2]
            found.append(_placed(answer, int.from_bytes(question[2:4])) if fits and question else answer)
            question = None
    return found


def _bodies(data: bytes) -> Iterator[bytes]:
    """Unit, function and data of each frame, without what carries them."""
    while len(data) >= 5:
        sizes = [n for n in (8, 5 + data[2]) if len(data) >= n and checksum(data[: n - 2]) == data[n - 2 : n]]
        if (
            not sizes
            and data[2:4] == b"\0\0"
            and 3 <= (size := int.from_bytes(data[4:6])) <= len(data) - 6
            and len(data) >= 9
        ):
            yield data[6 : 6 + size]
            data = data[6 + size :]
            continue
        if not sizes:
            if data[1] in (3, 4) and len(data) == 3 + data[2]:
                yield data
            return
        yield data[: sizes[0] - 2]
        data = data[sizes[0] :]


def checksum(data: bytes) -> bytes:
    """That of RTU, low byte first (Modbus over Serial Line V1.02, 6.2.2)."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return value.to_bytes(2, "little")
