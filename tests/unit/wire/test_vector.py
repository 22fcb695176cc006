from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.samples import columns_of_values, decimals, integers
from wire import vector, vector_check
from wire.errors import Malformed
from wire.rejoin import rejoin
from wire.sample import INT_MAX, INT_MIN, Value
from wire.vector import Runs, Vector, one_run

THREE = one_run(3)
TWO_AND_ONE = Runs((2, 1))

# Steps that are alike, and numbers that reach the ends: what the forms 2 and 3 are made for.
stepping = st.builds(
    lambda first, steps: [max(INT_MIN, min(INT_MAX, first + s)) for s in steps],
    integers,
    st.lists(st.sampled_from([0, 1, 2, 3, 10, 20]), min_size=1, max_size=6),
)
even = st.builds(
    lambda first, step, n: [max(INT_MIN, min(INT_MAX, first + step * i)) for i in range(n)],
    st.one_of(integers, st.sampled_from([0, 2**53 - 1, INT_MAX, INT_MIN, 2**63 - 1])),
    st.sampled_from([0, 1, -1, 5]),
    st.integers(1, 6),
)
scaled = st.builds(
    lambda ints, d: [i / 10**d for i in ints], st.one_of(stepping, even, st.just([2**53 - 1])), st.integers(0, 6)
)
one_device = st.one_of(
    columns_of_values,
    stepping,
    even,
    scaled,
    st.lists(decimals, min_size=1, max_size=6),
    st.lists(st.sampled_from([0.0, -0.0, math.nan, math.inf, 0.5, 1 / 3, 20.0]), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=1, max_size=4),
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=6),
    st.builds(
        lambda v, n: [v] * n, st.sampled_from([7, 20.5, 1 / 3, -0.0, math.nan, True, "x", None]), st.integers(1, 5)
    ),
)
many_devices = st.one_of(
    st.lists(one_device, min_size=1, max_size=5),
    # of one kind, so that they can be packed together
    st.sampled_from([stepping, even, scaled]).flatmap(lambda kind: st.lists(kind, min_size=2, max_size=6)),
    st.sampled_from([st.booleans(), st.sampled_from("abcd"), decimals, integers]).flatmap(
        lambda kind: st.lists(st.lists(kind, min_size=1, max_size=4), min_size=2, max_size=6)
    ),
)


def bits(values: Sequence[Value]) -> list[object]:
    """Values with their types, so that True, 1, 1.0 and -0.0 are told apart, and NaN equals itself."""
    return [(type(v), struct.pack("<d", v) if isinstance(v, float) else v) for v in values]


def flat(runs: Sequence[Sequence[Value]]) -> list[Value]:
    return [v for run in runs for v in run]


def runs_of(devices: Sequence[Sequence[Value]]) -> Runs:
    return Runs([len(d) for d in devices])


def shown(packed: Vector) -> object:
    """A vector as something that can be compared."""
    return repr(packed)


@given(columns_of_values)
def test_what_goes_in_comes_out_bit_for_bit(values: list[Value]) -> None:
    runs = one_run(len(values))
    packed = vector_check.check(vector.pack(values), runs)
    assert bits(vector.unpack(packed, runs)) == bits(values)


@given(many_devices)
def test_what_goes_in_comes_out_run_after_run(devices: list[list[Value]]) -> None:
    runs = runs_of(devices)
    packed = vector_check.check(vector.pack(flat(devices), runs), runs)
    assert bits(vector.unpack(packed, runs)) == bits(flat(devices))


@given(st.one_of(st.lists(integers, min_size=1, max_size=40), stepping, even))
def test_integers(values: list[int]) -> None:
    packed, runs = vector.pack_ints(values), one_run(len(values))
    if packed[0] <= vector.EVEN:  # beyond signed and unsigned at once, only form 9 can hold them
        assert list(vector.unpack_ints(vector_check.check_ints(packed, runs, INT_MIN, INT_MAX), runs)) == values
        assert vector_check.check_ints(packed, runs, min(values), max(values)) is packed
        for low, high in ((min(values) + 1, max(values)), (min(values), max(values) - 1)):
            with pytest.raises(Malformed, match="bounds"):
                vector_check.check_ints(packed, runs, low, high)


@given(st.lists(st.one_of(stepping, even), min_size=1, max_size=6))
def test_bounds_are_those_of_the_values_themselves(devices: list[list[int]]) -> None:
    values: list[Any] = flat(devices)
    runs = runs_of(devices)
    packed = vector.pack_ints(values, runs)
    if packed[0] <= vector.EVEN:
        assert vector_check.check_ints(packed, runs, min(values), max(values)) is packed
        with pytest.raises(Malformed, match="bounds"):
            vector_check.check_ints(packed, runs, min(values), max(values) - 1)


@given(many_devices)
def test_each_run_is_a_vector_of_its_own(devices: list[list[Value]]) -> None:
    runs = runs_of(devices)
    packed = vector.pack(flat(devices), runs)
    for whole in (packed, vector.ready(packed, runs)):
        assert bits(vector.unpack(whole, runs)) == bits(flat(devices))
        for i, device in enumerate(devices):
            alone = vector.run_of(whole, runs, i)
            assert bits(vector.unpack(alone, one_run(len(device)))) == bits(device)
            assert bits([vector.at(alone, k) for k in range(len(device))]) == bits(device)


@given(one_device, st.data())
def test_cutting_gives_what_lies_there(values: list[Value], data: st.DataObject) -> None:
    packed = vector.pack(values)
    start = data.draw(st.integers(0, len(values)))
    stop = data.draw(st.integers(start, len(values)))
    for whole in (packed, vector.ready(packed, one_run(len(values)))):
        part = vector.cut(whole, start, stop)
        assert bits(vector.unpack(part, one_run(stop - start))) == bits(values[start:stop])


@given(st.lists(many_devices, min_size=1, max_size=4), st.data())
def test_rejoining_gives_what_packing_the_values_gives(parts: list[list[list[Value]]], data: st.DataObject) -> None:
    values = [v for devices in parts for v in flat(devices)]
    wanted = data.draw(st.permutations(range(len(values))))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(values)), max_size=4)) | {len(values)})
    runs = Runs([b - a for a, b in zip([0, *cuts], cuts, strict=False)])

    def pick(flat: Sequence[Any]) -> Sequence[Any]:
        return itemgetter(*wanted)(flat) if len(wanted) > 1 else list(flat)

    packed = [(vector.pack(flat(devices), runs_of(devices)), runs_of(devices)) for devices in parts]
    joined = vector_check.check(rejoin([v for v, _ in packed], [r for _, r in packed], pick, runs), runs)
    assert bits(vector.unpack(joined, runs)) == bits(pick(values))


@pytest.mark.parametrize(
    "parts",
    [
        [[1, 2, 4], [7]],
        [[20.1, 20.2], [20.25]],  # one needs more decimals than the other
        [[20.0, 21.0], [20.123456, 0.5], [7.0, 7.0]],
        [[20.1, 20.2], [20.5, 20.5, 20.5]],  # what is the same every time, among decimals
        [[0.0, 0.0], [0.1, 0.2]],
        [[-0.0, -0.0], [0.1, 0.2]],
        [[math.nan], [0.1, 0.2]],
        [[math.inf, math.inf], [0.5, 1.5]],
        [[1 / 3, 1 / 3], [0.1, 0.2]],
        [[0.5, 0.5], [0.5]],
        [[2.0**52 + 1, 1.0], [0.25, 0.5]],  # together they need more than 53 bits
        [[1, 2, 3], [1.0, 2.0]],
        [[7, 7], [7.0, 7.0]],
        [[7, 7], [True, True]],
        [[True, False], [True, True]],
        [["a", "b"], ["c", "c"], ["a"]],
        [[None, None], [1, 2]],
        [[None], [None, None]],
        [[2**64 - 1, 5], [-(2**63), 3]],
        [[2**64 - 1, -1], [3, 4]],
        [[0.1, 0.2], [struct.unpack("<f", struct.pack("<f", 0.1))[0], 3.0]],
    ],
)
def test_what_was_packed_apart_is_packed_as_if_it_had_never_been(parts: list[list[Value]]) -> None:
    values, runs = flat(parts), runs_of(parts)
    packed = [(vector.pack(part), one_run(len(part))) for part in parts]
    assert shown(rejoin([v for v, _ in packed], [r for _, r in packed], list[Any], runs)) == shown(
        vector.pack(values, runs)
    )


@pytest.mark.parametrize(
    ("values", "form"),
    [
        ([7, 7, 7], vector.SAME),
        ([1, 5, 1, 2], vector.INTS),
        ([1, 5, 2], vector.STEPS),  # what repeats itself more compresses better
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
    ("devices", "packed"),
    [
        ([[10, 20, 30], [10, 20]], [3, [0, 10], 10]),
        ([[10, 20, 30], [70, 80], [5]], [3, [2, [0, 10], array("b", [60, -65])], 10]),
        (
            [[100_000, 100_001, 100_003], [900_000, 900_001]],
            [2, [3, [0, 100_000], 800_000], array("B", [1, 2, 1])],
        ),
        ([[100_000], [900_000]], [1, array("I", [100_000, 900_000])]),  # no steps at all
        ([[0.1, 0.2], [0.7, 0.8]], [4, 1, [3, [3, [0, 1], 6], 1]]),
        ([[False, True], [True]], [7, [3, [3, [0, 0], 1], 1]]),
        ([["a", "b", "c", "d"], ["d"]], [8, ["a", "b", "c", "d"], [3, [3, [0, 0], 3], 1]]),
    ],
)
def test_steps_never_cross_from_one_device_to_the_next(devices: list[list[Value]], packed: Vector) -> None:
    runs = runs_of(devices)
    assert vector.pack(flat(devices), runs) == packed
    assert vector_check.check(packed, runs) is packed


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
        [2, 1, array("b", [1, 1])],
        [2, [0, 1], array("b", [1])],
        [2, [0, 1], array("d", [1, 1])],
        [2, [0, 1], [1, 1]],
        [2, [0, True], array("b", [1, 1])],
        [2, [0, 2**64 - 1], array("b", [1, 1])],
        [2, [1, array("B", [1])], array("b", [1, 1])],  # of one run the first stands alone
        [2, [3, [0, 1], 0], array("b", [1, 1])],
        [2, [0, 1]],
        [3, 1, 0],
        [3, [0, 1], True],
        [3, [0, 2**63], 2**63],
        [3, [0, -(2**63)], -1],
        [3, [0, 2**64], 0],
        [4, 7, [0, 1]],
        [4, True, [0, 1]],
        [4, 1, [4, 1, [0, 1]]],
        [4, 1, [3, [0, 2**53 - 1], 1]],
        [4, 1, [2, [0, 2**53 - 1], array("B", [1, 1])]],
        [4, 1, [3, [0, 1 - 2**53], -1]],
        [5, array("d", [1, 2, 3])],
        [6, array("d", [1])],
        [7, [1, array("b", [0, 2, 1])]],
        [7, [3, [0, 0], 1]],
        [8, ["a"], [1, array("B", [0, 1, 0])]],
        [8, ["a", "b"], [3, [0, 0], 1]],
        [8, [], [0, 0]],
        [8, [1], [0, 0]],
        [9, [1, 2]],
        [9, [1, 2, [3]]],
    ],
)
def test_what_is_not_a_vector_is_refused(broken: object) -> None:
    with pytest.raises(Malformed):
        vector_check.check(broken, THREE)


@pytest.mark.parametrize(
    "broken",
    [
        [2, [0, 1], array("b", [1, 1])],  # a step more than there is room for
        [2, [1, array("B", [1])], array("b", [1])],  # one first for two devices
        [2, [1, array("B", [1, 2, 3])], array("b", [1])],
        [2, [1, array("d", [1, 2])], array("b", [1])],
        [2, [4, 1, [0, 1]], array("b", [1])],
        [2, [9, [1, 2]], array("b", [1])],
        [2, [2, [1, array("B", [1])], array("b", [1])], array("b", [1])],  # firsts of firsts are one value
        [2, [2, [2, [0, 1], array("b", [])], array("b", [1])], array("b", [1])],
        [2, [2, [0, 1], array("b", [1, 1])], array("b", [1])],
        [2, 5, array("b", [1])],
        [3, 5, 1],
        [3, [1, array("B", [1])], 1],
        [3, [3, [0, 2**64 - 1], 1], 0],
        [3, [1, array("Q", [2**64 - 1, 0])], 1],
        [4, 0, [3, [1, array("Q", [2**53, 0])], 1]],
        [7, [3, [1, array("B", [1, 0])], 1]],
        [8, ["a", "b"], [2, [0, 1], array("B", [1])]],
    ],
)
def test_what_is_no_vector_of_two_devices_is_refused(broken: object) -> None:
    with pytest.raises(Malformed):
        vector_check.check(broken, TWO_AND_ONE)


@pytest.mark.parametrize(
    ("packed", "values"),
    [
        ([3, [1, array("Q", [0, 2**64 - 1])], 1], [0, 1, 2**64 - 1]),  # the one at the end takes no step
        ([4, 0, [3, [1, array("Q", [0, 2**53])], 1]], [0.0, 1.0, 2.0**53]),
        ([7, [3, [1, array("B", [0, 1])], 1]], [False, True, True]),
        ([2, [2, [0, 5], array("b", [-3])], array("B", [4])], [5, 9, 2]),
        ([2, [3, [0, 5], 7], array("B", [4])], [5, 9, 12]),
        ([3, [0, 5], 0], [5, 5, 5]),
    ],
)
def test_what_is_one_is_not(packed: Vector, values: list[Value]) -> None:
    assert bits(vector.unpack(vector_check.check(packed, TWO_AND_ONE), TWO_AND_ONE)) == bits(values)


def test_integers_beyond_64_bits_are_refused() -> None:
    with pytest.raises(Malformed, match="64 bits"):
        vector.pack([2**64])
    with pytest.raises(Malformed, match="64 bits"):
        vector.pack([1, 2**70, 3])


def test_a_typed_array_must_divide() -> None:
    with pytest.raises(Malformed, match="does not divide"):
        vector_check.typed(vector.PLANES + 77, b"abc")
    with pytest.raises(Malformed, match="tag 77"):  # one item after the other: not how we write them
        vector_check.typed(77, b"ab")
    with pytest.raises(Malformed, match="tag 35"):
        vector_check.typed(35, b"ab")


def test_items_of_several_bytes_stand_in_planes() -> None:
    items = array("i", [1, -2, 0x01020304])
    tag = vector.tag(items)
    assert (tag.tag, tag.value) == (32768 + 78, bytes.fromhex("01fe04 00ff03 00ff02 00ff01"))
    assert vector_check.typed(tag.tag, tag.value) == items
    assert vector.tag(array("b", [-1])).tag == 72
