"""Adverts and characteristics from anybody: a value, a bad quality, or Unreadable; nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.driver_rigs import profile_of
from drivers.ble.payload import Bytes, encode
from drivers.ble.settings import full_uuid
from drivers.errors import Refused
from drivers.mishaps import Unreadable
from drivers.profile_files import SHIPPED, load_profiles, parse_profile
from drivers.tables import Problem

PROFILES = load_profiles([SHIPPED], [])
RUUVI, BTHOME, PROBE = (Bytes(PROFILES[n]) for n in ("ruuvitag-df5", "bthome-v2", "sp-1"))


@given(st.binary(max_size=60), st.sampled_from([RUUVI, BTHOME]))
def test_any_bytes(data: bytes, reader: Bytes) -> None:
    try:
        values, quality = reader.advert(data)
    except Unreadable:
        return
    assert values.keys() >= quality.keys()


@given(st.binary(max_size=13))
def test_any_characteristic(data: bytes) -> None:
    values: dict[str, object] = {}
    quality: dict[str, str] = {}
    PROBE.characteristic(["answers", "probe_fault"], data, values, quality)  # type: ignore[arg-type]
    assert (values["answers"] is None) == (len(data) < 4)
    assert (values["probe_fault"] is None) == (len(data) < 13)


def test_whose_advert_it_is() -> None:
    assert RUUVI.mine({0x0499: b"\x05abc"}, {}) == b"\x05abc"
    assert RUUVI.mine({0x0499: b"\x03abc"}, {}) is None  # data format 3
    assert RUUVI.mine({0x004C: b"\x05abc"}, {}) is None
    assert BTHOME.mine({}, {full_uuid("FCD2"): b"\x40"}) == b"\x40"
    assert PROBE.mine({0x0499: b"\x05"}, {}) is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "not BTHome version 2"),
        ("2002CA09", "not BTHome version 2"),
        ("4102CA09", "encrypted"),
        ("4002CA", "ends inside"),
        ("4053", "ends inside"),
        ("405305", "ends inside"),
        ("40FE02CA09", "what follows object 0xFE, which is not known, cannot be read"),
        ("40", "none of the points"),
        ("4053024142", "none of the points"),
    ],
)
def test_bthome_that_cannot_be_read(data: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        BTHOME.advert(bytes.fromhex(data))


def test_text_objects_are_stepped_over() -> None:
    assert BTHOME.advert(bytes.fromhex("4053024142025A00"))[0] == {"temperature": 0.9}


def test_writing() -> None:
    profile = PROFILES["sp-1"]
    access, point = profile.access["interval"], profile.points["interval"]
    assert encode(access, point, 600) == b"\x58\x02"
    with pytest.raises(Refused):
        encode(access, point, 70_000)


MANY = profile_of(
    "many",
    {
        "driver": "ble",
        "ble": {"service": "fcd2", "decoder": "bthome-v2"},
        "point": {
            **{f"temperature_{i}": {"type": "float", "at": {"object": 2, "index": i}} for i in range(3)},
            "first": {"type": "float", "at": {"object": 2}},
            **{f"button_{i}": {"type": "int", "at": {"object": 0x3A, "index": i}} for i in range(3)},
            "press": {
                "type": "text",
                "at": {"object": 0x3A, "index": 2, "choices": {"0": "none", "1": "press", "254": "hold"}},
            },
            "steps": {"type": "int", "at": {"object": 0x3C, "as": "u16", "bits": [8, 15]}},
        },
    },
)


def test_each_of_several_objects_of_one_id_is_reached() -> None:
    values, quality = Bytes(MANY).advert(bytes.fromhex("4002660802F3FD3A003A003A013C0203"))
    assert values == {
        "temperature_0": 21.5,
        "temperature_1": -5.25,
        "first": 21.5,
        "button_0": 0,
        "button_1": 0,
        "button_2": 1,
        "press": "press",
        "steps": 3,
    }
    assert not quality


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("40 026608 20 00 30 01 3A01", "what follows object 0x30, which is not known, cannot be read"),
        ("40 026608 3A", "the advert ends inside an object (0x3A)"),
    ],
)
def test_what_cannot_be_read_is_told_and_what_came_before_is_kept(data: str, told: str) -> None:
    values, quality = Bytes(MANY).advert(bytes.fromhex(data))
    assert {n: v for n, v in values.items() if n not in quality} == {"temperature_0": 21.5, "first": 21.5}
    hidden = {"button_0", "button_1", "button_2", "press", "steps"}
    assert quality == dict.fromkeys(hidden, f"bad:{told}")
    assert all(values[n] is None for n in hidden)


def test_of_a_device_that_sends_in_any_order_nothing_is_sure() -> None:
    values, quality = Bytes(MANY).advert(bytes.fromhex("40 3A01 026608 FE 01"))
    assert values["temperature_0"] == 21.5
    assert values["button_0"] == 1
    assert {"temperature_1", "button_1", "steps"} <= quality.keys()


def test_index_goes_with_objects() -> None:
    found: list[Problem] = []
    table = {
        "kind": "x", "driver": "ble", "model": "x", "source": ["x"], "ble": {"manufacturer": 7},
        "point": {"a": {"type": "int", "at": {"byte": 1, "index": 1}}},
    }  # fmt: skip
    assert parse_profile("x", table, "x.toml", found) is None
    assert [(p.key, "index goes with object" in p.text) for p in found] == [("point.a.at", True)]
