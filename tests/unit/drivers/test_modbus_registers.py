"""Grouping and decoding of registers."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.driver_rigs import profile_of
from drivers.errors import Refused
from drivers.modbus.registers import _LIMITS, Block, Decoder, encode, plan
from drivers.modbus.settings import Access
from drivers.profile import Profile
from drivers.readings import meaning
from support.examples import many

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


# ---- A block decoded at once gives what its points give one by one


def plainly(block: Block, profile: Profile, answer: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Point by point, in the plainest way."""
    values: dict[str, Any] = {}
    quality: dict[str, str] = {}
    for piece in block.pieces:
        access: Access = profile.access[piece.point]
        at = piece.start - block.start
        if access.is_bit:
            raw = answer[at]
        else:
            pairs = [answer[i : i + 2] for i in range(2 * at, 2 * (at + piece.width), 2)]
            if access.order in ("CDAB", "DCBA"):
                pairs.reverse()
            if access.order in ("BADC", "DCBA"):
                pairs = [p[::-1] for p in pairs]
            data = b"".join(pairs)
            if access.as_ == "text":
                if set(data) == {0xFF}:
                    values[piece.point], quality[piece.point] = None, "bad:the device says that it has no value"
                    continue
                try:
                    raw = data.split(b"\0")[0].rstrip(b"\xff").decode().strip()
                except UnicodeDecodeError as error:
                    why = f"bad:byte {error.start} is no text in utf-8; encoding names another"
                    values[piece.point], quality[piece.point] = None, why
                    continue
            elif access.as_[0] == "f":
                (raw,) = struct.unpack(">f" if access.as_ == "f32" else ">d", data)
            else:
                raw = int.from_bytes(data, "big", signed=access.as_[0] == "i")
        meant = meaning(
            profile.points[piece.point],
            field=access.field,
            invalid=access.invalid,
            choices=access.choices,
            scaling=access.scaling,
        )
        values[piece.point], reason = meant(raw)
        if reason is not None:
            quality[piece.point] = reason
    return values, quality


scales = st.sampled_from([1, 1, 0.1, 0.1, 0.01, -0.5, 3, 10, 1e-5, 1.7, 1e15, 1e30])
offsets = st.sampled_from([0, 0, 0, -40, 7, 0.5, -1e18])
codes = st.lists(st.sampled_from([0, 1, 7, 32767, -32768, 65535, 2**32 - 1, -(2**63), 2**64 - 1]), max_size=2)
orders = st.sampled_from(["ABCD", "ABCD", *ORDERS])


@st.composite
def points(draw: Any) -> dict[str, Any]:
    """A point of any kind that a profile may have."""
    where = draw(st.integers(0, 24))
    space = draw(st.sampled_from(["holding"] * 6 + ["coil"]))
    type_ = draw(st.sampled_from(["float", "float", "int", "bool", "text"]))
    at: dict[str, Any] = {space: where}
    missing = draw(codes) if draw(st.booleans()) else []
    if space == "coil":
        at["invalid"] = [m for m in missing if m in (0, 1)]
        return {"type": "int" if type_ == "int" else "bool", "at": at}
    at["order"] = draw(orders)
    if type_ == "text":
        if draw(st.booleans()):
            at["choices"] = {"0": "off", "1": "on", "65535": "lost"}
        else:
            at |= {"as": "text", "length": draw(st.integers(1, 4))}
    elif type_ == "bool":
        if draw(st.booleans()):
            at["bit"] = draw(st.integers(0, 15))
    else:
        at["as"] = draw(st.sampled_from([f for f in FORMATS if type_ == "float" or f[0] != "f"]))
        if at["as"][0] == "u" and draw(st.booleans()):
            at["bits"] = sorted(draw(st.tuples(st.integers(0, 15), st.integers(0, 15))))
        if type_ == "float":
            at |= {"scale": draw(scales), "offset": draw(offsets)}
        else:
            at |= {
                "scale": draw(st.sampled_from([1, -1, 10, 10**16])),
                "offset": draw(st.sampled_from([0, 5, -(10**3)])),
            }
    low, high = _LIMITS.get(at.get("as", "u16"), (-(2**63), 2**64))
    at["invalid"] = [m for m in missing if low <= m <= high] if at.get("as") != "text" else []
    return {"type": type_, "at": at}


odd = ["0000", "0001", "FFFF", "8000", "7FFF", "7FC00000", "7F800000", "FF800000", "80000000", "7FEFFFFFFFFFFFFF"]
contents = st.lists(st.sampled_from([bytes.fromhex(o) for o in odd]) | st.binary(min_size=2, max_size=2), min_size=1)


def told(values: dict[str, Any], quality: dict[str, str]) -> Any:
    return sorted((n, type(v), repr(v)) for n, v in values.items()), list(quality.items())


@pytest.mark.slow
@settings(deadline=None, max_examples=many(400))
@given(st.lists(points(), min_size=1, max_size=12), contents, st.lists(st.booleans(), min_size=32, max_size=32))
def test_a_block_at_once_is_its_points_one_by_one(many: list[Any], words: list[bytes], bits: list[bool]) -> None:
    profile = profile_of("p", {"driver": "modbus", "point": {f"p{i}": p for i, p in enumerate(many)}})
    decoder = Decoder(profile)
    for block in plan(profile, list(profile.points)):
        data = (b"".join(words) * 70)[: 2 * block.count]
        answer = bits[: block.count] if block.space == "coil" else data
        values: dict[str, Any] = {}
        quality: dict[str, str] = {}
        decoder.read(block, answer, values, quality)
        assert told(values, quality) == told(*plainly(block, profile, answer))


def test_a_block_of_numbers_that_are_only_scaled() -> None:
    """The common case, with what it must not get wrong: a negative zero, sums beyond all bounds, values missing."""
    table = {f"f{i}": {"type": "float", "at": {"holding": 4 * i, "as": "f64"}} for i in range(3)}
    table |= {f"s{i}": {"type": "float", "at": {"holding": 12 + i, "as": "i16", "scale": 0.1}} for i in range(2)}
    table["m"] = {"type": "float", "at": {"holding": 14, "as": "i16", "scale": 0.1, "invalid": [-32768]}}
    profile = profile_of("p", {"driver": "modbus", "point": table})
    (block,) = plan(profile, list(profile.points))
    for given_ in ((-0.0, 1.5, 2.0, 3, -7, 1), (1.7e308, 1.7e308, -0.0, 3, -7, 1), (1.0, 2.0, 3.0, 3, -7, -32768)):
        data = struct.pack(">3d3h", *given_)
        values: dict[str, Any] = {}
        quality: dict[str, str] = {}
        Decoder(profile).read(block, data, values, quality)
        assert told(values, quality) == told(*plainly(block, profile, data))
        missing = given_[-1] == -32768
        assert repr(values["f0"]) == repr(given_[0])
        assert (values["s1"], values["m"]) == (-0.7, None if missing else 0.1)
        assert ("m" in quality) == missing
