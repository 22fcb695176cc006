"""Naming: which bytes of a Modbus frame are what, by the registers of a profile. Pure; no line is touched here.

An answer does not say which registers it gives: it is named by the question before it. Of a frame that is cut, or not
put together as the protocol says, only that is named of which it is certain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from drivers.frames import Field, Frame, Noted
from drivers.modbus.settings import Access, Space
from drivers.profile import Profile
from wire.time import Utc

SPACES: Final[dict[int, Space]] = {
    1: "coil", 2: "discrete", 3: "holding", 4: "input", 5: "coil", 6: "holding", 15: "coil", 16: "holding",
}  # fmt: skip
MANY: Final = (15, 16)  # functions whose question says start, count and size, and then has the values
READS: Final = (1, 2, 3, 4)
EXCEPTION: Final = 0x80
_MBAP: Final = (Field(0, 2, "transaction"), Field(2, 2, "protocol"), Field(4, 2, "length"), Field(6, 1, "unit"))


def named(noted: Sequence[Noted], profile: Profile, *, serial: bool, to_us: float) -> list[Frame]:
    """Frames as they were kept on a monotonic clock in seconds, which is `to_us` microseconds behind UTC."""
    found: list[Frame] = []
    question = b""
    for each in noted:
        if each.direction == "out":
            question = each.data
            fields = _question(question, profile, serial=serial)
        else:
            fields = _answer(each.data, question, profile, serial=serial)
        whole = tuple(f for f in fields if f.first + f.length <= len(each.data))
        found.append(Frame(Utc(round(each.when * 1e6 + to_us)), each.direction, each.data, whole))
    return found


def _head(*, serial: bool) -> tuple[list[Field], int]:
    """The fields before the function, and where it stands."""
    return ([Field(0, 1, "unit")], 1) if serial else (list(_MBAP), 7)


def _tail(data: bytes, *, serial: bool) -> list[Field]:
    return [Field(len(data) - 2, 2, "checksum")] if serial and len(data) >= 4 else []


def _question(data: bytes, profile: Profile, *, serial: bool) -> list[Field]:
    fields, at = _head(serial=serial)
    if len(data) < at + 5:
        return fields
    function, start = data[at], int.from_bytes(data[at + 1 : at + 3])
    fields += [Field(at, 1, "function"), Field(at + 1, 2, "start")]
    space = SPACES.get(function)
    if function in READS:
        fields.append(Field(at + 3, 2, "count"))
    elif function in MANY and space is not None:
        fields += [Field(at + 3, 2, "count"), Field(at + 5, 1, "size")]
        fields += _values(at + 6, space, start, int.from_bytes(data[at + 3 : at + 5]), profile)
    elif space is not None:
        fields += _values(at + 3, space, start, 1, profile, width=2)
    return fields + _tail(data, serial=serial)


def _answer(data: bytes, question: bytes, profile: Profile, *, serial: bool) -> list[Field]:
    fields, at = _head(serial=serial)
    if len(data) < at + 2:
        return []
    function = data[at]
    fields.append(Field(at, 1, "function"))
    if function & EXCEPTION:
        return [*fields, Field(at + 1, 1, "exception"), *_tail(data, serial=serial)]
    asked = question[at : at + 5]
    same = len(asked) == 5 and asked[0] == function and question[at - 1] == data[at - 1]
    if function in MANY:
        return [*fields, Field(at + 1, 2, "start"), Field(at + 3, 2, "count"), *_tail(data, serial=serial)]
    if function not in READS:  # it repeats the question
        return _question(data, profile, serial=serial)
    fields.append(Field(at + 1, 1, "size"))
    start, count = int.from_bytes(asked[1:3]), int.from_bytes(asked[3:5])
    size = (count + 7) // 8 if function in (1, 2) else 2 * count
    if same and data[at + 1] == size:
        fields += _values(at + 2, SPACES[function], start, count, profile)
    return fields + _tail(data, serial=serial)


def _values(
    at: int, space: Space, start: int, count: int, profile: Profile, width: int | None = None
) -> Iterator[Field]:
    """The registers from `start` on as the profile has them: those of a point together; bits by their bytes."""
    if space in ("coil", "discrete"):
        for first in range(0, count, 8):
            end = start + min(first + 8, count)
            yield Field(at + first // 8, width or 1, _bits(space, start + first, end, profile))
        return
    points: dict[int, list[str]] = {}
    widths: dict[int, int] = {}
    for name in profile.points:
        access: Access = profile.access[name]
        if access.space == space and start <= access.where and access.where + access.width <= start + count:
            points.setdefault(access.where, []).append(name)
            widths[access.where] = max(widths.get(access.where, 1), access.width)
    register = start
    while register < start + count:
        wide = widths.get(register, 1)
        told = f" {', '.join(points[register])}" if register in points else ""
        yield Field(at + 2 * (register - start), 2 * wide, f"{space} {register}{told}")
        register += wide


def _bits(space: Space, start: int, end: int, profile: Profile) -> str:
    names = [n for n in profile.points if (a := profile.access[n]).space == space and start <= a.where < end]
    span = f"{space} {start}" if end - start == 1 else f"{space} {start} to {end - 1}"
    return " ".join([span, *([", ".join(names)] if names else [])])
