"""Scenes: the shorthand, and everything wrong told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_sim.cli import MISUSED, OK, main
from firmware_sim.faults import Kind
from firmware_sim.scene import Scene, SceneError, load, parse

DEMO = Path(__file__).resolve().parents[3] / "examples" / "demo" / "scene.toml"
PLACE = "place = {lon = 5.041, lat = 47.322}\n"
LAMP = 'modbus_tcp = [{name = "north"}]\ndevice = [{model = "LX-1", id = "lamp-001", server = "north", unit = 1}]\n'
TWICE = LAMP.rstrip("]\n") + ', {model = "TM-3", id = "m", server = "north", unit = 1}]\n'


def problems(text: str) -> list[str]:
    with pytest.raises(SceneError) as caught:
        parse(text, "s.toml")
    return list(caught.value.problems)


def test_demo_scene_is_the_street_that_was_promised() -> None:
    scene = load(DEMO)
    counts = {
        model: len(scene.of((model,))) for model in ("LX-1", "TM-3", "BN-1", "AQ-2", "ruuvitag", "bthome", "SP-1")
    }
    assert counts == {"LX-1": 14, "TM-3": 1, "BN-1": 8, "AQ-2": 4, "ruuvitag": 2, "bthome": 2, "SP-1": 1}
    ids = [device.id for device in scene.devices]
    assert ids[:14] == [f"lamp-{number:03}" for number in range(1, 15)]
    assert len(set(ids)) == len(ids) == 32
    assert (scene.place.lon, scene.place.lat) == (5.041, 47.322)


def test_shorthand_counts_ids_units_serials_and_addresses() -> None:
    scene = parse(
        PLACE
        + """
        start = "2026-11-20T16:30:00+01:00"
        modbus_rtu = [{name = "line1"}]
        mqtt = {broker = "localhost:1883"}
        device = [
            {model = "LX-1", id = "l{n}", first = 9, count = 2, line = "line1", unit = 20},
            {model = "BN-1", id = "b{n:02}", count = 2, serial = "S{n:03}"},
            {model = "bthome", id = "t{n}", first = 15, count = 2, address = "C6:00:00:00:00:{n:02X}", every_s = 1},
        ]"""
    )
    assert [(device.id, device.bus, device.unit) for device in scene.devices[:2]] == [
        ("l9", "line/line1", 20),
        ("l10", "line/line1", 21),
    ]
    assert [device.serial for device in scene.of(("BN-1",))] == ["S001", "S002"]
    assert [device.address[-2:] for device in scene.of(("bthome",))] == ["0F", "10"]
    assert scene.start_s == 1_795_188_600.0
    assert scene.place.utc_offset_h == 0.0


def test_everything_wrong_is_told_at_once_with_file_key_and_remedy() -> None:
    found = problems(
        """
        sede = 3
        speed = -1
        start = "noon"
        place = {lon = 500}
        modbus_tcp = [{name = "north"}, {name = "north", port = 99999}]
        mqtt = {spawn = true, broker = "x"}
        device = [
            {model = "LX1", id = "a"},
            {model = "LX-1", id = "lamp", count = 2, server = "nort", unit = 247},
            {model = "BN-1", id = "b", serial = "no spaces", evry_s = 3},
        ]
        fault = [{device = "b", kind = "silent", at_s = -1}]
        """
    )
    expected = {
        "sede": 'did you mean "seed"?',
        "speed": "-1 is not a number from 0.001 to 100000",
        "start": 'is not "now" or a time with its offset',
        "place.lon": "500 is not a number from -180 to 180",
        "place.lat": "is missing; write a number from -90 to 90",
        "modbus_tcp[1].name": '"north" is taken',
        "modbus_tcp[1].port": "99999 is not a whole number from 0 to 65535",
        "mqtt.broker": "is not an address like",
        "device[0].model": 'did you mean "LX-1"?',
        "device[1].id": "put {n} or {n:03} into it",
        "device[1].server": 'there is no "nort"; did you mean "north"?',
        "device[1].count": "end beyond unit 247",
        "device[2].serial": "is not a serial like",
        "device[2].evry_s": 'did you mean "every_s"?',
        "fault[0].kind": 'did you mean "silence"?',
        "fault[0].for_s": "is missing",
    }
    for key, what in expected.items():
        assert any(line.startswith(f"s.toml: {key}: ") and what in line for line in found), (key, found)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("x = [", "is not TOML"),
        ("x = " + "[" * 20_000, "is not TOML"),
        ("x = " + "9" * 5_000, "is not TOML"),
        ("x = 'a\0b'", "is not TOML"),
        (PLACE, "a street needs at least one [[device]]"),
        (PLACE + "device = 3", "is not a list of tables; write [[device]]"),
        (PLACE + 'device = [{model = "BN-1", id = "b", serial = "S"}]', 'write spawn = true or broker = "host:port"'),
        (PLACE + LAMP + 'fault = [{device = "lamp-01", kind = "slow", at_s = 1, for_s = 1}]', 'mean "lamp-001"'),
        (PLACE + LAMP + 'fault = [{device = "lamp-001", kind = "slow", at_s = 1, for_s = 1}]', "delay_s: is missing"),
        (
            PLACE + LAMP + 'fault = [{device = "lamp-001", kind = "stuck", at_s = 1, for_s = 1, point = "x"}]',
            "is not one of",
        ),
        (PLACE + TWICE, "unit: 1 on server/north is already taken by lamp-001"),
        (
            PLACE + 'mqtt = {spawn = true}\ndevice = [{model = "AQ-2", id = "a", serial = "S"}]\n'
            'fault = [{device = "a", kind = "exception", at_s = 0, for_s = 1}]',
            'a AQ-2 cannot have "exception"',
        ),
    ],
)
def test_single_problems(text: str, what: str) -> None:
    assert any(what in line for line in problems(text))


def test_same_id_or_address_twice_is_refused() -> None:
    found = problems(
        PLACE
        + """device = [
            {model = "bthome", id = "t", address = "C6:00:00:00:00:01"},
            {model = "ruuvitag", id = "t", address = "C6:00:00:00:00:01"},
        ]"""
    )
    assert len(found) == 2
    assert "device[1].id: t is already taken by t (device[0])" in found[0]


def test_faults_are_read_with_their_parameters() -> None:
    scene: Scene = parse(
        PLACE
        + LAMP
        + """fault = [
            {device = "lamp-001", kind = "slow", at_s = 1, for_s = 2, delay_s = 0.5},
            {device = "lamp-001", kind = "exception", at_s = 1, for_s = 2, code = 6},
            {device = "lamp-001", kind = "stuck", at_s = 1, for_s = 2, point = "active_power"},
            {device = "lamp-001", kind = "reboot", at_s = 1, for_s = 2, reset_counters = true},
        ]"""
    )
    slow, exception, stuck, reboot = scene.faults
    assert (slow.kind, slow.delay_s) == (Kind.SLOW, 0.5)
    assert (exception.code, stuck.point, reboot.reset_counters) == (6, "active_power", True)


def test_check_tells_good_from_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("seed = 'x'\nspeed = 0\n")
    assert main(["check", str(bad)]) == MISUSED
    assert len(capsys.readouterr().err.splitlines()) >= 3
    assert main(["check", str(tmp_path / "none.toml")]) == MISUSED
    assert main(["check", str(DEMO)]) == OK
    assert "32 devices" in capsys.readouterr().out
