from __future__ import annotations

import math
import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.samples import columns_of_values, integers
from wire import vector
from wire.errors import Malformed
from wire.sample import Value


def bits(value: Value) -> object:
    """A value with its type, so that True, 1, 1.0 and -0.0 are told apart, and NaN equals itself."""
    return (type(value), struct.pack("<d", value) if isinstance(value, float) else value)


@given(columns_of_values)
def test_what_goes_in_comes_out_bit_for_bit(values: list[Value]) -> None:
    packed = vector.check(vector.pack(values), len(values))
    assert [bits(v) for v in vector.unpack(packed, len(values))] == [bits(v) for v in values]


@given(st.lists(integers, min_size=1, max_size=40))
def test_integers(values: list[int]) -> None:
    packed = vector.pack_ints(values)
    if packed[0] <= vector.EVEN:  # beyond signed and unsigned at once, only form 9 can hold them
        assert (
            list(vector.unpack_ints(vector.check_ints(packed, len(values), -(2**63), 2**64 - 1), len(values))) == values
        )


@pytest.mark.parametrize(
    ("values", "form"),
    [
        ([7, 7, 7], vector.SAME),
        ([1, 5, 2], vector.INTS),
        ([1_000_000, 1_000_003, 1_000_004], vector.STEPS),
        ([10, 20, 30], vector.EVEN),
        ([20.1, 20.2, 20.4], vector.DECIMAL),
        ([1 / 3, 0.25, 0.5], vector.F64),
        ([struct.unpack("<f", struct.pack("<f", v))[0] for v in (0.1, math.pi, 1e30)], vector.F32),
        ([True, False, True], vector.BOOLS),
        (["open", "closed", "open"], vector.TEXTS),
        ([1, 1.0, True], vector.ANY),
        ([0.0, -0.0], vector.F32),
    ],
)
def test_the_form_that_is_chosen(values: list[Value], form: int) -> None:
    assert vector.pack(values)[0] == form


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        [10, 1],
        [True, 1],
        [0],
        [0, object()],
        [0, 2**64],
        [1, array("b", [1, 2])],
        [1, array("d", [1, 2, 3])],
        [2, 1, array("b", [1])],
        [2, 2**64 - 1, array("b", [1, 1])],
        [3, 1, 0],
        [3, 2**63, 2**63],
        [4, 7, [0, 1]],
        [4, True, [0, 1]],
        [4, 1, [4, 1, [0, 1]]],
        [5, array("d", [1, 2, 3])],
        [6, array("d", [1])],
        [7, [1, array("b", [0, 2, 1])]],
        [8, ["a"], [1, array("B", [0, 1, 0])]],
        [8, [], [0, 0]],
        [8, [1], [0, 0]],
        [9, [1, 2]],
        [9, [1, 2, [3]]],
    ],
)
def test_what_is_not_a_vector_is_refused(broken: object) -> None:
    with pytest.raises(Malformed):
        vector.check(broken, 3)


def test_integers_beyond_64_bits_are_refused() -> None:
    with pytest.raises(Malformed, match="64 bits"):
        vector.pack([2**64])
    with pytest.raises(Malformed, match="64 bits"):
        vector.pack([1, 2**70, 3])


def test_a_typed_array_must_divide() -> None:
    with pytest.raises(Malformed, match="does not divide"):
        vector.typed(77, b"abc")
    with pytest.raises(Malformed, match="tag 35"):
        vector.typed(35, b"ab")
