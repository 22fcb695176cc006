"""Coded: the words by which a profile says what a raw number of a device means, whatever protocol carries it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from drivers.scaling import IDENTITY, Scaling


class Coded(msgspec.Struct, kw_only=True, frozen=True):
    """A part of the keys of `at`: bit field, missing values, choices, scale; see `readings.meaning`."""

    bit: Annotated[
        Annotated[int, Meta(ge=0, le=63)] | None, Meta(description="the one bit that is meant; 0 is the lowest")
    ] = None
    bits: Annotated[
        tuple[int, int] | None, Meta(description="lowest and highest bit of the field that is meant, such as [4, 7]")
    ] = None
    scale: Annotated[float, Meta(description="what one step of the raw number is worth, such as 0.1")] = 1
    offset: Annotated[float, Meta(description="added after scaling")] = 0
    choices: Annotated[
        dict[str, str] | None, Meta(description='what each number means, such as {0 = "off", 1 = "on"}')
    ] = None
    invalid: Annotated[
        tuple[int, ...], Meta(description="raw numbers by which the device says that it has no value")
    ] = ()

    @property
    def field(self) -> tuple[int, int] | None:
        """Lowest and highest bit, where it is a bit field."""
        return (self.bit, self.bit) if self.bit is not None else self.bits

    @property
    def scaling(self) -> Scaling:
        """Scale and offset as exact whole numbers."""
        return Scaling.of(self.scale, self.offset)

    def check(self, form: str, unsigned_bits: int) -> None:
        """Whether the words go together, for a raw value of this form, of so many bits where it is unsigned (else 0).

        Raises:
            ValueError.
        """
        if self.bit is not None and self.bits is not None:
            raise ValueError("write bit for one bit or bits for a field of several, not both")
        if self.field is not None:
            low, high = self.field
            if not 0 <= low <= high < unsigned_bits:
                raise ValueError("bit and bits go with unsigned formats, lowest bit first, and must lie inside it")
        scaled = self.scaling != IDENTITY  # asked in any case: it says what is wrong with scale and offset
        if self.choices is not None and (form in ("f32", "f64", "text") or scaled):
            raise ValueError("choices go with whole numbers that are not scaled")
        if self.choices is not None and not all(k.removeprefix("-").isdecimal() for k in self.choices):
            raise ValueError('choices: write the numbers as keys, such as {0 = "off", 1 = "on"}')
