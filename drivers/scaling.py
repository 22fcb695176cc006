"""Linear scaling between what a device holds and what it means: value = raw · scale + offset.

Written as decimals in a data sheet, so kept as a fraction of whole numbers: an integer scaled by 0.1 gives the double
nearest to value / 10 (Python divides integers with one rounding), not value * 0.1 with two.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from math import lcm

import msgspec


class Scaling(msgspec.Struct, frozen=True):
    """value = (raw · times + plus) / over, all whole numbers."""

    times: int
    plus: int
    over: int

    @classmethod
    def of(cls, scale: float = 1, offset: float = 0) -> Scaling:
        """From numbers as they stand in a file: 0.1 means one tenth.

        Raises:
            ValueError: a scale of 0, or a number that is not finite.
        """
        try:
            factor, shift = Fraction(Decimal(repr(scale))), Fraction(Decimal(repr(offset)))
        except (ValueError, OverflowError, ArithmeticError) as error:
            raise ValueError("scale and offset must be finite numbers") from error
        if factor == 0:
            raise ValueError("a scale of 0 makes every value the same")
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

    def compiled(self) -> Callable[[float], float] | None:
        """`value` as a function, or None where nothing is to be done."""
        if self == IDENTITY:
            return None
        times, plus, over = self.times, self.plus, self.over
        if times == 1 and plus == 0:
            return lambda raw: raw / over
        return self.value


IDENTITY = Scaling(1, 0, 1)
