"""Bytes and texts against the data sheets, worked out by hand or taken from the formats' own pages."""

from __future__ import annotations

import json
import struct

import pytest

from firmware_sim.devices.advert import Advert, long_uuid
from firmware_sim.devices.aq2 import Aq2
from firmware_sim.devices.bn1 import Bn1
from firmware_sim.devices.bthome import Bthome
from firmware_sim.devices.lx1 import Lx1
from firmware_sim.devices.ruuvitag import Ruuvitag
from firmware_sim.devices.sp1 import Sp1
from firmware_sim.devices.tm3 import Tm3
from firmware_sim.devices.uplink import decimals
from firmware_sim.faults import Faults
from firmware_sim.modbus_rtu import crc16, frame_length
from firmware_sim.physics.air import Corner
from firmware_sim.physics.bin import Bin
from firmware_sim.physics.lamp import Lamp
from firmware_sim.physics.noise import Noise
from firmware_sim.physics.soil import Soil
from firmware_sim.physics.tag import Tag
from firmware_sim.physics.world import World
from firmware_sim.registers import Field, decode_range, encode_table
from firmware_sim.scanners import Scanners

WORLD = World(1, 5.041, 47.322, 1.0)
NOISE = Noise(1, "one")
START_S = 1_795_000_000.0
NO_FAULTS = Faults((), lambda: 0.0)


def now_s() -> float:
    return START_S + 30.0


@pytest.mark.parametrize(
    ("field", "value", "words", "decoded"),
    [
        (Field("x", 0, "u16", 10), 23.45, [234], 23.4),
        (Field("x", 0, "u16"), 70_000, [0xFFFF], 65_535),
        (Field("x", 0, "u16"), -3, [0], 0),
        (Field("x", 0, "i16", 10), -12.3, [0xFF85], -12.3),
        (Field("x", 0, "i16", 10), -9_999.0, [0x8000], -3_276.8),
        (Field("x", 0, "u32"), 0x0001_0002, [1, 2], 0x0001_0002),
        (Field("x", 0, "f32"), 50.02, [0x4248, 0x147B], struct.unpack(">f", bytes.fromhex("4248147b"))[0]),
        (Field("x", 0, "f32_cdab"), 50.02, [0x147B, 0x4248], struct.unpack(">f", bytes.fromhex("4248147b"))[0]),
        (Field("x", 0, "enum", names=("automatic", "manual")), "manual", [1], "manual"),
    ],
)
def test_fields_encode_and_decode(field: Field, value: float, words: list[int], decoded: float) -> None:
    assert field.encode({"x": value}) == words
    assert field.decode(words) == {"x": decoded}


def test_only_values_wholly_inside_an_answer_count() -> None:
    table = (Field("a", 0, "u16"), Field("b", 1, "f32"), Field("c", 3, "bits", names=("d", "e")))
    words = encode_table(table, 5, {"a": 7, "b": 1.5, "d": False, "e": True})
    assert words == [7, 0x3FC0, 0, 2, 0]
    assert decode_range(table, 0, words) == {"a": 7, "b": 1.5, "d": False, "e": True}
    assert decode_range(table, 0, words[:2]) == {"a": 7}
    assert decode_range(table, 2, words[2:]) == {"d": False, "e": True}


def test_lx1_table_is_the_data_sheet_s() -> None:
    where = {field.name: (field.address, field.encoding, field.scale) for field in Lx1.table}
    assert where == {
        "model": (0, "u16", 1),
        "status": (1, "bits", 1),
        "dim_level": (2, "u16", 10),
        "dim_reached": (3, "u16", 10),
        "active_power": (4, "f32_cdab", 1),
        "supply_voltage": (6, "u16", 10),
        "supply_current": (7, "u16", 1),
        "driver_temperature": (8, "i16", 10),
        "power_factor": (9, "u16", 1_000),
        "active_energy": (10, "u32", 1),
        "operating_time": (12, "u32", 1),
        "mode": (14, "enum", 1),
        "answers": (16, "u32", 1),
        "passages": (18, "u16", 1),
        "firmware_version": (19, "u16", 1),
    }
    device = Lx1("lamp-001", Lamp(WORLD, NOISE, START_S, 0), NO_FAULTS, now_s)
    words = encode_table(device.table, device.size, {**device.measure(), "answers": 1})
    assert (words[0], words[15], words[16:18]) == (19_544, 0, [0, 1])


def test_tm3_values_lie_where_an_sdm630_has_them() -> None:
    names = {field.address: field.name for field in Tm3.table}
    expected = {0: "voltage_l1", 4: "voltage_l3", 6: "current_l1", 16: "active_power_l3", 52: "active_power"}
    expected |= {56: "apparent_power", 60: "reactive_power", 62: "power_factor", 70: "frequency"}
    assert expected.items() <= names.items()
    assert (names[72], names[74], names[98]) == ("energy_import", "energy_export", "answers")


def test_bin_payload_is_byte_for_byte_the_data_sheet_s() -> None:
    device = Bn1("bin-001", "BN000001", Bin(WORLD, NOISE, START_S), NO_FAULTS, now_s)
    values = {"fill_level": 43.46, "temperature": 12.25, "battery_voltage": 3.611, "tilted": False, "lid": "closed"}
    message = device.message(17, values)
    expected = b'{"n": 17, "fill": 43.5, "temp": 12.25, "bat": 3.61, "tilt": false, "lid": "closed"}'
    assert (device.topic, message.payload) == ("bins/BN000001/up", expected)
    assert message.points == {
        "n": 17, "fill_level": 43.5, "temperature": 12.25, "battery_voltage": 3.61, "tilted": False, "lid": "closed",
    }  # fmt: skip
    assert device.message(1, device.measure()).payload


def test_air_payload_is_byte_for_byte_the_data_sheet_s() -> None:
    device = Aq2("AQ000001", Corner(WORLD, NOISE), now_s)
    values = {"pm2_5": 8.1, "pm10": 14.2, "no2": 21.4, "temperature": 12.31, "relative_humidity": 71.5, "noise": 52.4}
    message = device.message(5, values)
    assert message.payload == (
        b'{"n": 5, "air": {"pm2_5": 8.1, "pm10": 14.2}, "gas": {"no2": 21.4}, '
        b'"climate": {"temp": 12.31, "rh": 71.5}, "noise": 52.4}'
    )
    assert message.points == {"n": 5, **values}
    assert json.loads(device.message(6, device.measure()).payload)["n"] == 6


@pytest.mark.parametrize(
    ("value", "places", "text"), [(43.0, 1, "43.0"), (-0.04, 1, "0.0"), (-0.06, 1, "-0.1"), (12.345, 2, "12.35")]
)
def test_numbers_are_printed_with_fixed_decimals(value: float, places: int, text: str) -> None:
    assert decimals(value, places) == (text, float(text))


def test_ruuvi_advert_is_the_format_page_s_test_vector() -> None:
    tag = Ruuvitag("CB:B8:33:4C:88:4F", Tag(WORLD, NOISE, START_S), now_s)
    values = {
        "temperature": 24.3, "relative_humidity": 53.49, "pressure": 100_044.0, "acceleration_x": 0.004,
        "acceleration_y": -0.004, "acceleration_z": 1.036, "battery_voltage": 2.977, "tx_power": 4,
        "movement_counter": 66,
    }  # fmt: skip
    advert = tag.advert(205, values)
    assert advert.manufacturer[0x0499].hex().upper() == "0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F"
    assert advert.points == {**values, "pressure": 100_044, "sequence": 205}
    fresh = tag.advert(206, tag.measure())
    assert len(fresh.manufacturer[0x0499]) == 24


def test_bthome_advert_is_the_format_page_s_layout() -> None:
    tag = Bthome("", Tag(WORLD, NOISE, START_S), now_s)
    advert = tag.advert(9, {"battery": 97.2, "temperature": 25.06, "relative_humidity": 50.55})
    assert advert.service_data == {0xFCD2: bytes.fromhex("40 0009 0161 02ca09 03bf13")}
    assert advert.points == {"packet_id": 9, "battery": 97, "temperature": 25.06, "relative_humidity": 50.55}
    assert long_uuid(0xFCD2) == "0000fcd2-0000-1000-8000-00805f9b34fb"


def test_soil_measurement_is_13_bytes_and_kept_for_its_interval() -> None:
    moment = [START_S]
    probe = Sp1("soil-001", Soil(WORLD, NOISE, START_S), NO_FAULTS, lambda: moment[0])
    values = {"soil_temperature": -1.5, "soil_moisture": 23.45, "conductivity": 512.3, "battery_voltage": 3.012}
    data, points = probe.measurement(3, {**values, "probe_fault": True})
    assert data.hex() == "03000000" + "6aff" + "2909" + "0002" + "c40b" + "01"
    assert points == {"answers": 3, **values, "conductivity": 512, "probe_fault": True}
    first = probe.measure()
    moment[0] += 9.0
    assert probe.measure() == first
    moment[0] += 2.0
    assert probe.measure() != first


def test_checksum_and_lengths_of_serial_frames() -> None:
    assert crc16(bytes.fromhex("010300000002")) == bytes.fromhex("c40b")
    assert crc16(bytes.fromhex("11050 0acff00".replace(" ", ""))) == bytes.fromhex("4e8b")
    assert frame_length(bytes.fromhex("0103")) == 8
    assert frame_length(bytes.fromhex("011000020001")) is None
    assert frame_length(bytes.fromhex("01100002000102")) == 11
    assert frame_length(bytes.fromhex("0141")) is None


def test_scanners_hear_what_they_asked_for() -> None:
    scanners = Scanners()
    ruuvi, home = Advert(manufacturer={0x0499: b"\x05\x00"}), Advert(service_data={0xFCD2: b"\x40"})
    assert not scanners.hear(ruuvi, -60)
    assert scanners.start(":1.1")
    assert not scanners.start(":1.1")
    assert scanners.hear(ruuvi, -60)
    scanners.filter(":1.1", ["7A1E0001-5a6d-4c61-9b7e-6c616d700001"], -70)
    assert not scanners.hear(ruuvi, -60)
    assert scanners.hear(Advert(uuids=("7a1e0001-5a6d-4c61-9b7e-6c616d700001",)), -60)
    assert not scanners.hear(Advert(uuids=("7a1e0001-5a6d-4c61-9b7e-6c616d700001",)), -80)
    scanners.left(":1.1")
    assert not scanners.discovering
    assert not scanners.watch(":1.2", "/m/1", [(0, 0xFF, b"\x99\x04\x05")])
    assert scanners.register(":1.2", "/m/1")
    assert scanners.watch(":1.2", "/m/1", [(0, 0xFF, b"\x99\x04\x05")])
    assert scanners.hear(ruuvi, -60)
    assert not scanners.hear(home, -60)
    assert scanners.unregister(":1.2", "/m/1")
    assert not scanners.hear(ruuvi, -60)
