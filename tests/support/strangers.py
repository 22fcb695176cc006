"""Strangers: what devices say that nobody has told the node of, by the data sheets of their models.

Every shipped model, from the cases of its profile, and four whose profiles are not shipped.
"""

from __future__ import annotations

import struct
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drivers.ble.guessing import Advert, HeardAddress
from drivers.ble.settings import full_uuid
from drivers.modbus.guessing import Place, Registers
from drivers.mqtt.guessing import Published
from drivers.profile import Profile
from drivers.profile_files import SHIPPED, load_profiles

CASES = Path(__file__).parents[1] / "unit" / "drivers" / "cases"
NOT_SHIPPED = Path(__file__).parents[1] / "unit" / "edge" / "identify" / "profiles"


def all_profiles() -> dict[str, Profile]:
    problems: list[Any] = []
    found = load_profiles([SHIPPED, NOT_SHIPPED], problems)
    assert not problems, "\n".join(map(str, problems))
    return found


def floats(**at: float) -> dict[Place, int]:
    """f32 in input registers, high word first."""
    found: dict[Place, int] = {}
    for name, value in at.items():
        where = int(name.removeprefix("r"))
        found["input", where], found["input", where + 1] = struct.unpack(">HH", struct.pack(">f", value))
    return found


def words(space: Any, *values: int) -> dict[Place, int]:
    return {(space, i): value for i, value in enumerate(values)}


SDM120 = {
    **{("input", i): 0 for i in (*range(80), *range(84, 90), *range(342, 346))},
    **floats(
        r0=231.4, r6=0.437, r12=88.6, r18=101.1, r24=-48.7, r30=0.876, r70=49.98, r72=1520.3, r74=0.0, r342=1520.3
    ),
}
PZEM = words("input", 2307, 437, 0, 886, 0, 61230, 1, 500, 87, 0)
TASMOTA = (
    b'{"Time":"2024-03-18T09:12:45","ENERGY":{"TotalStartTime":"2023-01-01T00:00:00","Total":152.345,"Yesterday":0.532,'
    b'"Today":0.311,"Period":2,"Power":48,"ApparentPower":60,"ReactivePower":35,"Factor":0.80,"Voltage":231,'
    b'"Current":0.259}}'
)
PVVX = bytes.fromhex("563412 38C1A4") + struct.pack("<hHHBBB", 2213, 4850, 2957, 83, 17, 4)


def frames(name: str, case: str) -> Mapping[str, Any]:
    return tomllib.loads((CASES / name / f"{case}.toml").read_text())


def of_case(name: str, case: str) -> dict[Place, int]:
    """The registers of a case, as a device with the gaps between them reads them: as 0."""
    found: dict[Place, int] = {}
    for frame in frames(name, case)["frames"]:
        data = bytes.fromhex(frame["data"])
        found |= {
            (frame["space"], frame["start"] + i): value
            for i, value in enumerate(struct.unpack(f">{len(data) // 2}H", data))
        }
    return found


LX1 = of_case("lx-1", "dimmed")
TM3 = of_case("tm-3", "load")
SDM630 = of_case("eastron-sdm630", "load")
MODBUS = {"lx-1": LX1, "tm-3": TM3, "eastron-sdm630": SDM630, "eastron-sdm120": SDM120, "pzem-004t-v3": PZEM}


def read(unit: int, *readings: Mapping[Place, int], profiles: Mapping[str, Profile]) -> Registers:
    """What a unit with these registers answers to all that any profile would ask; it refuses what it does not have."""
    asked = {
        (a.space, a.where + i)
        for p in profiles.values()
        if p.driver == "modbus"
        for a in p.access.values()
        for i in range(-1, a.width + 1)
    }
    return Registers(unit, tuple(readings), frozenset(p for p in asked if p not in readings[0]))


def published(topic: str, *payloads: str | bytes) -> Published:
    return Published(topic, tuple(p.encode() if isinstance(p, str) else p for p in payloads))


def advert(data: str | bytes, manufacturer: int | None = None, service: str = "") -> Advert:
    data = bytes.fromhex(data) if isinstance(data, str) else data
    return Advert({} if manufacturer is None else {manufacturer: data}, {full_uuid(service): data} if service else {})


def seen(*adverts: Advert, characteristics: Mapping[str, bytes] = {}) -> HeardAddress:
    return HeardAddress("C6:4C:50:00:00:01", adverts, characteristics)


SP1 = frames("sp-1", "soil")
SPEAKING: dict[str, tuple[str, Any]] = {
    "bn-1": ("mqtt", published("bins/BN000001/up", frames("bn-1", "closed")["payload"])),
    "aq-2": ("mqtt", published("air/AQ000001/state", frames("aq-2", "air")["payload"])),
    "chirpstack-v4-lht65n": (
        "mqtt",
        published(
            "application/17c82e96-be03-4f38-aef3-f83d48582d97/device/a84041ffff1866c1/event/up",
            frames("chirpstack-v4-lht65n", "uplink")["payload"],
        ),
    ),
    "zigbee2mqtt-wsdcgq11lm": (
        "mqtt",
        published("zigbee2mqtt/quay", frames("zigbee2mqtt-wsdcgq11lm", "state")["payload"]),
    ),
    "tasmota-energy": ("mqtt", published("tele/plug-3/SENSOR", TASMOTA)),
    "ruuvitag-df5": ("ble", seen(advert(frames("ruuvitag-df5", "valid")["data"], 0x0499))),
    "bthome-v2": ("ble", seen(advert(frames("bthome-v2", "table")["data"], service="fcd2"))),
    "pvvx-thermometer": ("ble", seen(advert(PVVX, service="181a"))),
    "sp-1": ("ble", seen(characteristics={SP1["characteristic"]: bytes.fromhex(SP1["data"])})),
}


def all_strangers(profiles: Mapping[str, Profile]) -> Sequence[tuple[str, str, Any]]:
    """The profile that is right, the protocol, and what is heard."""
    found = [(name, "modbus", read(7, words, profiles=profiles)) for name, words in MODBUS.items()]
    return [*found, *((name, protocol, evidence) for name, (protocol, evidence) in SPEAKING.items())]
