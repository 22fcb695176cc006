"""A device's table in a form and back: what nobody has touched stays as it was, whatever the file had."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.ble.settings import Address as BleAddress
from drivers.modbus.settings import Address as ModbusAddress
from drivers.mqtt.settings import Address as MqttAddress
from edge.sampling.lines import DeviceTable
from edge.web import typed
from edge.web.language import Speech
from edge.web.typed import ADDRESS, LABELS, MAX_CHARS, WRONG, FormField

FR, EN = (Speech(language, ZoneInfo("Europe/Paris"), 0) for language in ("fr", "en"))
ADDRESSES: list[type[msgspec.Struct]] = [ModbusAddress, MqttAddress, BleAddress]
FORM = ("name", "profile", "line", "poll_s", "expect_s", "lon", "lat", "tags")

word = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
number = st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False)
tables = st.fixed_dictionaries(
    {"id": word, "profile": word, "line": word},
    optional={
        "name": word, "poll_s": number, "expect_s": number, "lon": number, "lat": number,
        "tags": st.lists(word, min_size=1, max_size=4), "report": st.just({"power": {"deadband": 1}}),
    },
)  # fmt: skip


def fields_of(table: dict[str, Any], address: type[msgspec.Struct]) -> dict[str, Any]:
    """What a browser sends of a form in which nothing was touched."""
    shown = {key: typed.shown(table.get(key, "")) for key in FORM}
    return shown | {k: typed.shown(table["address"].get(k.removeprefix(ADDRESS), "")) for k in typed.keys_of(address)}


@given(tables, st.sampled_from(ADDRESSES), st.data())
def test_what_nobody_has_touched_stays_as_it_was(
    table: dict[str, Any], address: type[msgspec.Struct], data: st.DataObject
) -> None:
    keys = [key.removeprefix(ADDRESS) for key in typed.keys_of(address)]
    table["address"] = {
        key: data.draw(word | number) for key in data.draw(st.lists(st.sampled_from(keys), unique=True))
    }
    made = typed.table_of(fields_of(table, address), address, table)
    assert made == table
    assert all(type(made[k]) is type(table[k]) for k in table)


@given(tables, st.dictionaries(st.sampled_from([*FORM, "address.unit", "address.timeout_s", "no", "report"]),
                               st.text(max_size=700) | number | st.none() | st.lists(st.text())))  # fmt: skip
def test_whatever_is_typed_makes_a_table_to_be_checked(table: dict[str, Any], given_: dict[str, Any]) -> None:
    table["address"] = {"unit": 1}
    made = typed.table_of(given_, ModbusAddress, table)
    assert made.keys() <= {f.name for f in msgspec.structs.fields(DeviceTable)} | {"address"}
    assert made["address"].keys() <= {"unit", "timeout_s"}
    assert made["id"] == table["id"]
    assert made.get("report") == table.get("report"), "no form shows it: it stays"
    for value in (*made.values(), *made["address"].values()):
        assert not isinstance(value, str) or len(value) <= MAX_CHARS or value in table.values()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7), (" 7 ", 7), ("7,5", 7.5), ("7.50", 7.5), ("-3", -3), ("+3", 3), ("7,", 7), ("seven", "seven"),
        ("1e3", "1e3"), ("0x10", "0x10"), ("9" * 16, "9" * 16), ("٣", 3), ("1,2,3", "1,2,3"),
        ("5.04123456789012", 5.04123456789012),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(text: str, value: object) -> None:
    made = typed.table_of({"lon": text, "name": text, "address.unit": text}, ModbusAddress, {})
    assert (made["lon"], type(made["lon"])) == (value, type(value))
    assert made["address"]["unit"] == value
    assert made["name"] == text.strip(), "a name stays a text"


def test_what_is_left_empty_is_left_out() -> None:
    before = {"id": "lamp-1", "name": "One", "tags": ["a"], "lon": 5.0, "address": {"unit": 3, "timeout_s": 2}}
    empty = {"name": "", "tags": " , ", "lon": " ", "address.timeout_s": ""}
    assert typed.table_of(empty, ModbusAddress, before) == {"id": "lamp-1", "address": {"unit": 3}}
    assert typed.table_of({"tags": "a, b,, c"}, ModbusAddress, before)["tags"] == ["a", "b", "c"]
    assert typed.table_of({"address.unit": "4"}, ModbusAddress, before) == before | {
        "address": {"unit": 4, "timeout_s": 2}
    }


def test_a_field_says_how_a_phone_should_ask_for_it() -> None:
    words = typed.keys_of(ModbusAddress)
    unit = typed.field("address.unit", 7, words["address.unit"], "", FR)
    assert unit == FormField(key="address.unit", label="Unité (son numéro sur la ligne)", value="7", kind="decimal")
    line = typed.field("line", "north", "", "", EN, ["north", "south"])
    assert (line.kind, line.choices, line.required) == ("choice", ["north", "south"], True)
    assert typed.field("name", None, "", "", EN).value == ""
    assert typed.field("address.new_key", 5.0, "", "", EN).label == "new_key", "of a protocol that was installed"
    for key in LABELS:
        assert typed.field(key, "", "", "", FR).label != key


WRITTEN = (
    '"7" is taken already; choose another', 'unit 7 is taken already by "lamp-002" on the line north',
    "must be a whole number from 0 to 255, not 300", "must be a whole number, not 'x'",
    "must be a number from 0.1 to 86400, not 0", "must be a number above 0, not -1", "must be a number, not 'x'",
    "is missing; write one", "must not be empty", 'is "x", which does not look like ^([0-9A-Fa-f]{2}:)',
    'is "x y", which does not look like ^[\\w.:-]{1,64}$', "0 is the broadcast address of serial lines",
    'no profile "lx-9" is known', 'no line "west" is there', 'profile "lx-1" speaks modbus; the line ble',
    "the file says something else of it by now",
)  # fmt: skip


def test_what_is_wrong_is_told_in_the_reader_s_language() -> None:
    assert len(WRITTEN) == len(WRONG)
    for text, (_, message) in zip(WRITTEN, WRONG, strict=True):
        said, known = typed.told(text, FR)
        assert known
        assert said != text
        assert "{" not in said
        assert typed.told(text, EN)[0].split("{")[0][:8] == message.split("{")[0][:8] or message.startswith("{")
    assert typed.told("something new", FR) == ("something new", False)
    assert typed.told("", FR) == ("", True)
    wrong = typed.field("name", "x", "", "something new", FR)
    assert (wrong.wrong, wrong.english) == ("something new", True)
