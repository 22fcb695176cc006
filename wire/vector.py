"""Vector: the values of one point, packed into the smallest of ten forms that gives every one of them back.

A vector is a CBOR array, its form first. Reading it back yields the same types and the same bits: True is not 1,
1 is not 1.0, -0.0 is not 0.0. `n` is never stored: whoever holds the vector knows how many values there are.

    0 value                 the same value n times
    1 typed                 integers as they are            (typed arrays: RFC 8746, little-endian)
    2 first, typed          integers by their steps
    3 first, step           integers in even steps
    4 decimals, integers    floats that are integers divided by a power of ten
    5 typed                 floats that are exact in 32 bits
    6 typed                 floats
    7 integers              booleans as 0 and 1
    8 texts, integers       texts by their place in a table
    9 values                anything

where `integers` is again a vector of form 0 to 3.
"""

# Untyped data is taken apart here, by patterns that check it: what they bind has no type before.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate, chain, repeat
from operator import sub
from typing import Any, Final, cast

from cbor2 import CBORTag

from wire.errors import Malformed
from wire.sample import INT_MAX, INT_MIN, Value, why_unstorable

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("wire packs arrays in the machine's own order, which must be little-endian")

SAME, INTS, STEPS, EVEN, DECIMAL, F32, F64, BOOLS, TEXTS, ANY = range(10)

MAX_DECIMALS: Final = 6
_INTEGERS: Final = frozenset("BbHhIiqQ")
_EXACT: Final = 2**53  # up to here every integer is a double, so dividing it is rounded only once

# RFC 8746 §2.1: tag → array typecode. Only little-endian forms, so that reading is one copy.
TYPECODES: Final = {64: "B", 69: "H", 70: "I", 71: "Q", 72: "b", 77: "h", 78: "i", 79: "q", 85: "f", 86: "d"}
_TAGS: Final = {code: tag for tag, code in TYPECODES.items()}
_WIDTHS: Final = (("B", 0, 2**8), ("b", -(2**7), 2**7), ("H", 0, 2**16), ("h", -(2**15), 2**15),
                  ("I", 0, 2**32), ("i", -(2**31), 2**31), ("q", -(2**63), 2**63), ("Q", 0, 2**64))  # fmt: skip

Vector = list[Any]  # as written above; typed arrays are `array.array` in memory and CBORTag on the wire


def typed(tag: int, payload: bytes) -> array[Any]:
    """A typed array off the wire.

    Raises:
        Malformed: the tag is none of ours, or the bytes do not divide into items.
    """
    code = TYPECODES.get(tag)
    if code is None:
        raise Malformed(f"CBOR tag {tag} is not accepted; typed arrays use {sorted(TYPECODES)} (RFC 8746)")
    items = array(code)
    if len(payload) % items.itemsize:
        raise Malformed(f"a typed array of {len(payload)} bytes does not divide by {items.itemsize}")
    items.frombytes(payload)
    return items


def tag(items: array[Any]) -> CBORTag:
    """A typed array as it goes onto the wire."""
    return CBORTag(_TAGS[items.typecode], items.tobytes())


def pack(values: Sequence[Value]) -> Vector:
    """Pack one or more values.

    Raises:
        Malformed: a value cannot be kept exactly (see `wire.sample.why_unstorable`).
    """
    types = set(map(type, values))
    if len(types) > 1:
        return _pack_any(values)
    (kind,) = types
    if kind is int:
        return pack_ints(cast("Sequence[int]", values))
    if kind is float:
        return _pack_floats(cast("Sequence[float]", values))
    if values.count(values[0]) == len(values):
        return [SAME, _checked(values[0])]
    if kind is bool:
        return [BOOLS, pack_ints([int(v) for v in cast("Sequence[bool]", values)])]
    if kind is str:
        for text in values:
            _checked(text)
        table = list(dict.fromkeys(cast("Sequence[str]", values)))
        places = {text: place for place, text in enumerate(table)}
        return [TEXTS, table, pack_ints([places[v] for v in cast("Sequence[str]", values)])]
    return _pack_any(values)


def pack_ints(values: Sequence[int]) -> Vector:
    """Pack integers of at most 64 bits."""
    if len(values) == 1:
        return [SAME, _checked(values[0])]
    steps = list(map(sub, values[1:], values))
    if abs(steps[0]) < 2**63 and steps.count(steps[0]) == len(steps):
        _checked(values[0])
        _checked(values[-1])
        return [SAME, values[0]] if not steps[0] else [EVEN, values[0], steps[0]]
    plain, stepped = _narrowest(values), _narrowest(steps)
    if plain is None:
        return _pack_any(values)
    if stepped is not None and stepped.itemsize < plain.itemsize:
        return [STEPS, values[0], stepped]
    return [INTS, plain]


def unpack(vector: Vector, n: int) -> list[Value]:
    """The n values of a vector that `check` has passed."""
    match vector[0]:
        case int(form) if form <= EVEN:
            return list(unpack_ints(vector, n)) if form else [vector[1]] * n
        case 4:
            scale = 10 ** vector[1]
            return [v / scale for v in unpack_ints(vector[2], n)]
        case 7:
            return [bool(v) for v in unpack_ints(vector[1], n)]
        case 8:
            table = vector[1]
            return [table[v] for v in unpack_ints(vector[2], n)]
        case _:
            return list(vector[1])


def unpack_ints(vector: Vector, n: int) -> Sequence[int]:
    """The n integers of a vector of form 0 to 3 that `check_ints` has passed."""
    match vector[0]:
        case 0:
            return [vector[1]] * n
        case 1:
            return vector[1]
        case 2:
            return list(accumulate(vector[2], initial=vector[1]))
        case _:
            first, step = vector[1], vector[2]
            return range(first, first + step * n, step)


def check(vector: object, n: int) -> Vector:
    """Pass a vector of n values that came from outside, or say what is wrong with it.

    Raises:
        Malformed: always with the reason.
    """
    form = _form(vector)
    found = cast("Vector", vector)
    if not _CHECKS[form](found, n):
        raise Malformed(f"a vector of form {form} for {n} values is not put together like one")
    return found


def check_ints(vector: object, n: int, low: int = INT_MIN, high: int = INT_MAX) -> Vector:
    """The same for integers, each from `low` to `high`.

    Raises:
        Malformed: always with the reason.
    """
    form = _form(vector)
    found = cast("Vector", vector)
    ends = _ends(found, form, n)
    if ends is None:
        raise Malformed(f"integers of form {form} for {n} values are not put together like that")
    if not low <= ends[0] <= ends[1] <= high:
        raise Malformed(f"integers from {ends[0]} to {ends[1]} are out of bounds")
    return found


def _form(vector: object) -> int:
    if type(vector) is not list or not vector:
        raise Malformed("a vector is an array that begins with its form")
    form = vector[0]
    if type(form) is not int or not SAME <= form <= ANY:
        raise Malformed(f"no vector has the form {form!r}")
    return form


def _ends(vector: Vector, form: int, n: int) -> tuple[int, int] | None:
    """The least and the greatest of n integers, or None when they are not put together like n integers."""
    if form == SAME:
        if len(vector) == 2 and type(vector[1]) is int:
            return vector[1], vector[1]
    elif form == INTS:
        if len(vector) == 2 and type(vector[1]) is array and len(vector[1]) == n and vector[1].typecode in _INTEGERS:
            return min(vector[1]), max(vector[1])
    elif form == STEPS:
        if len(vector) == 3 and type(vector[1]) is int and type(vector[2]) is array and len(vector[2]) == n - 1:
            first, steps = vector[1], vector[2]
            if steps.typecode in _INTEGERS and INT_MIN <= first <= INT_MAX:
                run = list(accumulate(steps, initial=first))
                return min(run), max(run)
    elif form == EVEN and len(vector) == 3 and type(vector[1]) is int and type(vector[2]) is int and vector[2]:
        last = vector[1] + vector[2] * (n - 1)
        return min(vector[1], last), max(vector[1], last)
    return None


def _integers(vector: Vector, n: int) -> bool:
    ends = _ends(vector, vector[0], n)
    return ends is not None and ends[0] >= INT_MIN and ends[1] <= INT_MAX


def _is_any(value: object) -> bool:
    return why_unstorable(value) is None


# What each form must be, by its number.
_CHECKS: Final[tuple[Callable[[Vector, int], bool], ...]] = (
    lambda v, _n: len(v) == 2 and _is_any(v[1]),
    _integers,
    _integers,
    _integers,
    lambda v, n: (
        len(v) == 3 and type(v[1]) is int and 0 <= v[1] <= MAX_DECIMALS and check_ints(v[2], n, -_EXACT, _EXACT) is v[2]
    ),
    lambda v, n: len(v) == 2 and type(v[1]) is array and v[1].typecode == "f" and len(v[1]) == n,
    lambda v, n: len(v) == 2 and type(v[1]) is array and v[1].typecode == "d" and len(v[1]) == n,
    lambda v, n: len(v) == 2 and check_ints(v[1], n, 0, 1) is v[1],
    lambda v, n: (
        len(v) == 3
        and type(v[1]) is list
        and len(v[1]) > 0
        and all(type(t) is str and _is_any(t) for t in v[1])
        and check_ints(v[2], n, 0, len(v[1]) - 1) is v[2]
    ),
    lambda v, n: len(v) == 2 and type(v[1]) is list and len(v[1]) == n and all(map(_is_any, v[1])),
)


def _checked(value: Any) -> Any:
    if (why := why_unstorable(value)) is not None:
        raise Malformed(why)
    return value


def _pack_any(values: Sequence[Value]) -> Vector:
    return [ANY, [_checked(v) for v in values]]


def _narrowest(values: Sequence[int]) -> array[Any] | None:
    low, high = min(values), max(values)
    for code, least, beyond in _WIDTHS:
        if least <= low and high < beyond:
            return array(code, values)
    return None


def _pack_floats(values: Sequence[float]) -> Vector:
    exact = array("d", values)
    bits = exact.tobytes()
    if bits == bits[:8] * len(values):
        return [SAME, values[0]]
    for decimals in range(MAX_DECIMALS + 1):
        scaled = _scaled(values, 10**decimals)
        # Bit for bit: == would take -0.0 for 0.0.
        if scaled is not None and array("d", [s / 10**decimals for s in scaled]).tobytes() == bits:
            return [DECIMAL, decimals, pack_ints(scaled)]
    single = array("f", values)  # too large becomes inf, and then differs below
    return [F32, single] if array("d", single).tobytes() == bits else [F64, exact]


def _scaled(values: Sequence[float], scale: int) -> list[int] | None:
    scaled: list[int] = []
    for value in values:
        product = value * scale
        if not -_EXACT < product < _EXACT:  # also false for NaN
            return None
        whole = round(product)
        if whole / scale != value:
            return None
        scaled.append(whole)
    return scaled


def concat(vectors: Sequence[tuple[Vector, int]]) -> Vector:
    """One vector with the values of all, in order; each comes with how many it holds."""
    return pack(list(chain.from_iterable(unpack(v, n) for v, n in vectors)))


def longest_text(vector: Vector) -> int:
    """How many characters the longest text has that comes back more often than it is written; 0 where none does."""
    if vector[0] == SAME:
        return len(vector[1]) if type(vector[1]) is str else 0
    return max(map(len, vector[1])) if vector[0] == TEXTS else 0


def spread(values: Sequence[Value], at: Sequence[int], n: int, missing: object) -> list[Any]:
    """A list of n places with `values` at the places `at` and `missing` elsewhere."""
    row = list(repeat(missing, n))
    for place, value in zip(at, values, strict=True):
        row[place] = value
    return row
