"""What raw values mean and how values are said again: missing values, bits, choices, whole numbers."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.driver_rigs import profile_of
from drivers.ble.payload import Bytes
from drivers.ble.payload import encode as ble_bytes
from drivers.errors import Refused
from drivers.modbus.registers import Decoder, encode, plan
from drivers.mqtt.command import command
from drivers.mqtt.payload import Payload
from drivers.mqtt.settings import Address
from drivers.profile import Profile
from drivers.profile_files import parse_profile
from drivers.scaling import Scaling
from drivers.tables import Problem
from edge.control.actuator import Actuator
from wire.device import Device

HEAD = {"kind": "thing", "model": "test", "source": ["test"]}
NONE = "bad:the device says that it has no value"


def modbus(point: dict[str, Any]) -> Profile:
    return profile_of("p", {"driver": "modbus", "point": {"a": point}})


def mqtt(point: dict[str, Any], **whole: Any) -> Profile:
    table = {"topic": "t/{serial}", "command_topic": "t/{serial}/set", **whole}
    return profile_of("p", {"driver": "mqtt", "mqtt": table, "point": {"a": point}})


def ble(point: dict[str, Any]) -> Profile:
    return profile_of("p", {"driver": "ble", "ble": {"manufacturer": 7}, "point": {"a": point}})


def registers(profile: Profile, data: bytes) -> tuple[Any, str | None]:
    values: dict[str, Any] = {}
    quality: dict[str, str] = {}
    Decoder(profile).read(plan(profile, ["a"])[0], data, values, quality)
    return values["a"], quality.get("a")


def payload(profile: Profile, body: Any) -> tuple[Any, str | None]:
    reading = Payload(profile).read(json.dumps(body).encode())
    return reading.values["a"], reading.quality.get("a")


def advert(profile: Profile, data: bytes) -> tuple[Any, str | None]:
    values, quality = Bytes(profile).advert(data)
    return values["a"], quality.get("a")


def sent(profile: Profile, value: Any) -> str:
    whole, access, point = profile.whole, profile.access["a"], profile.points["a"]
    return command(whole, access, Address(serial="7", dev_eui="a84041"), point, value)[1].decode()


def wrong(driver: str, point: dict[str, Any], whole: dict[str, Any]) -> list[str]:
    found: list[Problem] = []
    parse_profile("p", {**HEAD, "driver": driver, driver: whole, "point": {"a": point}}, "p.toml", found)
    return [f"{p.key}: {p.text}" for p in found]


# ---- missing values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "size"), [("u16", 2), ("u32", 4), ("u64", 8)])
@pytest.mark.parametrize("type_", ["bool", "int"])
def test_a_register_without_a_value_has_no_bits(form: str, size: int, type_: str) -> None:
    at = {"holding": 0, "as": form, "bit": 3, "invalid": [2 ** (8 * size) - 1]}
    profile = modbus({"type": type_, "at": at})
    assert registers(profile, b"\xff" * size) == (None, NONE)
    assert registers(profile, bytes(size - 1) + b"\x08") == (type_ == "bool" or 1, None)
    assert registers(profile, b"\xff" * (size - 1) + b"\xf7") == (False if type_ == "bool" else 0, None)


def test_a_block_of_event_bits_without_a_value() -> None:
    """SunSpec: an event register of FFFFFFFF is not implemented (Information Model Specification, bitfield32)."""
    bits = {
        f"b{i}": {"type": "bool", "at": {"holding": 4, "as": "u32", "bit": i, "invalid": [2**32 - 1]}} for i in range(4)
    }
    profile = profile_of("p", {"driver": "modbus", "point": bits})
    values: dict[str, Any] = {}
    quality: dict[str, str] = {}
    (block,) = plan(profile, list(bits))
    Decoder(profile).read(block, b"\xff" * 4, values, quality)
    assert values == dict.fromkeys(bits)
    assert quality == dict.fromkeys(bits, NONE)
    Decoder(profile).read(block, b"\0\0\0\5", values := {}, quality := {})
    assert (list(values.values()), quality) == ([True, False, True, False], {})


def test_a_field_may_say_so_for_itself() -> None:
    at = {"byte": 0, "as": "u16", "bits": [5, 15], "scale": 0.001, "offset": 1.6, "invalid_bits": [2047]}
    profile = ble({"type": "float", "at": at})
    assert advert(profile, bytes.fromhex("FFE0")) == (None, NONE)
    assert advert(profile, bytes.fromhex("07FF")) == (1.663, None), "2047 as the whole number is a voltage like others"
    whole = ble({"type": "float", "at": {"byte": 0, "as": "u16", "bits": [5, 15], "invalid": [65535]}})
    assert advert(whole, b"\xff\xff") == (None, NONE)
    assert advert(whole, b"\xff\xfe") == (2047.0, None)


def test_bits_of_numbers_in_payloads() -> None:
    profile = mqtt({"type": "bool", "at": {"value": "flags", "bit": 1, "invalid": [4294967295, -1]}})
    assert payload(profile, {"flags": 2}) == (True, None)
    assert payload(profile, {"flags": 5.0}) == (False, None)
    assert payload(profile, {"flags": 4294967295}) == (None, NONE)
    assert payload(profile, {"flags": -1}) == (None, NONE)
    assert payload(profile, {"flags": None}) == (None, None)
    assert payload(profile, {"flags": 2.5})[1] == "bad:2.5 is no whole number, which has bits"
    assert payload(profile, {"flags": [2]})[1] == "bad:a list is no whole number, which has bits"


@pytest.mark.parametrize("value", [327.67, -127, 85, "N/A", "unavailable", 32767.0])
def test_missing_values_in_payloads(value: Any) -> None:
    invalid = [327.67, -127, 85, "N/A", "unavailable", 32767]
    profile = mqtt({"type": "float", "at": {"value": "t", "scale": 0.1, "invalid": invalid}})
    assert payload(profile, {"t": value}) == (None, NONE)
    assert payload(profile, {"t": 210}) == (21.0, None)
    found, why = payload(profile, {"t": 3276.7})
    assert (found, why) == (pytest.approx(327.67), None), "raw values are compared, not scaled ones"
    assert payload(profile, {"t": {}})[1] == "bad:a dict is not a number"


def test_a_float_of_32_bits_is_compared_as_one() -> None:
    profile = modbus({"type": "float", "at": {"holding": 0, "as": "f32", "invalid": [327.67, -9999]}})
    for missing in (327.67, -9999):
        assert registers(profile, struct.pack(">f", missing)) == (None, NONE)
    assert registers(profile, struct.pack(">f", 20.5)) == (20.5, None)
    assert registers(profile, struct.pack(">f", math.nan)) == (None, "bad:not a finite number")
    scaled = modbus({"type": "float", "at": {"holding": 0, "as": "f32", "scale": 0.1, "invalid": [327.67]}})
    assert registers(scaled, struct.pack(">f", 327.67)) == (None, NONE)
    assert payload(mqtt({"type": "float", "at": {"value": "t", "invalid": [327.67]}}), {"t": 327.6700134277344}) == (
        None,
        NONE,
    )
    double = modbus({"type": "float", "at": {"holding": 0, "as": "f64", "invalid": [1e300]}})
    assert registers(double, struct.pack(">d", 1e300)) == (None, NONE)


def test_a_text_may_say_that_there_is_none() -> None:
    profile = modbus({"type": "text", "at": {"holding": 0, "as": "text", "length": 2, "invalid": ["----"]}})
    assert registers(profile, b"----") == (None, NONE)
    assert registers(profile, b"ab\0\0") == ("ab", None)


@pytest.mark.parametrize(
    ("at", "why"),
    [
        ({"holding": 0, "invalid_bits": [1]}, "invalid_bits goes with bit or bits"),
        ({"holding": 0, "bits": [0, 3], "invalid_bits": [16]}, "a number that the field cannot hold"),
        ({"holding": 0, "bits": [0, 3], "invalid_bits": [-1]}, "a number that the field cannot hold"),
    ],
)
def test_missing_values_that_cannot_be(at: dict[str, Any], why: str) -> None:
    (told,) = wrong("modbus", {"type": "int", "at": at}, {})
    assert why in told


# ---- choices -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("ON", True),
        ("off", False),
        ("true", True),
        ("FALSE", False),
        (1, True),
        (0.0, False),
        ("0", False),
        (True, True),
    ],
)
def test_true_and_false_need_no_trick(raw: Any, value: bool) -> None:
    assert payload(mqtt({"type": "bool", "at": {"value": "state"}}), {"state": raw}) == (value, None)


@pytest.mark.parametrize("raw", ["", "yes", "open", 2, "2", [], "onn"])
def test_what_is_neither(raw: Any) -> None:
    value, why = payload(mqtt({"type": "bool", "at": {"value": "state"}}), {"state": raw})
    assert value is None
    assert why is not None
    assert "neither true nor false" in why


@pytest.mark.parametrize(
    ("type_", "choices", "raw", "value"),
    [
        ("bool", {"ON": "true", "OFF": "false"}, "ON", True),
        ("bool", {"ON": True, "OFF": False}, "OFF", False),
        ("bool", {"1": "on", "2": "off"}, 2, False),
        ("bool", {"true": False, "false": True}, True, False),  # a contact that is closed when all is well
        ("bool", {"open": 1, "closed": 0}, "open", True),
        ("int", {"low": "10", "high": 90}, "low", 10),
        ("int", {"3": 7}, 3.0, 7),
        ("float", {"low": "0.5", "high": 2}, "high", 2.0),
        ("text", {"0": "off", "1": "on"}, 0, "off"),
        ("text", {"0": "off", "1": "on"}, None, None),
        ("bool", {"ON": True}, None, None),
    ],
)
def test_a_choice_is_a_value_of_the_point(type_: str, choices: dict[str, Any], raw: Any, value: Any) -> None:
    found, why = payload(mqtt({"type": type_, "at": {"value": "s", "choices": choices}}), {"s": raw})
    assert (found, type(found), why) == (value, type(value), None)


@pytest.mark.parametrize(
    ("type_", "told"),
    [("bool", "burning"), ("bool", 2), ("bool", "ja"), ("int", "high"), ("int", 1.5), ("int", True), ("int", 2**70),
     ("float", "warm"), ("float", "nan"), ("float", False), ("text", 1), ("text", True)],
)  # fmt: skip
def test_a_choice_that_does_not_fit_is_refused(type_: str, told: Any) -> None:
    point = {"type": type_, "at": {"value": "s", "choices": {"ON": told}}}
    (problem,) = wrong("mqtt", point, {"topic": "t"})
    assert problem.startswith("point.a.at.choices.ON: ")
    assert f"does not fit a point of type {type_}; write " in problem
    (problem,) = wrong("modbus", {"type": type_, "at": {"holding": 0, "choices": {"1": told}}}, {})
    assert f"does not fit a point of type {type_}" in problem


def test_choices_on_registers_and_coils() -> None:
    door = modbus({"type": "bool", "writable": True, "at": {"holding": 0, "choices": {"17": True, "34": False}}})
    assert registers(door, b"\0\x11") == (True, None)
    assert registers(door, b"\0\x22") == (False, None)
    assert registers(door, b"\0\1") == (None, "bad:code 1 has no known meaning")
    assert encode(door.access["a"], door.points["a"], False) == [34]
    coil = modbus({"type": "text", "writable": True, "at": {"coil": 0, "choices": {"0": "off", "1": "on"}}})
    values: dict[str, Any] = {}
    Decoder(coil).read(plan(coil, ["a"])[0], [True], values, {})
    assert values == {"a": "on"}
    assert encode(coil.access["a"], coil.points["a"], "off") == [0]
    level = modbus({"type": "int", "writable": True, "at": {"holding": 0, "choices": {"1": 50, "2": 100}}})
    assert registers(level, b"\0\2") == (100, None)
    with pytest.raises(Refused, match="has no code for that"):
        encode(level.access["a"], level.points["a"], 75)


@pytest.mark.parametrize(
    ("type_", "choices", "template", "value", "text"),
    [
        ("bool", {"ON": True, "OFF": False}, '{"state": $value}', True, '{"state": "ON"}'),
        ("bool", {"ON": "true", "OFF": "false"}, '{"state": "$value"}', False, '{"state": "OFF"}'),
        ("bool", None, '{"state": $value}', True, '{"state": true}'),
        ("bool", None, '{"state": "$value"}', True, '{"state": "true"}'),
        ("bool", {"1": True, "0": False}, '{"on": $value}', False, '{"on": 0}'),
        ("bool", {"true": False, "false": True}, '{"on": $value}', True, '{"on": false}'),
        ("text", {"0": "off", "1": "on"}, '{"on": "$value"}', "on", '{"on": "1"}'),
        ("text", None, '{"say": "<$value>"}', 'a "b" \\', '{"say": "<a \\"b\\" \\\\>"}'),
        ("int", None, '{"n": "$value %"}', 40, '{"n": "40 %"}'),
        ("int", {"007": 7}, '{"n": $value}', 7, '{"n": "007"}'),
    ],
)
def test_values_are_sent_in_the_words_of_the_device(
    type_: str, choices: dict[str, Any] | None, template: str, value: Any, text: str
) -> None:
    at = {"value": "s", "command": template} | ({} if choices is None else {"choices": choices})
    assert sent(mqtt({"type": type_, "writable": True, "at": at}), value) == text
    json.loads(text)


def test_a_bool_that_is_written_has_both_codes() -> None:
    at = {"value": "s", "command": '{"s": $value}', "choices": {"ON": True}}
    told = wrong("mqtt", {"type": "bool", "writable": True, "at": at}, {"topic": "t", "command_topic": "c"})
    assert told == ["point.a.at.choices: the point is writable and no code means false; write one"]


# ---- numbers that are written --------------------------------------------------------------------------------------

PERCENT = 0.392156862745098  # of 255


@pytest.mark.parametrize(
    ("at", "value", "text"),
    [
        ({"scale": PERCENT}, 40, "102"),
        ({"scale": PERCENT}, 100, "255"),
        ({"scale": PERCENT}, 41, "105"),
        ({"scale": PERCENT}, 50, "128"),
        ({"scale": -PERCENT, "offset": 100}, 40, "153"),
        ({"scale": 0.1}, 2.25, "23"),
        ({"scale": 0.1}, -2.25, "-22"),
        ({"scale": 0.5}, 0.25, "1"),
        ({"scale": 0.1, "as": "float"}, 2.25, "22.5"),
        ({"scale": 0.1, "as": "float"}, 2.0, "20"),
        ({}, 21.5, "21.5"),
        ({}, 40.0, "40"),
        ({}, 0.1 + 0.2, "0.3"),
        ({}, 40.00000000000001, "40"),
        ({"as": "int"}, 21.5, "22"),
        ({"scale": 1000}, 1500, "1.5"),
        ({"scale": 3.6}, 37, "10.2777777777778"),
        ({"scale": 1000, "as": "int"}, 1500, "2"),
        ({"offset": 40}, 21.3, "-18.7"),
        ({"scale": 0.01, "offset": -40}, 21.3, "6130"),
    ],
)
def test_numbers_in_commands(at: dict[str, Any], value: float, text: str) -> None:
    profile = mqtt({"type": "float", "writable": True, "at": {"value": "s", "command": "$value", **at}})
    assert sent(profile, value) == text


def test_a_command_of_plain_text() -> None:
    at = {"value": "@", "command": "DIM {serial} $value", "scale": PERCENT}
    assert sent(mqtt({"type": "float", "writable": True, "at": at}, payload="text"), 40) == "DIM 7 102"


@given(st.floats(-1e6, 1e6), st.sampled_from([PERCENT, 0.1, 0.5, 1, 3, -0.25]), st.sampled_from([0, -40, 0.5]))
def test_a_whole_number_is_the_nearest(value: float, scale: float, offset: float) -> None:
    scaling = Scaling.of(scale, offset)
    near = abs(scaling.value(scaling.steps(value)) - value)
    assert near <= abs(scale) / 2 * (1 + 1e-9) + 1e-9


def actuator(profile: Profile) -> Actuator:
    point = profile.points["a"]
    return Actuator(Device(id="d", kind="k", profile="p"), point, point, False, profile.writing["a"])


@pytest.mark.parametrize("value", [40.0, 41.0, 50.0, 99.9])
def test_what_is_read_back_is_as_near_as_the_device_can(value: float) -> None:
    command_ = {"value": "s", "command": '{"s": $value}', "scale": PERCENT}
    for made in (
        mqtt({"type": "float", "writable": True, "at": command_}),
        modbus({"type": "float", "writable": True, "at": {"holding": 0, "scale": PERCENT}}),
        ble({"type": "float", "writable": True, "at": {"characteristic": "fcd2", "byte": 0, "scale": PERCENT}}),
    ):
        scaling = made.access["a"].scaling
        read = scaling.value(scaling.steps(value))
        assert actuator(made).matches(value, read)
        assert not actuator(made).matches(value, scaling.value(scaling.steps(value) + 1))


def test_what_a_float_of_32_bits_keeps_is_what_was_wanted() -> None:
    profile = modbus({"type": "float", "writable": True, "at": {"holding": 0, "as": "f32"}})
    words = encode(profile.access["a"], profile.points["a"], 40.1)
    (read,) = struct.unpack(">f", struct.pack(">2H", *words))
    assert actuator(profile).matches(40.1, read)
    assert not actuator(profile).matches(40.1, 40.2)


def test_half_a_step_goes_up_on_all_lines() -> None:
    table = {"type": "float", "writable": True}
    for value, steps in ((2.5, 3), (-2.5, -2), (3.5, 4), (0.5, 1), (-0.5, 0)):
        one = modbus({**table, "at": {"holding": 0, "as": "i16"}})
        assert encode(one.access["a"], one.points["a"], value) == [steps % 65536]
        two = ble({**table, "at": {"characteristic": "fcd2", "byte": 0, "as": "i16"}})
        assert ble_bytes(two.access["a"], two.points["a"], value) == steps.to_bytes(2, signed=True)
        three = mqtt({**table, "at": {"value": "s", "command": "$value", "as": "int"}})
        assert sent(three, value) == str(steps)


# ---- placeholders ------------------------------------------------------------------------------------------------


def test_placeholders_in_commands_are_filled_in() -> None:
    template = '{"devEui": "{dev_eui}", "n": {serial}, "to": {dev_eui}, "object": {"dim": $value}}'
    at = {"value": "dim", "command": template, "command_topic": "app/{dev_eui}/down"}
    profile = mqtt({"type": "float", "writable": True, "at": at})
    address = Address(serial="7", dev_eui='a8"4041')
    topic, data = command(profile.whole, profile.access["a"], address, profile.points["a"], 40)
    assert topic == 'app/a8"4041/down'
    assert json.loads(data) == {"devEui": 'a8"4041', "n": 7, "to": 'a8"4041', "object": {"dim": 40}}


def test_placeholders_that_are_none_are_refused() -> None:
    at = {"value": "dim", "command": '{"devEui": "{deveui}", "dim": $value}'}
    told = wrong("mqtt", {"type": "int", "writable": True, "at": at}, {"topic": "t", "command_topic": "c"})
    assert told == [
        "point.a.at.command: has the placeholder {deveui}; there are {serial}, {name}, {dev_eui}, {id}, {channel}"
    ]


def test_an_address_lacks_what_only_a_command_wants() -> None:
    from drivers.mqtt import PROTOCOL

    at = {"value": "dim", "command": '{"devEui": "{dev_eui}", "dim": $value}'}
    profile = mqtt({"type": "int", "writable": True, "at": at})
    ((key, text),) = PROTOCOL.fits(profile, Address(serial="1"))
    assert key == "dev_eui"
    assert "a command of p is" in text
