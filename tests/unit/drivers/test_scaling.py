"""Scaling: the double nearest to the decimal that a data sheet promises."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.readings import meaning
from drivers.scaling import IDENTITY, LEAST, MOST, Scaling
from wire.device import Point, PointType
from wire.sample import Value, why_unstorable

scales = st.sampled_from([1, 0.1, 0.01, 0.001, 0.0001, 0.005, 0.0025, 0.35, 10, 2, 0.5, 0.0625, -0.1])
offsets = st.sampled_from([0, 1.6, -40, 50_000, 0.05])


@given(st.integers(-(2**63), 2**64 - 1), scales, offsets)
def test_the_nearest_double(raw: int, scale: float, offset: float) -> None:
    exact = raw * Fraction(str(scale)) + Fraction(str(offset))
    assert float(Scaling.of(scale, offset).value(raw)) == float(exact)


@given(st.integers(-(2**31), 2**32), scales, offsets)
def test_there_and_back(raw: int, scale: float, offset: float) -> None:
    scaling = Scaling.of(scale, offset)
    assert round(scaling.raw(scaling.value(raw))) == raw
    compiled = scaling.compiled()
    assert (raw if compiled is None else compiled(raw)) == scaling.value(raw)


def test_not_the_product() -> None:
    assert Scaling.of(0.1).value(3) == 0.3
    assert 3 * 0.1 != 0.3
    assert Scaling.of(1) == IDENTITY
    assert Scaling.of(10).whole
    for wrong in (0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="scale"):
            Scaling.of(wrong)


in_bounds = st.floats(LEAST, MOST) | st.floats(-MOST, -LEAST)
raws = st.integers(-(2**63), 2**64 - 1) | st.floats()


@given(raws, in_bounds, in_bounds | st.just(0.0))
def test_whatever_a_profile_may_say_no_raw_number_raises(raw: Value, scale: float, offset: float) -> None:
    kinds: tuple[PointType, ...] = ("float", "int")
    for kind in kinds:
        value, reason = meaning(Point(name="a", type=kind), scaling=Scaling.of(scale, offset))(raw)
        assert why_unstorable(value) is None
        assert (value is None) == (reason is not None)


@pytest.mark.parametrize(
    ("scale", "offset", "name"),
    [(1e300, 0.5, "scale"), (1e-300, 0, "scale"), (-1e31, 0, "scale"), (0.1, 1e300, "offset"), (1, 1e-31, "offset")],
)
def test_what_may_give_no_finite_number_is_refused(scale: float, offset: float, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is .*; write one of a size between 1e-30 and 1e\+30"):
        Scaling.of(scale, offset)
