"""What an unknown device is: every shipped profile and four others, each the first answer to what its model says."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping
from typing import Any

import pytest

from drivers.ble import guessing as ble
from drivers.modbus import guessing as modbus
from drivers.modbus.guessing import Answer, Place, Registers
from drivers.mqtt import guessing as mqtt
from drivers.profile_files import SHIPPED, load_profiles
from edge.identify.finding import MAX_FINDINGS, Finding, findings
from support import strangers
from support.strangers import LX1, SDM630, SPEAKING, all_profiles, all_strangers, read

PROFILES = all_profiles()
GUESSES: Mapping[str, Any] = {"modbus": modbus.guesses, "mqtt": mqtt.guesses, "ble": ble.guesses}
STRANGERS = all_strangers(PROFILES)


def found(protocol: str, evidence: Any) -> list[Finding]:
    return findings([p for p in PROFILES.values() if p.driver == protocol], GUESSES[protocol], evidence)


def told(all_: list[Finding]) -> str:
    return "\n".join(
        f"{f.profile} {f.bits} {f.kind} {f.fits}/{f.points} absent {f.absent} wrong {f.wrong}" for f in all_
    )


def test_every_profile_has_a_stranger() -> None:
    shipped = load_profiles([SHIPPED], [])
    assert {name for name, _, _ in STRANGERS} == PROFILES.keys()
    assert len(PROFILES.keys() - shipped.keys()) == 4


@pytest.mark.parametrize(("name", "protocol", "evidence"), STRANGERS, ids=[s[0] for s in STRANGERS])
def test_the_right_answer_is_the_first_and_sure(name: str, protocol: str, evidence: Any) -> None:
    answers = found(protocol, evidence)
    assert answers[0].profile == name, told(answers)
    assert answers[0].sure, told(answers)
    assert not answers[0].kind, told(answers)
    assert not answers[0].scales, answers[0].scales
    assert answers[0].fits == answers[0].points - len(answers[0].absent), told(answers)


def test_the_address_is_told_as_it_is_written() -> None:
    assert found("modbus", read(7, LX1, profiles=PROFILES))[0].address == {"unit": 7}
    assert found(*SPEAKING["bn-1"])[0].address == {"serial": "BN000001"}
    assert found(*SPEAKING["chirpstack-v4-lht65n"])[0].address == {"dev_eui": "a84041ffff1866c1"}
    assert found(*SPEAKING["ruuvitag-df5"])[0].address == {"mac": "C6:4C:50:00:00:01"}


def reordered(words: Mapping[Place, int], order: str) -> dict[Place, int]:
    """The same floats, two registers each, as a clone of the meter may send them."""
    made: dict[Place, int] = {}
    for space, where in words:
        if where % 2:
            continue
        high, low = words[space, where], words.get((space, where + 1), 0)
        if order in ("BADC", "DCBA"):
            high, low = (int.from_bytes(w.to_bytes(2, "little")) for w in (high, low))
        made[space, where], made[space, where + 1] = (low, high) if order in ("CDAB", "DCBA") else (high, low)
    return made


@pytest.mark.parametrize("order", ["CDAB", "BADC", "DCBA"])
@pytest.mark.parametrize("name", ["eastron-sdm630", "tm-3", "eastron-sdm120"])
def test_another_word_order_is_found_and_the_key_to_write_is_told(name: str, order: str) -> None:
    words = reordered(strangers.MODBUS[name], order)
    answers = found("modbus", read(3, words, profiles=PROFILES))
    best = answers[0]
    assert (best.profile, best.kind, best.changes) == (name, "order", {"order": order}), told(answers)
    assert best.written == {"order": "ABCD"}
    first = best.shown[0]
    assert first.unit in ("V", "Hz", "kW.h", "W", "A")
    assert isinstance(first.value, float)
    assert first.as_written != first.value


def moved(words: Mapping[Place, int], by: int) -> dict[Place, int]:
    return {(space, where + by): word for (space, where), word in words.items() if where + by >= 0}


def test_addresses_that_are_off_by_one_are_found() -> None:
    best = found("modbus", read(3, moved(SDM630, 1), profiles=PROFILES))[0]
    assert (best.profile, best.kind, best.changes) == ("eastron-sdm630", "shift", {"by": 1})


def test_holding_for_input_registers_is_found() -> None:
    words: dict[Place, int] = {("holding", where): word for (_, where), word in SDM630.items()}
    best = found("modbus", read(3, words, profiles=PROFILES))[0]
    assert (best.profile, best.kind, best.changes) == ("eastron-sdm630", "space", {"space": "holding"})


def test_a_scale_that_is_ten_times_off_is_told() -> None:
    words = {**LX1, ("holding", 6): 23}  # whole tens of volts
    best = found("modbus", read(3, words, profiles=PROFILES))[0]
    assert best.profile == "lx-1"
    pzem = {**strangers.PZEM, ("input", 7): 5000}
    best = found("modbus", read(3, pzem, profiles=PROFILES))[0]
    assert best.profile == "pzem-004t-v3"
    (scale,) = best.scales
    assert (scale.point, scale.value, scale.becomes, scale.times) == ("frequency", 500.0, 50.0, 0.1)


@pytest.mark.parametrize("seed", range(5))
def test_one_reading_in_three_may_be_noise(seed: int) -> None:
    draw = random.Random(seed)
    for name, words in strangers.MODBUS.items():
        noise = {place: draw.randrange(65536) for place in words}
        readings = [words, words, words]
        readings[seed % 3] = noise
        answers = found("modbus", read(7, *readings, profiles=PROFILES))
        assert answers[0].profile == name, (seed, told(answers))


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_sure_of_noise(seed: int) -> None:
    draw = random.Random(seed)
    for words in strangers.MODBUS.values():
        readings = [{place: draw.randrange(65536) for place in words} for _ in range(3)]
        answers = found("modbus", read(7, *readings, profiles=PROFILES))
        assert not any(a.sure for a in answers), (seed, told(answers))
        blank = {place: draw.choice([0, 0, 0, 0xFFFF]) for place in words}
        answers = found("modbus", read(7, blank, profiles=PROFILES))
        assert not any(a.sure for a in answers), (seed, told(answers))
    for company, kind, size in ((0x004C, 5, 24), (0x0499, 3, 24), (0x0499, 5, 12)):
        heard = strangers.seen(strangers.advert(bytes([kind]) + draw.randbytes(size - 1), company))
        assert not any(a.sure for a in found("ble", heard)), seed


@pytest.mark.parametrize("payload", [b"", b"{}", b"[1, 2]", b"\xff\x00", b'{"x": 1}', b"23.5", b"[" * 10_000, b"null"])
def test_publishes_of_nobody_are_nothing_sure(payload: bytes) -> None:
    assert not any(a.sure for a in found("mqtt", strangers.published("a/b", payload)))


def test_another_topic_is_no_hindrance_and_is_told() -> None:
    evidence = strangers.published("site-4/bins/7", SPEAKING["bn-1"][1].payloads[0])
    best = found("mqtt", evidence)[0]
    assert (best.profile, best.kind, best.changes) == ("bn-1", "topic", {"topic": "site-4/bins/7"})


def test_a_bare_answer_is_placed_by_its_size_and_values() -> None:
    data = struct.pack(">20H", *(LX1["holding", i] for i in range(20)))
    best = found("modbus", Answer(7, 3, data))[0]
    assert (best.profile, best.address) == ("lx-1", {"unit": 7})


def test_what_counts_up_is_steady_and_what_jumps_is_not() -> None:
    words = [{**SDM630, **strangers.floats(r72=1234.5 + n)} for n in range(3)]
    steady = found("modbus", read(7, *words, profiles=PROFILES))[0].bits
    jumping = [{**SDM630, **strangers.floats(r0=v)} for v in (230.0, 3.0, 480.0, 1.0)]
    assert found("modbus", read(7, *jumping, profiles=PROFILES))[0].bits < steady


def test_a_unit_that_refuses_everything_is_nobody() -> None:
    nothing = Registers(7, ({},), frozenset(read(7, {}, profiles=PROFILES).refused))
    assert found("modbus", nothing) == []


def bytes_of(words: Mapping[Place, int], space: Any, count: int) -> bytes:
    return struct.pack(f">{count}H", *(words[space, i] for i in range(count)))


def rtu(body: bytes) -> bytes:
    return body + modbus.checksum(body)


def test_the_checksum_is_that_of_the_specification() -> None:
    assert modbus.checksum(bytes.fromhex("0207")) == bytes.fromhex("4112")  # Modbus over Serial Line V1.02, 6.2.2


@pytest.mark.parametrize("carried", ["rtu", "question and answer", "tcp", "bare", "two frames"])
def test_a_pasted_frame_is_identified(carried: str) -> None:
    answer = bytes([7, 3, 40]) + bytes_of(LX1, "holding", 20)
    question = bytes.fromhex("0703 0000 0014")
    frames = {
        "rtu": [rtu(answer)],
        "question and answer": [rtu(question) + rtu(answer)],
        "tcp": [bytes.fromhex("0001 0000 002b") + answer],
        "bare": [answer],
        "two frames": [rtu(question), rtu(answer)],
    }[carried]
    (evidence,) = modbus.pasted(frames)
    assert found("modbus", evidence)[0].profile == "lx-1"
    assert mqtt.pasted(frames) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("02 01 06 1B FF 9904 05 12FC 5394 C37C 0004 FFFC 040C AC36 42 00CD CBB8334C884F", "ruuvitag-df5"),
        ("9904 05 12FC 5394 C37C 0004 FFFC 040C AC36 42 00CD CBB8334C884F", "ruuvitag-df5"),
        ("05 12FC 5394 C37C 0004 FFFC 040C AC36 42 00CD CBB8334C884F", "ruuvitag-df5"),
        ("020106 0E 16 D2FC 40 0009 0161 02CA09 03BF13", "bthome-v2"),
        ("07000000 24FA 8E0D 1A02 2C0B 01", "sp-1"),
    ],
)
def test_a_pasted_advert_is_identified(text: str, name: str) -> None:
    answers = [f for e in ble.pasted([bytes.fromhex(text)]) for f in found("ble", e)]
    assert max(answers, key=lambda f: f.bits).profile == name, told(answers)
    assert not modbus.pasted([bytes.fromhex(text)])


@pytest.mark.parametrize("seed", range(10))
def test_anything_may_be_pasted(seed: int) -> None:
    draw = random.Random(seed)
    data = draw.randbytes(draw.randrange(300))
    for protocol, pasted in (("modbus", modbus.pasted), ("mqtt", mqtt.pasted), ("ble", ble.pasted)):
        for evidence in pasted([data, rtu(data[:20])]):
            assert len(found(protocol, evidence)) <= MAX_FINDINGS
