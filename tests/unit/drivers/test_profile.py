"""Profiles: everything wrong in all files is told at once; what is right comes out as points."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers import registry
from drivers.mqtt.settings import Address
from drivers.profile_files import load_profiles
from drivers.tables import Problem

DOTS = (
    "Expecting: ['quoted_identifier', 'unquoted_identifier', 'lbracket', 'lbrace'], "
    'got: dot: Parse error at column 2, token "." (DOT)'
)
HEAD = 'kind = "x"\nmodel = "m"\nsource = ["s"]\n'


def problems_of(folder: Path, *bodies: str) -> list[str]:
    for i, body in enumerate(bodies):
        (folder / f"p{i}.toml").write_text(body)
    found: list[Problem] = []
    loaded = load_profiles([folder], found)
    assert all(p.mild for p in found) or len(loaded) < len(bodies)
    return [f"{Path(p.file).name}: {p.key}: {p.text}" for p in found]


def test_units_that_ucum_does_not_have_and_texts_that_nobody_could_see(tmp_path: Path) -> None:
    body = (
        HEAD.replace('kind = "x"', 'kind = "x "')
        + """driver = "modbus"
[point.power]
type = "float"
unit = "kWh"
at = { holding = 1 }
label = { en = "Po\\u202ewer" }
[point.rate]
type = "float"
unit = "km/h"
at = { holding = 2 }
"""
    )
    label = r"'Po\u202ewer' has U+202E at character 3, which turns the direction of the text: leave it out"
    assert problems_of(tmp_path, body) == [
        "p0.toml: point.power.unit: 'kWh' is no UCUM code: there is no unit 'kWh'; write kW.h",
        "p0.toml: kind: 'x ' begins or ends with a space: leave it out",
        f"p0.toml: point.power.label.en: {label}",
    ]


def test_everything_wrong_in_all_files(tmp_path: Path) -> None:
    modbus = (
        HEAD
        + """driver = "modbus"
[modbus]
max_gapp = 3
[point.a]
type = "float"
range = [9, 1]
at = { holding = 70000, scale = 0 }
[point.b]
type = "bool"
at = { holding = 1, coil = 2 }
[point.C-x]
type = "flaot"
at = { holding = 1, as = "u61" }
"""
    )
    mqtt = (
        HEAD
        + """driver = "mqtt"
[mqtt]
topic = "a/{seriol}/b"
[point.a]
type = "int"
writable = true
at = { value = "a..b" }
"""
    )
    nothing = HEAD + 'driver = "modbuss"\n[point]\n'
    assert problems_of(tmp_path, modbus, mqtt, nothing) == [
        "p0.toml: point.a: range: write the smaller number first",
        'p0.toml: point.C-x.type: is "flaot" (did you mean "float"?)',
        'p0.toml: modbus.max_gapp: no such key (did you mean "max_gap"?)',
        "p0.toml: point.a.at.holding: must be a whole number from 0 to 65535, not 70000",
        "p0.toml: point.b.at: write exactly one of holding, input, coil, discrete, with the address",
        'p0.toml: point.C-x.at.as: is "u61" (did you mean "u64"?)',
        "p1.toml: mqtt.topic: has the placeholder {seriol}; there are {serial}, {name}, {dev_eui}, {id}, {channel}",
        "p1.toml: point.a.at: is writable: write command = '{\"KEY\": $value}', the JSON that sets it",
        "p1.toml: point.a.at: is writable: write command_topic here or in [mqtt]",
        f"p1.toml: point.a.at.value: is no JMESPath expression: {DOTS}",
        'p2.toml: driver: no driver is called "modbuss" (did you mean "modbus"?)',
    ]


@pytest.mark.parametrize(
    ("point", "told"),
    [
        ('type = "int"\nat = { holding = 1, scale = 0.1 }', "does not give a int"),
        ('type = "text"\nat = { holding = 1 }', 'as = "text", or choices'),
        ('type = "float"\nwritable = true\nat = { input = 1 }', "input cannot be written"),
        ('type = "bool"\nwritable = true\nat = { holding = 1, bit = 3 }', "would overwrite its neighbours"),
        ('type = "int"\nat = { holding = 1, bits = [4, 40] }', "must lie inside it"),
        ('type = "int"\nat = { holding = 65535, as = "u32" }', "beyond address 65535"),
        ('type = "bool"\nat = { coil = 1, bit = 1 }', "is one bit"),
        ('type = "text"\nat = { holding = 1, choices = { off = "0" } }', "write the numbers as keys"),
        ('type = "int"\nresolution = 1\nat = { holding = 1 }', "only a point of type float has one"),
        ('type = "int"\nchoices = ["a"]\nat = { holding = 1 }', "only a point of type text has them"),
        ('type = "int"', "at: is missing"),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, point: str, told: str) -> None:
    (problem,) = problems_of(tmp_path, f'{HEAD}driver = "modbus"\n[point.a]\n{point}\n')
    assert told in problem


@pytest.mark.parametrize(
    ("at", "told"),
    [
        ('as = "i8", bit = 1', "must lie inside it"),
        ('as = "u8", bits = [0, 8]', "must lie inside it"),
        ("bit = 1, bits = [0, 1]", "not both"),
        ('choices = { off = "0" }', "write the numbers as keys"),
        ('choices = { 0 = "off" }, scale = 0.5', "that are not scaled"),
    ],
)
def test_codes_go_together_in_any_protocol(tmp_path: Path, at: str, told: str) -> None:
    kind = "text" if "choices" in at else "int"
    text = f'{HEAD}driver = "ble"\n[ble]\nmanufacturer = 7\n[point.a]\ntype = "{kind}"\nat = {{ byte = 0, {at} }}\n'
    (problem,) = problems_of(tmp_path, text)
    assert told in problem


@pytest.mark.parametrize(
    ("driver", "whole", "at"),
    [
        ("modbus", "", 'holding = 1, as = "u64"'),
        ("modbus", "", 'holding = 1, as = "f32"'),
        ("ble", "manufacturer = 7", "byte = 0"),
        ("mqtt", 'topic = "a/{serial}"', 'value = "v"'),
    ],
)
@pytest.mark.parametrize("words", ["scale = 1e300, offset = 0.5", "scale = 1e-300, offset = 1e300", "scale = 0.0"])
def test_a_scale_that_may_give_no_finite_number(tmp_path: Path, driver: str, whole: str, at: str, words: str) -> None:
    text = f'{HEAD}driver = "{driver}"\n[{driver}]\n{whole}\n[point.a]\ntype = "float"\nat = {{ {at}, {words} }}\n'
    (problem,) = problems_of(tmp_path, text)
    assert problem.startswith("p0.toml: point.a.at: ")
    assert "scale" in problem


def test_a_later_folder_replaces_and_names_choose(tmp_path: Path) -> None:
    good = HEAD + 'driver = "fake"\ntime_resolution_s = 0.5\n[point.a]\ntype = "int"\nat = {}\n'
    for name, kind in (("one", "first"), ("two", "second")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "p.toml").write_text(good.replace('"x"', f'"{kind}"'))
    (tmp_path / "one" / "broken.toml").write_text("nonsense")
    found: list[Problem] = []
    profiles = load_profiles([tmp_path / "one", tmp_path / "two"], found, ["p", "unknown"])
    assert not found
    assert profiles.keys() == {"p"}
    assert profiles["p"].kind == "second"
    assert profiles["p"].time_resolution_us == 500_000
    load_profiles([tmp_path / "none"], found)
    assert "no such folder" in found[0].text


def test_installed_packages_bring_protocols(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "lamplighter_knx-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: lamplighter-knx\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[lamplighter.drivers]\nknx = drivers.fake:PROTOCOL\nmqtt = nowhere:X\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.forget()
    assert set(registry.names()) == {"modbus", "mqtt", "ble", "fake", "knx"}
    knx, mqtt = registry.find("knx"), registry.find("mqtt")
    assert knx is not None
    assert mqtt is not None
    assert mqtt.name == "mqtt"  # ours cannot be replaced
    assert registry.find("opcua") is None
    registry.forget()


def test_asking_for_words_imports_no_library() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from drivers.profile_files import *; p = []; load_profiles([SHIPPED], p, ['lx-1', 'sp-1']); "
        "print([m for m in ('pymodbus', 'bleak', 'aiomqtt', 'jmespath') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_command_that_is_no_json_is_told(tmp_path: Path) -> None:
    text = (
        HEAD + 'driver = "mqtt"\n[mqtt]\ntopic = "a"\ncommand_topic = "b"\n'
        '[point.a]\ntype = "int"\nwritable = true\nat = { value = "x", command = \'{"a: $value\' }\n'
    )
    told = "p0.toml: point.a.at.command: is not JSON when a number stands for $value; write it like '{\"KEY\": $value}'"
    assert problems_of(tmp_path, text) == [told]


def test_a_file_whose_name_is_no_text_is_told(tmp_path: Path) -> None:
    import os

    for name in (b"caf\xe9.toml", b"two\nlines.toml"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:  # noqa: PTH118, PTH123
            file.write(b"kind = 'x'")
    found: list[Problem] = []
    assert load_profiles([tmp_path], found) == {}
    assert [p.text for p in found] == ["has a name that is no text; rename it"] * 2
    assert all(p.file.isascii() for p in found)


@pytest.mark.parametrize(
    "data", [b"kind = 'a\0'", b"x = " + b"[" * 9_999, b"a." * 9_999 + b"a = 1", b"k" * 999 + b" = 1", b"\xff"]
)
@pytest.mark.parametrize("driver", ["modbus", "mqtt", "ble"])
def test_a_profile_that_cannot_be_read_is_an_error_with_its_file(tmp_path: Path, driver: str, data: bytes) -> None:
    (tmp_path / "p.toml").write_bytes(f'driver = "{driver}"\n'.encode() + data)
    found: list[Problem] = []
    assert load_profiles([tmp_path], found) == {}
    assert [p.file for p in found] == [str(tmp_path / "p.toml")]


@pytest.mark.parametrize(
    ("driver", "at", "want"),
    [
        ("modbus", '{ holding = 0, as = "i16", invalid = [65535] }', "from -32768 to 32767; the same bits are -1;"),
        ("modbus", '{ holding = 0, as = "i32", invalid = [0xFFFFFFFF] }', "the same bits are -1;"),
        ("modbus", "{ holding = 0, invalid = [-32768] }", "no raw number of u16, which goes from 0 to 65535; the same"),
        ("modbus", "{ holding = 0, scale = 0.1, invalid = [0, 6553.5] }", "write it unscaled"),
        ("modbus", "{ holding = 0, invalid = [1e300] }", "write it unscaled"),
        ("modbus", '{ holding = 0, invalid = ["N/A"] }', "'N/A' is never what u16 holds"),
        ("modbus", "{ coil = 0, invalid = [2] }", "no raw number of u1,"),
        ("ble", '{ byte = 0, as = "i8", invalid = [255] }', "the same bits are -1;"),
        ("ble", '{ byte = 0, as = "i24", scale = 0.1, invalid = [0x800000] }', "the same bits are -8388608;"),
    ],
)
def test_a_missing_value_that_can_never_be_is_refused(tmp_path: Path, driver: str, at: str, want: str) -> None:
    whole = "[ble]\nmanufacturer = 7\n" if driver == "ble" else ""
    (problem,) = problems_of(tmp_path, f'{HEAD}driver = "{driver}"\n{whole}[point.a]\ntype = "float"\nat = {at}\n')
    assert "point.a.at: invalid: " in problem
    assert want in problem


def test_a_shared_subscription_is_refused(tmp_path: Path) -> None:
    whole = '[mqtt]\ntopic = "$share/nodes/bins/{serial}"\n'
    text = f'{HEAD}driver = "mqtt"\n{whole}[point.a]\ntype = "float"\nat = {{ value = "a" }}\n'
    (problem,) = problems_of(tmp_path, text)
    assert "mqtt.topic: is a shared subscription" in problem


@pytest.mark.parametrize("word", ["$share/nodes/bins", "$SYS/broker"])
def test_an_address_makes_no_shared_subscription_of_a_topic(word: str) -> None:
    with pytest.raises(ValueError, match=r"name must not contain \+ or #, nor begin with / or \$"):
        Address(name=word)


def test_if_then_else_is_told_as_jmespath_has_it(tmp_path: Path) -> None:
    text = f'{HEAD}driver = "mqtt"\n[mqtt]\ntopic = "x"\n[point.a]\ntype = "text"\nat = {{ value = "VALUE" }}\n'
    (problem,) = problems_of(tmp_path, text.replace("VALUE", "s == 'on' ? 'burning' : 'dark'"))
    assert "write a && b || c (if a then b, else c)" in problem
    (problem,) = problems_of(tmp_path, text.replace("VALUE", "s[?x == 'on'"))
    assert "a && b || c" not in problem, "a filter has a question mark too"
