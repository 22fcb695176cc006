"""Vector: the values of one point, packed into the smallest of ten forms that gives every one of them back.

The values of several devices may follow one another in one vector: its runs say how many are whose, and steps never
cross from one device to the next. A vector is a CBOR array, its form first. Reading it back yields the same types and
the same bits: True is not 1, 1 is not 1.0, -0.0 is not 0.0. How many values there are is never stored: whoever holds
the vector knows its runs.

    0 value                 the same value every time
    1 typed                 integers as they are            (typed arrays, see TYPECODES)
    2 firsts, typed         integers by their steps         (of each run the first, then the steps of all)
    3 firsts, step          integers in even steps, the same in all runs
    4 decimals, integers    floats that are integers divided by a power of ten
    5 typed                 floats that are exact in 32 bits
    6 typed                 floats
    7 integers              booleans as 0 and 1
    8 texts, integers       texts by their place in a table
    9 values                anything

where `integers` is again a vector of form 0 to 3, and `firsts` one whose single run has a value for each run.
"""

# Untyped data is taken apart here, by patterns that check it: what they bind has no type before.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate, chain, compress, islice, repeat
from operator import itemgetter, sub
from typing import Any, Final, cast

from cbor2 import CBORTag

from wire.errors import Malformed
from wire.sample import INT_MAX, INT_MIN, Value, why_unstorable

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("wire packs arrays in the machine's own order, which must be little-endian")

SAME, INTS, STEPS, EVEN, DECIMAL, F32, F64, BOOLS, TEXTS, ANY = range(10)

MAX_DECIMALS: Final = 6
EXACT: Final = 2**53  # up to here every integer is a double, so dividing it is rounded only once

# RFC 8746 §2.1: tag → array typecode, little-endian. Items of several bytes stand in byte planes, first the low bytes
# of all, which compresses better than one item after the other; their tags are those of the RFC moved up by PLANES.
PLANES: Final = 0x8000
OF_BYTES: Final = {64: "B", 72: "b"}
TYPECODES: Final = {
    **OF_BYTES,
    PLANES + 69: "H", PLANES + 70: "I", PLANES + 71: "Q", PLANES + 77: "h", PLANES + 78: "i", PLANES + 79: "q",
    PLANES + 85: "f", PLANES + 86: "d",
}  # fmt: skip
_TAGS: Final = {code: tag for tag, code in TYPECODES.items()}
# What the integers of a typecode can be, narrowest first.
RANGES: Final = {
    "B": (0, 2**8 - 1), "b": (-(2**7), 2**7 - 1), "H": (0, 2**16 - 1), "h": (-(2**15), 2**15 - 1),
    "I": (0, 2**32 - 1), "i": (-(2**31), 2**31 - 1), "q": (-(2**63), 2**63 - 1), "Q": (0, 2**64 - 1),
}  # fmt: skip
_SIZES: Final = {code: array(code).itemsize for code in RANGES}

Vector = list[Any]  # as written above; typed arrays are `array.array` in memory and CBORTag on the wire


class Runs:
    """How many values of each device follow one another: at least one device, and at least one value of each."""

    __slots__ = ("_inner", "counts", "n", "starts")

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = counts
        self.starts = list(accumulate(counts, initial=0))
        self.n = self.starts.pop()
        self._inner: bytes | None = None  # a byte for each step, 0 where it would cross from one run to the next

    def firsts(self, values: Sequence[int]) -> Sequence[int]:
        """The first value of each run."""
        return [values[0]] if len(self.starts) == 1 else itemgetter(*self.starts)(values)

    def steps(self, values: Sequence[int]) -> list[int]:
        """From each value of a run to its next."""
        steps = map(sub, islice(values, 1, None), values)
        if len(self.starts) == 1:
            return list(steps)
        if self._inner is None:
            inner = bytearray(b"\x01" * (self.n - 1))
            for start in self.starts[1:]:
                inner[start - 1] = 0
            self._inner = bytes(inner)
        return list(compress(steps, self._inner))


@lru_cache(maxsize=1024)
def one_run(n: int) -> Runs:
    """N values of one device."""
    return Runs((n,))


def tag(items: array[Any]) -> CBORTag:
    """A typed array as it goes onto the wire."""
    data, size = items.tobytes(), items.itemsize
    return CBORTag(_TAGS[items.typecode], data if size == 1 else b"".join([data[plane::size] for plane in range(size)]))


# ---- pack -------------------------------------------------------------------------------------------------------


def pack(values: Sequence[Value], runs: Runs | None = None) -> Vector:
    """Pack one or more values; without `runs` they are one run.

    Raises:
        Malformed: a value cannot be kept exactly (see `wire.sample.why_unstorable`).
    """
    types = set(map(type, values))
    if len(types) > 1:
        return _pack_any(values)
    (kind,) = types
    if kind is int:
        return pack_ints(cast("Sequence[int]", values), runs)
    if kind is float:
        return _pack_floats(cast("Sequence[float]", values), runs)
    if values.count(values[0]) == len(values):
        return [SAME, _checked(values[0])]
    if kind is bool:
        return [BOOLS, pack_ints(list(map(int, cast("Sequence[bool]", values))), runs)]
    if kind is str:
        table = list(dict.fromkeys(cast("Sequence[str]", values)))
        for text in table:
            _checked(text)
        places = {text: place for place, text in enumerate(table)}
        return [TEXTS, table, pack_ints([places[v] for v in cast("Sequence[str]", values)], runs)]
    return _pack_any(values)


def pack_ints(values: Sequence[int], runs: Runs | None = None) -> Vector:
    """Pack integers of at most 64 bits.

    Raises:
        Malformed: one has more.
    """
    n = len(values)
    low, high = min(values), max(values)
    if low == high:
        return [SAME, _checked(low)]
    if low < INT_MIN or high > INT_MAX:
        return _pack_any(values)
    plain = _narrowest(low, high)
    runs = runs or one_run(n)
    if plain is None:
        return _pack_any(values)
    if len(runs.counts) == n:  # one value a run: there are no steps
        return [INTS, array(plain, values)]
    steps = runs.steps(values)
    least, most = min(steps), max(steps)
    if least == most and abs(least) < 2**63:
        return [EVEN, pack_ints(runs.firsts(values)), least]
    stepped = _narrowest(least, most)
    if stepped is None or _SIZES[stepped] > _SIZES[plain]:
        return [INTS, array(plain, values)]
    # What repeats itself more compresses better.
    if _SIZES[stepped] == _SIZES[plain] and len(set(steps)) >= len(set(values)):
        return [INTS, array(plain, values)]
    return [STEPS, pack_ints(runs.firsts(values)), array(stepped, steps)]


def _narrowest(low: int, high: int) -> str | None:
    """The first typecode that takes integers from `low` to `high`."""
    for code, (least, most) in RANGES.items():
        if least <= low and high <= most:
            return code
    return None


def _pack_floats(values: Sequence[float], runs: Runs | None) -> Vector:
    exact = array("d", values)
    bits = exact.tobytes()
    if bits == bits[:8] * len(values):
        return [SAME, values[0]]
    few = values[:4]  # mostly enough to know that it takes more decimals
    for decimals in range(MAX_DECIMALS + 1):
        scale = 10**decimals
        if scaled_by(few, bits[:32], scale) is not None and (scaled := scaled_by(values, bits, scale)) is not None:
            return [DECIMAL, decimals, pack_ints(scaled, runs)]
    single = array("f", values)  # too large becomes inf, and then differs below
    return [F32, single] if array("d", single).tobytes() == bits else [F64, exact]


def scaled_by(values: Sequence[float], bits: bytes, scale: int) -> list[int] | None:
    """The integers that give these floats, bit for bit, when they are divided by `scale`; or None."""
    try:
        scaled = [round(v * scale) for v in values]
    except (OverflowError, ValueError):  # infinite, or no number
        return None
    if not -EXACT < min(scaled) <= max(scaled) < EXACT:
        return None
    # Not by ==, which would take -0.0 for 0.0.
    return scaled if array("d", [s / scale for s in scaled]).tobytes() == bits else None


def _checked(value: Any) -> Any:
    if (why := why_unstorable(value)) is not None:
        raise Malformed(why)
    return value


def _pack_any(values: Sequence[Value]) -> Vector:
    return [ANY, [_checked(v) for v in values]]


# ---- unpack -----------------------------------------------------------------------------------------------------


def unpack(vector: Vector, runs: Runs) -> list[Value]:
    """The values of a vector that `vector_check.check` has passed, run after run."""
    match vector[0]:
        case 0:
            return [vector[1]] * runs.n
        case int(form) if form <= EVEN:
            return list(unpack_ints(vector, runs))
        case 4:
            scale = 10 ** vector[1]
            return [v / scale for v in unpack_ints(vector[2], runs)]
        case 7:
            return list(map(bool, unpack_ints(vector[1], runs)))
        case 8:
            return list(map(vector[1].__getitem__, unpack_ints(vector[2], runs)))
        case _:
            return list(vector[1])


def unpack_ints(vector: Vector, runs: Runs) -> Sequence[int]:
    """The integers of a vector of form 0 to 3 that `vector_check.check_ints` has passed."""
    match vector[0]:
        case 0:
            return [vector[1]] * runs.n
        case 1:
            return vector[1]
        case 2:
            firsts, steps, counts = _firsts(vector[1], len(runs.counts)), vector[2], runs.counts
            if len(counts) == 1:
                return list(accumulate(steps, initial=next(iter(firsts))))
            values: list[int] = []
            at = 0
            for first, count in zip(firsts, counts, strict=True):
                if count == 2:  # as most are in a row: every other second a sample, every five seconds a commit
                    values += (first, first + steps[at])
                elif count == 1:
                    values.append(first)
                else:
                    values.extend(accumulate(steps[at : at + count - 1], initial=first))
                at += count - 1
            return values
        case _:
            firsts, step, counts = _firsts(vector[1], len(runs.counts)), vector[2], runs.counts
            if not step:
                return list(chain.from_iterable(map(repeat, firsts, counts)))
            if len(counts) == 1:
                first = next(iter(firsts))
                return range(first, first + step * runs.n, step)
            return [v for first, n in zip(firsts, counts, strict=True) for v in range(first, first + step * n, step)]


def _firsts(vector: Vector, n: int) -> Iterable[int]:
    """The first integer of each of n runs."""
    match vector[0]:
        case 0:
            return repeat(vector[1], n)
        case 1:
            return vector[1]
        case 2:  # of one run, whose own first is of form 0
            return accumulate(vector[2], initial=vector[1][1])
        case _:
            return unpack_ints(vector, one_run(n))


def spans(vector: Vector, runs: Runs) -> list[tuple[int, int]]:
    """Of each run the least and the greatest integer, where the form shows them without looking at each."""
    match vector[0]:
        case 0:
            return [(vector[1], vector[1])] * len(runs.counts)
        case 2 if vector[2].typecode in "BHIQ":  # they only rise
            steps, found, at_ = vector[2], list[tuple[int, int]](), 0
            for first, count in zip(unpack_ints(vector[1], one_run(len(runs.counts))), runs.counts, strict=True):
                found.append((first, first + sum(steps[at_ : at_ + count - 1])))
                at_ += count - 1
            return found
        case 3 if vector[2] >= 0:
            firsts = unpack_ints(vector[1], one_run(len(runs.counts)))
            return [(f, f + vector[2] * (n - 1)) for f, n in zip(firsts, runs.counts, strict=True)]
        case _:
            values = unpack_ints(vector, runs)
            parts = [values[start : start + n] for start, n in zip(runs.starts, runs.counts, strict=True)]
            return [(min(part), max(part)) for part in parts]


def cut(vector: Vector, start: int, stop: int) -> Vector:
    """The values from `start` to before `stop` of a vector of one run, without expanding what lies around them."""
    if start == stop:
        return [SAME, None]
    match vector[0]:
        case 0:
            return vector
        case 2:
            steps = vector[2]
            first = vector[1][1] + sum(steps[:start])
            return [STEPS, [SAME, first], steps[start : stop - 1]] if stop - start > 1 else [SAME, first]
        case 3:
            first = vector[1][1] + vector[2] * start
            return [EVEN, [SAME, first], vector[2]] if stop - start > 1 else [SAME, first]
        case 4 | 8:
            return [*vector[:2], cut(vector[2], start, stop)]
        case 7:
            return [BOOLS, cut(vector[1], start, stop)]
        case _:
            return [vector[0], vector[1][start:stop]]


def run_of(vector: Vector, runs: Runs, i: int) -> Vector:
    """The i-th run as a vector of one run, without expanding the others."""
    count = runs.counts[i]
    match vector[0]:
        case 0:
            return vector
        case 2:
            first, start = at(vector[1], i), runs.starts[i] - i
            return [STEPS, [SAME, first], vector[2][start : start + count - 1]] if count > 1 else [SAME, first]
        case 3:
            first, step = at(vector[1], i), vector[2]
            return [EVEN, [SAME, first], step] if step and count > 1 else [SAME, first]
        case 4 | 8:
            return [*vector[:2], run_of(vector[2], runs, i)]
        case 7:
            return [BOOLS, run_of(vector[1], runs, i)]
        case _:
            start = runs.starts[i]
            return [vector[0], vector[1][start : start + count]]


def ready(vector: Vector, runs: Runs) -> Vector:
    """The same values, such that each `run_of`, or of one run each `cut`, costs no more than what it gives."""
    match vector[0]:
        case 2 | 3 if len(runs.counts) > 1:
            return [vector[0], [INTS, unpack_ints(vector[1], one_run(len(runs.counts)))], vector[2]]
        case 2:
            return [INTS, unpack_ints(vector, runs)]
        case 4 | 8:
            return [*vector[:2], ready(vector[2], runs)]
        case 7:
            return [BOOLS, ready(vector[1], runs)]
        case _:
            return vector


def at(vector: Vector, i: int) -> Any:
    """The i-th value of a vector of one run."""
    match vector[0]:
        case 0:
            return vector[1]
        case 2:
            return vector[1][1] + sum(vector[2][:i])
        case 3:
            return vector[1][1] + vector[2] * i
        case 4:
            return at(vector[2], i) / 10 ** vector[1]
        case 7:
            return bool(at(vector[1], i))
        case 8:
            return vector[1][at(vector[2], i)]
        case _:
            return vector[1][i]


def spread(values: Sequence[Value], at_: Sequence[int], n: int, missing: object) -> list[Any]:
    """A list of n places with `values` at the places `at_` and `missing` elsewhere."""
    row = list(repeat(missing, n))
    for place, value in zip(at_, values, strict=True):
        row[place] = value
    return row
