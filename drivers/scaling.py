"""Linear scaling between what a device holds and what it means: value = raw · scale + offset.

Written as decimals in a data sheet, so kept as a fraction of whole numbers: an integer scaled by 0.1 gives the double
nearest to value / 10 (Python divides integers with one rounding), not value * 0.1 with two.

Bounds: scale and offset lie within LEAST … MOST, or are an offset of 0. Then no raw number of 64 bits, whole or not,
makes the arithmetic of `value` raise; a float may become infinite, which `drivers.readings` tells.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from math import lcm
from typing import Final

import msgspec

LEAST: Final = 1e-30  # from quecto to quetta: no unit has a step beyond (SI brochure, table 7)
MOST: Final = 1e30


class Scaling(msgspec.Struct, frozen=True):
    """value = (raw · times + plus) / over, all whole numbers."""

    times: int
    plus: int
    over: int

    @classmethod
    def of(cls, scale: float = 1, offset: float = 0) -> Scaling:
        """From numbers as they stand in a file: 0.1 means one tenth.

        Raises:
            ValueError: a scale of 0, or a number that is not finite or beyond the bounds.
        """
        try:
            factor, shift = Fraction(Decimal(repr(scale))), Fraction(Decimal(repr(offset)))
        except (ValueError, OverflowError, ArithmeticError) as error:
            raise ValueError("scale and offset must be finite numbers") from error
        if factor == 0:
            raise ValueError("a scale of 0 makes every value the same")
        for name, number in (("scale", scale), ("offset", offset)):
            if number and not LEAST <= abs(number) <= MOST:
                raise ValueError(
                    f"{name} is {number:g}: what it gives may be no finite number; write one of a size between"
                    f" {LEAST:g} and {MOST:g}"
                )
        over = lcm(factor.denominator, shift.denominator)
        return cls(int(factor * over), int(shift * over), over)

    @property
    def whole(self) -> bool:
        """Whether whole numbers stay whole."""
        return self.over == 1

    def value(self, raw: float) -> float:
        """What a raw number means; an int where raw and scaling are whole."""
        scaled = raw * self.times + self.plus
        return scaled if self.over == 1 else scaled / self.over

    def raw(self, value: float) -> Fraction:
        """The exact raw number of a value, read as it is written in decimal."""
        return (Fraction(Decimal(repr(value))) * self.over - self.plus) / self.times

    def steps(self, value: float) -> int:
        """The whole raw number that is nearest to a value; of two equally near the greater (0.5 is 1, -0.5 is 0)."""
        number = self.raw(value)
        return (2 * number.numerator + number.denominator) // (2 * number.denominator)

    def plain(self, value: float) -> float:
        """The raw number of a value as people would write it: 15 digits, which a double holds, and whole where it is.

        Raises:
            OverflowError: it is beyond what a float holds.
        """
        number = self.raw(value)
        if number.denominator == 1:
            return int(number)
        short = float(f"{float(number):.15g}")
        return int(short) if short.is_integer() else short

    def compiled(self) -> Callable[[float], float] | None:
        """`value` as a function, or None where nothing is to be done."""
        if self == IDENTITY:
            return None
        times, plus, over = self.times, self.plus, self.over
        if times == 1 and plus == 0:
            return lambda raw: raw / over
        return self.value


IDENTITY = Scaling(1, 0, 1)
