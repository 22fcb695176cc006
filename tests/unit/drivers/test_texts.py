"""Texts in fields of fixed length, by Modbus and Bluetooth alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.driver_rigs import profile_of
from drivers.ble.payload import Bytes
from drivers.ble.payload import encode as ble_encode
from drivers.errors import Refused
from drivers.modbus.registers import Decoder, encode, plan
from unit.drivers.test_profile import HEAD, problems_of
from wire.sample import Value

NONE = "bad:the device says that it has no value"
FIELDS: list[tuple[bytes, str, Value, str]] = [
    (b"LX-1\0\0\0\0", "utf-8", "LX-1", ""),
    (b"LX-1\0\xff\xff\xff", "utf-8", "LX-1", ""),
    (b"LX-1\xff\xff\xff\xff", "utf-8", "LX-1", ""),
    (b"LX-1    ", "utf-8", "LX-1", ""),
    (b"\0" * 8, "utf-8", "", ""),
    (b"\xff" * 8, "utf-8", None, NONE),
    (b"\xff" * 8, "latin-1", None, NONE),
    ("été".encode().ljust(8, b"\0"), "utf-8", "été", ""),
    ("été".encode("latin-1").ljust(8, b"\0"), "latin-1", "été", ""),
    ("été".encode("latin-1").ljust(8, b"\0"), "utf-8", None, "bad:byte 0 is no text in utf-8; encoding names another"),
    ("5 €".encode("cp1252").ljust(8, b"\0"), "cp1252", "5 €", ""),
]


@pytest.mark.parametrize(("data", "encoding", "value", "told"), FIELDS)
def test_a_text_is_read_as_the_profile_says(data: bytes, encoding: str, value: Value, told: str) -> None:
    at: dict[str, Any] = {"as": "text", "encoding": encoding}
    values: dict[str, Value] = {}
    quality: dict[str, str] = {}
    meter = profile_of(
        "m", {"driver": "modbus", "point": {"t": {"type": "text", "at": {**at, "holding": 0, "length": 4}}}}
    )
    Decoder(meter).read(plan(meter, ["t"])[0], data, values, quality)
    beacon = profile_of("b", {"driver": "ble", "ble": {"manufacturer": 7}, "point": {
        "t": {"type": "text", "at": {**at, "byte": 0, "length": 8}}}})  # fmt: skip
    for found in ((values, quality), Bytes(beacon).advert(data)):
        assert found == ({"t": value}, {"t": told} if told else {})


def test_a_text_is_written_in_its_encoding() -> None:
    point: dict[str, Any] = {"type": "text", "writable": True}
    at = {"as": "text", "encoding": "latin-1"}
    meter = profile_of("m", {"driver": "modbus", "point": {"t": {**point, "at": {**at, "holding": 0, "length": 2}}}})
    probe = profile_of("b", {"driver": "ble", "point": {"t": {**point, "at": {
        **at, "characteristic": "2a00", "byte": 0, "length": 4}}}})  # fmt: skip
    assert encode(meter.access["t"], meter.points["t"], "été") == [0xE974, 0xE900]
    assert ble_encode(probe.access["t"], probe.points["t"], "été") == b"\xe9t\xe9"
    for profile, write in ((meter, encode), (probe, ble_encode)):
        with pytest.raises(Refused, match="t takes texts in latin-1, not '5 €'"):
            write(profile.access["t"], profile.points["t"], "5 €")
        with pytest.raises(Refused, match="t takes at most 4 bytes of text"):
            write(profile.access["t"], profile.points["t"], "ééééé")


@pytest.mark.parametrize(("driver", "at"), [("modbus", "holding = 1"), ("ble", "byte = 0")])
def test_an_encoding_is_that_of_a_text(tmp_path: Path, driver: str, at: str) -> None:
    whole = "[ble]\nmanufacturer = 7\n" if driver == "ble" else ""
    text = f'{HEAD}driver = "{driver}"\n{whole}[point.a]\ntype = "int"\nat = {{ {at}, encoding = "latin-1" }}\n'
    assert problems_of(tmp_path, text) == ['p0.toml: point.a.at: encoding goes with as = "text", and with nothing else']
