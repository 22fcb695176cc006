"""Grouping and decoding of registers."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.driver_rigs import profile_of
from drivers.errors import Refused
from drivers.modbus.registers import Decoder, encode, plan

ORDERS = {"ABCD": "01020304", "CDAB": "03040102", "BADC": "02010403", "DCBA": "04030201"}


def one(type_: str, **at: Any) -> Any:
    return profile_of("p", {"driver": "modbus", "point": {"x": {"type": type_, "writable": True, "at": at}}})


@pytest.mark.parametrize("order", ORDERS)
def test_orders(order: str) -> None:
    profile = one("int", holding=0, **{"as": "u32"}, order=order)
    values: dict[str, Any] = {}
    Decoder(profile).read(plan(profile, ["x"])[0], bytes.fromhex(ORDERS[order]), values, {})
    assert values == {"x": 0x01020304}


FORMATS = {
    "u16": st.integers(0, 2**16 - 1), "i16": st.integers(-(2**15), 2**15 - 1), "u32": st.integers(0, 2**32 - 1),
    "i32": st.integers(-(2**31), 2**31 - 1), "u64": st.integers(0, 2**64 - 1), "i64": st.integers(-(2**63), 2**63 - 1),
    "f32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "f64": st.floats(allow_nan=False, allow_infinity=False),
}  # fmt: skip


@settings(deadline=None)
@given(st.data(), st.sampled_from(list(FORMATS)), st.sampled_from(list(ORDERS)))
def test_what_is_written_is_read_back(data: Any, code: str, order: str) -> None:
    value = data.draw(FORMATS[code])
    profile = one("float" if code[0] == "f" else "int", holding=7, **{"as": code}, order=order)
    registers = encode(profile.access["x"], profile.points["x"], value)
    values: dict[str, Any] = {}
    (block,) = plan(profile, ["x"])
    Decoder(profile).read(block, struct.pack(f">{len(registers)}H", *registers), values, {})
    assert values["x"] == value
    assert block.count == len(registers)


def test_not_a_number_is_bad() -> None:
    profile = one("float", holding=0, **{"as": "f32"})
    for data in ("7FC00000", "7F800000"):
        values: dict[str, Any] = {}
        quality: dict[str, str] = {}
        Decoder(profile).read(plan(profile, ["x"])[0], bytes.fromhex(data), values, quality)
        assert (values, quality) == ({"x": None}, {"x": "bad:not a finite number"})
    with pytest.raises(Refused):
        encode(profile.access["x"], profile.points["x"], 1e300)


spots = st.dictionaries(st.integers(0, 600), st.sampled_from(["u16", "u32", "f64"]), min_size=1, max_size=40)


@given(spots, st.integers(4, 125), st.integers(0, 40))
def test_a_plan_fetches_everything_within_its_bounds(where: dict[int, str], most: int, gap: int) -> None:
    table = {
        "driver": "modbus",
        "modbus": {"max_registers": most, "max_gap": gap},
        "point": {f"p{a}": {"type": "float", "at": {"holding": a, "as": f}} for a, f in where.items()},
    }
    profile = profile_of("p", table)
    blocks = plan(profile, list(profile.points))
    fetched = sorted(p.point for b in blocks for p in b.pieces)
    assert fetched == sorted(profile.points)
    for block in blocks:
        assert 1 <= block.count <= most
        wanted = {a for p in block.pieces for a in range(p.start, p.start + p.width)}
        assert wanted <= set(range(block.start, block.start + block.count))
        run = 0
        for address in range(block.start, block.start + block.count):
            run = 0 if address in wanted else run + 1
            assert run <= gap
        assert all(len(b.pieces) and b.count <= most for b in block.without_gaps())
