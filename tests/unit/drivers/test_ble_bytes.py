"""Adverts and characteristics from anybody: a value, a bad quality, or Unreadable; nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.ble.payload import Bytes, encode
from drivers.ble.words import full_uuid
from drivers.errors import Refused
from drivers.mishaps import Unreadable
from drivers.profile_files import SHIPPED, load_profiles

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
