"""Registers as data sheets draw them: values to words, and words back to what a reader must decode.

Promises: `decode(encode(x))` is the exact engineering value that the words stand for (scaled integers divided
by their power of ten, f32 as the double of the same value); a value outside its register's range is clamped to
the range, as firmware does, never wrapped around.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from firmware_sim.ledger import Value

WORD_MAX = 0xFFFF
Encoding: TypeAlias = Literal["u16", "i16", "u32", "f32", "f32_cdab", "bits", "enum"]
_RANGE: Mapping[str, tuple[int, int]] = {"u16": (0, WORD_MAX), "i16": (-0x8000, 0x7FFF), "u32": (0, 0xFFFF_FFFF)}


@dataclass(frozen=True)
class Field:
    """One line of a register table. `names` are the bits from bit 0 on, or the texts of an enumeration."""

    name: str
    address: int
    encoding: Encoding
    scale: int = 1
    names: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """How many registers it takes."""
        return 2 if self.encoding in {"u32", "f32", "f32_cdab"} else 1

    def encode(self, values: Mapping[str, Value]) -> list[int]:
        """The words for this field out of a device's values."""
        if self.encoding == "bits":
            return [sum(1 << bit for bit, name in enumerate(self.names) if values[name])]
        if self.encoding == "enum":
            return [self.names.index(str(values[self.name]))]
        value = values[self.name]
        if isinstance(value, str):
            message = f"{self.name} is a number, not {value!r}"
            raise TypeError(message)
        if self.encoding in {"f32", "f32_cdab"}:
            high, low = struct.unpack(">HH", struct.pack(">f", value))
            return [low, high] if self.encoding == "f32_cdab" else [high, low]
        lowest, highest = _RANGE[self.encoding]
        raw = max(lowest, min(highest, round(value * self.scale)))
        return [raw >> 16, raw & WORD_MAX] if self.encoding == "u32" else [raw & WORD_MAX]

    def decode(self, words: Sequence[int]) -> dict[str, Value]:
        """What a faultless reader makes of this field's words."""
        if self.encoding == "bits":
            return {name: bool(words[0] >> bit & 1) for bit, name in enumerate(self.names)}
        if self.encoding == "enum":
            return {self.name: self.names[words[0]]}
        if self.encoding in {"f32", "f32_cdab"}:
            high, low = (words[1], words[0]) if self.encoding == "f32_cdab" else (words[0], words[1])
            number: float = struct.unpack(">f", struct.pack(">HH", high, low))[0]
            return {self.name: number}
        raw = words[0]
        if self.encoding == "u32":
            raw = words[0] << 16 | words[1]
        elif self.encoding == "i16" and raw > WORD_MAX >> 1:
            raw -= WORD_MAX + 1
        return {self.name: raw if self.scale == 1 else raw / self.scale}


def encode_table(table: Sequence[Field], size: int, values: Mapping[str, Value]) -> list[int]:
    """All `size` registers of a device; those that no field names read as 0."""
    words = [0] * size
    for field in table:
        words[field.address : field.address + field.width] = field.encode(values)
    return words


def decode_range(table: Sequence[Field], address: int, words: Sequence[int]) -> dict[str, Value]:
    """The values that lie wholly inside an answer which begins at `address`."""
    values: dict[str, Value] = {}
    for field in table:
        offset = field.address - address
        if offset >= 0 and offset + field.width <= len(words):
            values.update(field.decode(words[offset : offset + field.width]))
    return values
