"""Rejoin: many short vectors of one point become one, as if its values had never been packed apart.

It is what a backlog costs the node: of each vector is looked at as little as will do.
"""

# Untyped data is taken apart here: what it is made of has no type before.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain, repeat
from math import copysign
from operator import itemgetter
from typing import Any, Final

from wire.vector import (
    DECIMAL,
    EVEN,
    EXACT,
    INTS,
    MAX_DECIMALS,
    SAME,
    STEPS,
    Runs,
    Vector,
    pack,
    pack_ints,
    scaled_by,
    unpack,
    unpack_ints,
)


def rejoin(
    vectors: Sequence[Vector], shapes: Sequence[Runs], pick: Callable[[Sequence[Any]], Sequence[Any]], runs: Runs
) -> Vector:
    """One vector of the values of all vectors, in the order that `pick` brings them into.

    It is what `pack` would make of the values. Floats that are scaled integers are not made floats on the way. Of each
    vector is looked at as little as will do: there are many, and most are short.
    """
    forms = set(map(_form, vectors))
    if forms == {SAME}:
        values = list(map(_told, vectors))
        kinds = set(map(type, values))
        first = values[0]
        # Half of all points say the same all the time. A zero may be -0.0, and is looked at like any other.
        if len(kinds) == 1 and (first or type(first) is not float) and values.count(first) == len(values):
            return vectors[0]
    else:
        kinds = {_KINDS.get(form, object) for form in forms - {SAME}}
        if SAME in forms:
            kinds |= {type(v[1]) for v in vectors if v[0] == SAME}
    if kinds == {int}:
        return pack_ints(pick(flat(vectors, shapes)), runs)
    if kinds == {float} and (found := _common(vectors, shapes)) is not None:
        decimals, scaled = found
        packed = pack_ints(pick(scaled), runs)
        return [SAME, packed[1] / 10**decimals] if packed[0] == SAME else [DECIMAL, decimals, packed]
    return pack(pick(list(chain.from_iterable(map(unpack, vectors, shapes)))), runs)


_KINDS: Final = {INTS: int, STEPS: int, EVEN: int, DECIMAL: float}
_form: Final = itemgetter(0)
_told: Final = itemgetter(1)


def flat(vectors: Iterable[Vector], shapes: Iterable[Runs]) -> list[int]:
    """The integers of vectors of form 0 to 3."""
    values: list[int] = []
    extend = values.extend
    for vector, runs in zip(vectors, shapes, strict=True):
        form = vector[0]
        if form == INTS:
            extend(vector[1])
        elif form == SAME:
            extend(repeat(vector[1], runs.n))
        else:
            extend(unpack_ints(vector, runs))
    return values


@lru_cache(maxsize=4096)  # the same few come again and again
def _decimal(value: float) -> tuple[int, int] | None:
    """The fewest decimals that give this float exactly and the integer with them, or None where there are too many.

    Not for -0.0, which no integer gives.
    """
    bits = array("d", (value,)).tobytes()
    for decimals in range(MAX_DECIMALS + 1):
        if scaled := scaled_by((value,), bits, 10**decimals):
            return decimals, scaled[0]
    return None


def _common(vectors: Sequence[Vector], shapes: Sequence[Runs]) -> tuple[int, list[int]] | None:
    """Floats as integers with as many decimals as the one that needs most, or None where one needs too many."""
    scaled: list[Vector] = []
    places: list[int] = []
    for vector in vectors:
        if vector[0] == DECIMAL:
            places.append(vector[1])
            scaled.append(vector[2])
            continue
        value = vector[1]
        found = _decimal(value) if value or copysign(1, value) > 0 else None
        if found is None:
            return None
        places.append(found[0])
        scaled.append([SAME, found[1]])
    most = max(places)
    if places.count(most) != len(places):
        for i, decimals in enumerate(places):
            if decimals != most:
                times = 10 ** (most - decimals)
                scaled[i] = [INTS, [v * times for v in unpack_ints(scaled[i], shapes[i])]]
    values = flat(scaled, shapes)
    return (most, values) if -EXACT < min(values) <= max(values) < EXACT else None
