"""Coded: the words by which a profile says what a raw number of a device means, whatever protocol carries it."""

from __future__ import annotations

from math import isfinite
from typing import Annotated

import msgspec
from msgspec import Meta

from drivers.scaling import IDENTITY, Scaling

Choice = str | int | float | bool
"""What a code stands for, as a file writes it; `readings.chosen` makes a point's value of it."""


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
        dict[str, Choice] | None, Meta(description='what each number means, such as {0 = "off", 1 = "on"}')
    ] = None
    invalid: Annotated[
        tuple[int | float | str, ...],
        Meta(description="raw values, before bits and scale, by which the device says that it has none"),
    ] = ()
    invalid_bits: Annotated[
        tuple[int, ...], Meta(description="the same, where a bit field says so for itself: numbers of the field")
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
        self.check_field(unsigned_bits)
        scaled = self.scaling != IDENTITY  # asked in any case: it says what is wrong with scale and offset
        if self.choices is not None and (form in ("f32", "f64", "text") or scaled):
            raise ValueError("choices go with whole numbers that are not scaled")
        if self.choices is not None and not all(k.removeprefix("-").isdecimal() for k in self.choices):
            raise ValueError('choices: write the numbers as keys, such as {0 = "off", 1 = "on"}')

    def check_invalid(self, form: str) -> None:
        """Whether a raw value of this form can be what stands for none; "u1" is a bit.

        Raises:
            ValueError.
        """
        for value in self.invalid:
            if isinstance(value, str) != (form == "text"):
                raise ValueError(f"invalid: {value!r} is never what {form} holds")
            if isinstance(value, str) or form[0] not in "iu":
                continue
            bits = int(form[1:])
            low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if form[0] == "i" else (0, (1 << bits) - 1)
            if not isfinite(value) or value != int(value) or not low <= value <= high:
                told = f"{value} is no raw number of {form}, which goes from {low} to {high}"
                near = value - (1 << bits) if form[0] == "i" else value + (1 << bits)
                hint = f"; the same bits are {near}" if low <= near <= high else ""
                raise ValueError(f"invalid: {told}{hint}; write it unscaled, as the device holds it")

    def check_field(self, unsigned_bits: int) -> None:
        """Whether a bit field lies in so many bits (0: there is none to take one of), and what goes with it.

        Raises:
            ValueError.
        """
        if self.bit is not None and self.bits is not None:
            raise ValueError("write bit for one bit or bits for a field of several, not both")
        if self.field is None:
            if self.invalid_bits:
                raise ValueError("invalid_bits goes with bit or bits; for the whole number write invalid")
            return
        low, high = self.field
        if not 0 <= low <= high < unsigned_bits:
            raise ValueError("bit and bits go with unsigned formats, lowest bit first, and must lie inside it")
        if any(not 0 <= n < 1 << (high - low + 1) for n in self.invalid_bits):
            raise ValueError("invalid_bits: a number that the field cannot hold; for the whole number write invalid")

    def step_in(self, form: str) -> float:
        """What one step of the raw number is worth in this form; 0 where values of any size between can be written."""
        return 0.0 if form in ("f32", "f64", "text") or self.choices is not None else abs(self.scale)
