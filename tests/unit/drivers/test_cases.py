"""Every shipped profile against captured or documented frames, with the values that the documents promise."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from drivers.ble.payload import Bytes
from drivers.ble.settings import full_uuid
from drivers.modbus.registers import Decoder, plan
from drivers.mqtt.payload import Payload
from drivers.profile import Profile
from drivers.profile_files import SHIPPED, load_profiles

CASES = sorted((Path(__file__).parent / "cases").glob("*/*.toml"))


@pytest.fixture(scope="module")
def profiles() -> dict[str, Profile]:
    problems: list[Any] = []
    loaded = load_profiles([SHIPPED], problems)
    assert not problems, "\n".join(map(str, problems))
    return loaded


def test_every_profile_has_a_case(profiles: dict[str, Profile]) -> None:
    assert set(profiles) == {c.parent.name for c in CASES}


def test_every_profile_names_its_source_and_labels(profiles: dict[str, Profile]) -> None:
    for profile in profiles.values():
        for point in profile.points.values():
            assert set(point.label) == {"en", "fr"}, (profile.name, point.name)


@pytest.mark.parametrize("path", CASES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_case(path: Path, profiles: dict[str, Profile]) -> None:
    case = tomllib.loads(path.read_text())
    profile = profiles[path.parent.name]
    want = {n: None if v == "null" else v for n, v in case["values"].items()}
    values, quality = _read(profile, case)
    assert values == want
    assert {n: type(v) for n, v in values.items()} == {n: type(v) for n, v in want.items()}
    assert quality == case.get("quality", {})


def _read(profile: Profile, case: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    values: dict[str, Any] = {}
    quality: dict[str, str] = {}
    match profile.driver:
        case "modbus":
            decoder = Decoder(profile)
            blocks = plan(profile, list(profile.points))
            for frame in case["frames"]:
                data = bytes.fromhex(frame["data"])
                at = (frame["space"], frame["start"])
                block = next(b for b in blocks if (b.space, b.start) == at)
                if block.count != len(data) // 2:  # a shorter answer: only the points that it covers
                    block = plan(
                        profile, [p.point for p in block.pieces if p.start + p.width <= at[1] + len(data) // 2]
                    )[0]
                decoder.read(block, data, values, quality)
        case "mqtt":
            reading = Payload(profile).read(case["payload"].encode())
            assert reading.packet == case.get("packet")
            assert reading.time_us == case.get("time_us")
            values, quality = dict(reading.values), dict(reading.quality)
        case _:
            data = bytes.fromhex(case["data"])
            reader = Bytes(profile)
            if (uuid := case.get("characteristic")) is not None:
                names = [n for n, a in profile.access.items() if full_uuid(a.characteristic) == uuid]
                reader.characteristic(names, data, values, quality)
            else:
                whole = profile.whole
                mine = reader.mine({whole.manufacturer: data}, {full_uuid(whole.service or "0000"): data})
                assert mine == data
                values, quality = reader.advert(data)
    return values, quality
