"""Frames: what is kept of what devices and lines say to each other, and which bytes are called what."""

from __future__ import annotations

from itertools import pairwise

import pytest

from conformance.driver_rigs import LAMP, profile_of
from drivers.frames import EXCHANGES, FRAME_BYTES, LINE_FRAMES, Noted, Trace
from drivers.modbus.naming import named
from drivers.mqtt.places import places

PROFILE = profile_of("test-lamp", LAMP)
ASKED = bytes.fromhex("0103 0001 0003 543b")


def test_the_last_ones_are_kept_and_no_more() -> None:
    trace = Trace(["lamp"])
    for n in range(100):
        trace.note("lamp", n, "out", bytes([n]))
        trace.note("stranger", n, "out", b"x")
    assert [k.data[0] for k in trace.of("lamp")] == list(range(100 - 2 * EXCHANGES, 100))
    assert trace.of("stranger") == ()
    trace.note("lamp", 0, "in", bytes(10_000))
    assert len(trace.of("lamp")[-1].data) == FRAME_BYTES


def test_a_line_of_many_devices_keeps_fewer_of_each() -> None:
    trace = Trace(range(2_000))
    for n in range(2_000):
        for _ in range(50):
            trace.note(n, 0, "out", b"x")
    assert sum(len(trace.of(n)) for n in range(2_000)) <= LINE_FRAMES


def test_what_comes_in_pieces_is_one_frame_and_what_comes_again_is_another() -> None:
    trace = Trace([1])
    for data in (b"ab", b"abc", b"c", b"", b"xy"):
        trace.heard(1, 0, data)
    trace.note(1, 1, "out", b"?")
    trace.heard(1, 2, b"ab")
    assert [k.data for k in trace.of(1)] == [b"abc", b"xy", b"?", b"ab"]


def names(*frames: Noted, serial: bool = True) -> list[list[str]]:
    found = named(frames, PROFILE, serial=serial, to_us=5)
    assert [f.time_us for f in found] == [round(n.when * 1e6) + 5 for n in frames]
    for frame in found:
        where = [(f.first, f.length) for f in frame.fields]
        assert where == sorted(where)
        assert all(a + n <= b for (a, n), (b, _) in pairwise(where))
    return [[f.name for f in frame.fields] for frame in found]


def test_an_answer_is_named_by_its_question() -> None:
    answer = bytes.fromhex("0103 06 0009 028f 0000 aaaa")
    assert names(Noted(1.5, "out", ASKED, ""), Noted(1.6, "in", answer, "")) == [
        ["unit", "function", "start", "count", "checksum"],
        ["unit", "function", "size", "holding 1 on", "holding 2 level", "holding 3", "checksum"],
    ]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("0183 02 c0f1", ["unit", "function", "exception", "checksum"]),
        ("0203 06 0009 028f 0000 aaaa", ["unit", "function", "size", "checksum"]),  # another unit's
        ("0104 06 0009 028f 0000 aaaa", ["unit", "function", "size", "checksum"]),  # to another question
        ("0103 04 0009 028f aaaa", ["unit", "function", "size", "checksum"]),  # of another size
        ("01", []),
        ("", []),
    ],
)
def test_only_what_is_certain_of_an_answer_is_named(answer: str, said: list[str]) -> None:
    found = names(Noted(0, "out", ASKED, ""), Noted(0, "in", bytes.fromhex(answer), ""))
    assert found[1] == said


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ("0106 0002 0064 aaaa", ["unit", "function", "start", "holding 2 level", "checksum"]),
        ("0105 0002 ff00 aaaa", ["unit", "function", "start", "coil 2", "checksum"]),
        (
            "0110 0004 0002 04 0000 4241 aaaa",
            ["unit", "function", "start", "count", "size", "holding 4 power", "checksum"],
        ),
        ("0111 aaaa", ["unit"]),
    ],
)
def test_a_write_is_named_and_so_is_its_echo(frame: str, said: list[str]) -> None:
    data = bytes.fromhex(frame)
    assert names(Noted(0, "out", data, ""))[0] == said
    if data[1] in (5, 6):
        assert names(Noted(0, "out", data, ""), Noted(0, "in", data, ""))[1] == said
    over_tcp = bytes.fromhex("0001 0000 0006") + data[:-2]
    assert names(Noted(0, "out", over_tcp, ""), serial=False)[0] == [
        "transaction",
        "protocol",
        "length",
        *said[:-1],
    ] or (said == ["unit"])


def test_places_of_a_payload() -> None:
    payload = b' {"n": 17, "air": {"pm2_5": -8.1e2, "x": [true, "a\\"]b"]}, "\\u0061": null}'
    found = {k: payload[at : at + n] for k, (at, n) in places(payload).items()}
    assert found[("n",)] == b"17"
    assert found[("air", "pm2_5")] == b"-8.1e2"
    assert found[("air", "x", 0)] == b"true"
    assert found[("air", "x", 1)] == b'"a\\"]b"'
    assert found[("a",)] == b"null"
    assert found[()] == payload[1:]


@pytest.mark.parametrize("cut", range(40))
def test_a_payload_that_is_cut_has_the_places_before_that(cut: int) -> None:
    payload = b'{"n": 17, "fill": 43.5, "lid": "closed"}'
    found = places(payload[:cut])
    assert all(found[k] == places(payload)[k] for k in found if k and sum(found[k]) < cut)


@pytest.mark.parametrize("payload", [b"", b"{", b"[" * 100, b'{"a" 1}', b'{"a": 1 2}', b"{1: 2}", b'{"\\x": 1}', b"]"])
def test_what_is_no_json_has_no_places_and_raises_nothing(payload: bytes) -> None:
    assert () not in places(payload)
