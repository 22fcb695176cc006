"""Vectors from outside: each is looked at before anybody unpacks it.

What passes here has as many values as its runs say, and each of them lies where it may.
"""

# Untyped data is taken apart here, by patterns that check it: what they bind has no type before.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, Final, cast

from wire.errors import Malformed
from wire.sample import INT_MAX, INT_MIN, why_unstorable
from wire.vector import (
    ANY,
    EVEN,
    EXACT,
    INTS,
    MAX_DECIMALS,
    RANGES,
    SAME,
    STEPS,
    TEXTS,
    TYPECODES,
    Runs,
    Vector,
    one_run,
    unpack_ints,
)  # fmt: skip


def typed(tag: int, payload: bytes) -> array[Any]:
    """A typed array off the wire.

    Raises:
        Malformed: the tag is none of ours, or the bytes do not divide into items.
    """
    code = TYPECODES.get(tag)
    if code is None:
        raise Malformed(f"CBOR tag {tag} is not accepted; typed arrays use {sorted(TYPECODES)}")
    items = array(code)
    size = items.itemsize
    if len(payload) % size:
        raise Malformed(f"a typed array of {len(payload)} bytes does not divide by {size}")
    if size == 1:
        items.frombytes(payload)
        return items
    n, data = len(payload) // size, bytearray(len(payload))
    for plane in range(size):
        data[plane::size] = payload[plane * n : (plane + 1) * n]
    items.frombytes(data)
    return items


def check(vector: object, runs: Runs) -> Vector:
    """Pass a vector of these runs that came from outside, or say what is wrong with it.

    Raises:
        Malformed: always with the reason.
    """
    form = _form(vector)
    found = cast("Vector", vector)
    if not _CHECKS[form](found, runs):
        raise Malformed(f"a vector of form {form} for {runs.n} values is not put together like one")
    return found


def check_ints(vector: object, runs: Runs, low: int = INT_MIN, high: int = INT_MAX) -> Vector:
    """The same for integers, each from `low` to `high`.

    Raises:
        Malformed: always with the reason.
    """
    form = _form(vector)
    found = cast("Vector", vector)
    # What the typecodes allow is mostly enough to know; only else each value is looked at.
    for exact in (False, True):
        ends = _ends(found, form, runs, exact=exact)
        if ends is None:
            raise Malformed(f"integers of form {form} for {runs.n} values are not put together like that")
        if low <= ends[0] <= ends[1] <= high:
            return found
    raise Malformed(f"integers of form {form} are out of bounds: {low} … {high}")


def _form(vector: object) -> int:
    if type(vector) is not list or not vector:
        raise Malformed("a vector is an array that begins with its form")
    form = vector[0]
    if type(form) is not int or not SAME <= form <= ANY:
        raise Malformed(f"no vector has the form {form!r}")
    return form


def _ends(vector: Vector, form: int, runs: Runs, *, exact: bool) -> tuple[int, int] | None:
    """Bounds of the integers, `exact` or from the typecode; None when they are not put together like integers."""
    if form == SAME:
        if len(vector) == 2 and type(vector[1]) is int:
            return vector[1], vector[1]
    elif form == INTS:
        if len(vector) == 2 and type(vector[1]) is array and len(vector[1]) == runs.n and vector[1].typecode in RANGES:
            return (min(vector[1]), max(vector[1])) if exact else RANGES[vector[1].typecode]
    elif form in (STEPS, EVEN) and len(vector) == 3 and (firsts := _firsts(vector[1], runs)) is not None:
        steps, longest = vector[2], max(runs.counts) - 1
        if form == EVEN and type(steps) is int:
            least = most = steps
        elif form == STEPS and type(steps) is array and len(steps) == runs.n - len(runs.counts):
            if steps.typecode not in RANGES:
                return None
            least, most = RANGES[steps.typecode]
        else:
            return None
        if exact:
            values = unpack_ints(vector, runs)
            return min(values), max(values)
        return firsts[0] + min(0, least * longest), firsts[1] + max(0, most * longest)
    return None


def _firsts(vector: object, runs: Runs) -> tuple[int, int] | None:
    """The bounds of the firsts, one for each run. Of a single run it is the value itself, in form 0."""
    form = _form(vector)
    count = len(runs.counts)
    if form > EVEN or (count == 1 and form != SAME):
        return None
    return _ends(cast("Vector", vector), form, one_run(count), exact=True)


def _integers(vector: Vector, runs: Runs) -> bool:
    return check_ints(vector, runs) is vector


def _is_any(value: object) -> bool:
    return why_unstorable(value) is None


# What each form must be, by its number.
_CHECKS: Final[tuple[Callable[[Vector, Runs], bool], ...]] = (
    lambda v, _r: len(v) == 2 and _is_any(v[1]),
    _integers,
    _integers,
    _integers,
    lambda v, r: (
        len(v) == 3 and type(v[1]) is int and 0 <= v[1] <= MAX_DECIMALS and check_ints(v[2], r, -EXACT, EXACT) is v[2]
    ),
    lambda v, r: len(v) == 2 and type(v[1]) is array and v[1].typecode == "f" and len(v[1]) == r.n,
    lambda v, r: len(v) == 2 and type(v[1]) is array and v[1].typecode == "d" and len(v[1]) == r.n,
    lambda v, r: len(v) == 2 and check_ints(v[1], r, 0, 1) is v[1],
    lambda v, r: (
        len(v) == 3
        and type(v[1]) is list
        and len(v[1]) > 0
        and all(type(t) is str and _is_any(t) for t in v[1])
        and check_ints(v[2], r, 0, len(v[1]) - 1) is v[2]
    ),
    lambda v, r: len(v) == 2 and type(v[1]) is list and len(v[1]) == r.n and all(map(_is_any, v[1])),
)


def longest_text(vector: Vector) -> int:
    """How many characters the longest text has that comes back more often than it is written; 0 where none does."""
    if vector[0] == SAME:
        return len(vector[1]) if type(vector[1]) is str else 0
    return max(map(len, vector[1])) if vector[0] == TEXTS else 0
