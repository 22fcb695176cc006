from __future__ import annotations

import random
import time
from array import array
from collections.abc import Sequence
from math import inf, nan
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import pytest
import zstandard
from cddl_verifier import Validator
from hypothesis import given, settings
from hypothesis import strategies as st

import wire.codec
from support.examples import many
from support.samples import batches, shown
from wire import chain, codec
from wire.batch import ORIGIN, Ack, Batch, Lane, Placed, Predecessor, Snapshot
from wire.columns import Columns
from wire.entries import Gap, Unknown
from wire.errors import BadInput, Malformed, TooLarge, Unsupported
from wire.frame import dumps
from wire.frame import squeeze as sealed
from wire.sample import Clock, Sample

SCHEMA = Validator((Path(wire.codec.__file__).parent / "schema.cddl").read_text())


def schema_says(data: bytes, kind: str) -> list[str]:
    """What somebody else's validator finds wrong with CBOR of ours."""
    return [str(d) for d in SCHEMA.validate(data, kind).diagnostics]


def plain(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data)


def squeeze(body: object) -> bytes:
    return zstandard.ZstdCompressor().compress(body if isinstance(body, bytes) else dumps(body))


def by_place(entries: Sequence[Placed]) -> dict[int, str]:
    """What stands at each place; a gap and all else that is no sample stands at its first."""
    found: dict[int, str] = {}
    for item in entries:
        if isinstance(item.entry, Columns):
            samples = item.entry.samples()
            assert len(item.places) == len(samples)
            found.update(zip(item.places, (shown(s) for s in samples), strict=True))
        else:
            found[item.places[0]] = repr(item.entry)
    return found


@pytest.mark.slow
@given(batches())
@settings(max_examples=many(100), deadline=None)
def test_a_batch_comes_back_as_it_went_and_is_what_the_schema_says(batch: Batch) -> None:
    data = codec.encode_batch(batch)
    assert schema_says(plain(data), "batch") == []
    back = codec.decode_batch(data)
    for field in set(Batch.__struct_fields__) - {"entries"}:
        assert getattr(back, field) == getattr(batch, field)
    assert by_place(back.entries) == by_place(batch.entries)


@pytest.mark.slow
@given(batches())
@settings(max_examples=many(50), deadline=None)
def test_encoding_what_was_decoded_gives_the_same_bytes(batch: Batch) -> None:
    data = codec.encode_batch(batch)
    assert codec.encode_batch(codec.decode_batch(data)) == data


@pytest.mark.slow
@given(batches())
@settings(max_examples=many(100), deadline=None)
def test_a_batch_that_is_reopened_is_the_one_that_was_decoded(batch: Batch) -> None:
    data = codec.encode_batch(batch)
    decoded, back = codec.decode_batch(data), codec.reopen_batch(data)
    for field in set(Batch.__struct_fields__) - {"entries"}:
        assert getattr(back, field) == getattr(decoded, field)
    assert by_place(back.entries) == by_place(decoded.entries)


def test_what_is_reopened_is_looked_at_where_nothing_says_that_it_is_still_the_same() -> None:
    wrong = entries(table(cells=[[[1, array("B", [1, 2])]]]))  # two values for one sample
    for body in (squeeze(wrong), b"", b"no frame", zstandard.ZstdCompressor(write_checksum=True).compress(b"no CBOR")):
        with pytest.raises(BadInput):
            codec.reopen_batch(body)
    whole = sealed(dumps(entries(SIMPLE)))
    said = by_place(codec.decode_batch(whole).entries)
    refused = 0
    for at in range(len(whole)):
        try:
            assert by_place(codec.reopen_batch(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]).entries) == said
        except BadInput:
            refused += 1
    assert refused > len(whole) - 5, "some bits of a frame say nothing"


@given(st.binary(max_size=200))
def test_any_bytes_are_either_read_or_refused(data: bytes) -> None:
    for body in (data, squeeze(data)):
        with pytest.raises(BadInput):
            codec.decode_batch(body)


@pytest.mark.slow
@given(batches(), st.data())
@settings(max_examples=many(300), deadline=None)
def test_a_flipped_byte_is_either_harmless_or_refused(batch: Batch, data: st.DataObject) -> None:
    body = bytearray(plain(codec.encode_batch(batch)))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        back = codec.decode_batch(squeeze(bytes(body)))
    except BadInput:
        return
    for placed in back.entries:
        if isinstance(placed.entry, Columns):
            placed.entry.samples()  # whatever was let in can be read


def test_a_body_that_is_damaged_on_the_way_is_refused_or_says_the_same() -> None:
    """Each bit of it: a value that is another would still be a value, so only the frame's checksum can tell."""
    sample = Sample("lamp", 1_790_000_000_000_000, Clock(1, synced=True), {"level": 40, "text": "x" * 40})
    batch = Batch(
        node="n", epoch=1, lane=Lane.BULK, first_seq=1, through_seq=1, prev=ORIGIN, digest=ORIGIN, held_from=1,
        head_seq=1, entries=[Placed((0,), Columns.of([sample]))],
    )  # fmt: skip
    good = codec.encode_batch(batch)
    refused = 0
    for at in range(len(good)):
        for bit in range(8):
            body = bytearray(good)
            body[at] ^= 1 << bit
            try:
                codec.decode_batch(bytes(body))
            except BadInput:
                refused += 1
            else:
                assert plain(bytes(body)) == plain(good), (at, bit)
    assert refused > 7 * len(good)


def entries(*items: list[Any], **more: Any) -> dict[str, Any]:
    """A body of tables and other entries, which begin with their type."""
    base = {
        "v": 1,
        "node": "n",
        "epoch": 1,
        "lane": "bulk",
        "first_seq": 1,
        "through_seq": 1,
        "prev": ORIGIN,
        "digest": ORIGIN,
        "held_from": 1,
        "head_seq": 1,
        "clocks": [[1, True]],
        "seated": False,
        "tables": [i for i in items if not (i and isinstance(i[0], str))],
        "entries": [i for i in items if i and isinstance(i[0], str)],
    }
    return {**base, **more}


ALARM = {
    "id": "a", "device": "d", "rule": "r", "severity": "high", "state": "raised", "raised_us": 1, "time_us": 1,
}  # fmt: skip
GAP = {"reason": "x", "lost": 1}
HUGE = 2**50


def table(
    *,
    clock: Any = 0,
    points: Any = ("a",),
    devices: Any = ("d",),
    counts: Any = (0, 1),
    order: Any = (0, 0),
    times: Any = (1, [0, 5]),
    cells: Any = (([0, 1],),),
) -> list[Any]:
    """One sample of one device, or whatever else is said."""
    return [clock, points, devices, counts, order, times, cells]


SIMPLE = table()
BOTH = {"devices": ["d", "e"], "counts": [0, 1]}


def test_a_batch_from_a_newer_writer_is_read_without_what_it_added() -> None:
    newer = entries(
        [*table(times=[1, [0, 5], "more"], cells=[[[0, 1], None, [], "more"]]), "more"],
        ["weather", 1, {"of": "tomorrow"}, "more"],
        ["gap", 2, {"reason": "x", "lost": 1, "seqs": 2, "why": 7}],
        clocks=[[1, True, "more"]],
        through_seq=4,
        added={"x": 1},
    )
    assert schema_says(cbor2.dumps(entries(*newer["tables"], newer["entries"][1], through_seq=3)), "batch") == []
    for back in (codec.decode_batch(squeeze(newer)), codec.reopen_batch(sealed(dumps(newer)))):
        columns, weather, gap = (p.entry for p in back.entries)
        assert isinstance(columns, Columns)
        assert columns.samples() == [Sample("d", 5, Clock(1, synced=True), {"a": 1})]
        assert weather == Unknown("weather")
        assert gap == Gap(reason="x", lost=1, seqs=2)


PREDECESSOR = {"epoch": 7, "through_seq": 40, "digest": ORIGIN}


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (None, None),
        (PREDECESSOR, Predecessor(7, 40, ORIGIN)),
        ({**PREDECESSOR, "whole": False}, Predecessor(7, 40, ORIGIN, whole=False)),
        ({**PREDECESSOR, "added": "later"}, Predecessor(7, 40, ORIGIN)),
    ],
)
def test_a_run_says_what_came_before_it(said: object, read: object) -> None:
    body = {**entries(SIMPLE), "predecessor": said}
    assert schema_says(cbor2.dumps(body), "batch") == []
    assert codec.decode_batch(squeeze(body)).predecessor == read


def test_a_node_that_cannot_say_what_came_before_is_not_taken_for_one_that_knows_of_nothing() -> None:
    assert codec.decode_batch(squeeze(entries(SIMPLE))).predecessor is msgspec.UNSET


@pytest.mark.parametrize(
    "said",
    [7, "none", [], {}, {**PREDECESSOR, "digest": b"short"}, {**PREDECESSOR, "through_seq": -1},
     {**PREDECESSOR, "epoch": 2**63}, {**PREDECESSOR, "epoch": True}, {**PREDECESSOR, "whole": 1}],
)  # fmt: skip
def test_a_predecessor_that_cannot_be_is_refused(said: object) -> None:
    body = {**entries(SIMPLE), "predecessor": said}
    with pytest.raises(Malformed):
        codec.decode_batch(squeeze(body))
    assert schema_says(cbor2.dumps(body), "batch")


def test_the_schema_can_say_no() -> None:
    for broken in (
        entries(SIMPLE, lane="express"),
        entries(SIMPLE, seated=0),
        entries([9]),
        entries(SIMPLE[:6]),
        entries(table(devices=[])),
        entries(table(points=[""])),
        entries(table(counts=[4, 1, [0, 1]])),
        entries(table(counts=[3, 1, 1])),
        entries(table(order=[3, [3, [3, [0, 1], 1], 1], 1])),
        entries(table(times=[7, [0, 5]])),
        entries(table(cells=[[[10, 1]]])),
        {**entries(SIMPLE), "epoch": "x"},
        {k: v for k, v in entries(SIMPLE).items() if k != "tables"},
    ):
        assert schema_says(cbor2.dumps(broken), "batch")


def test_another_version_is_refused_with_what_is_accepted() -> None:
    with pytest.raises(Unsupported) as caught:
        codec.decode_batch(squeeze(entries(SIMPLE, v=2)))
    assert caught.value.accepts == codec.ACCEPTS


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (entries(SIMPLE, node=""), "name"),
        (entries(SIMPLE, lane="express"), "lane"),
        (entries(SIMPLE, epoch=-1), "epoch"),
        (entries(SIMPLE, epoch=True), "epoch"),
        (entries(SIMPLE, prev=b"short"), "digest"),
        (entries(SIMPLE, through_seq=2), "fill"),
        (entries(SIMPLE, SIMPLE), "fill"),
        (entries(table(counts=[0, 2], order=[3, [0, 0], 2]), through_seq=2, seated=True), "empty or taken"),
        (entries(table(order=[0, 1]), seated=True), "empty or taken"),
        (entries(SIMPLE, SIMPLE, through_seq=2, seated=True), "taken twice"),
        (entries(table(**BOTH), through_seq=2, seated=True), "taken twice"),
        (entries(table(**BOTH), ["gap", 1, GAP], through_seq=3, seated=True), "taken twice"),
        (entries(table(counts=[0, 3], order=[3, [0, 1], -1]), through_seq=3, seated=True), "bounds"),
        (
            entries(table(counts=[0, 2], order=[3, [0, 0], 1]), ["gap", 1, GAP], through_seq=3, seated=True),
            "taken twice",
        ),
        (entries(SIMPLE, ["gap", 0, {**GAP, "seqs": 2}], ["gap", 1, GAP], through_seq=4), "taken twice"),
        (entries(SIMPLE, ["gap", 1, {**GAP, "seqs": 2}], through_seq=2), "fill"),
        (entries(SIMPLE, ["gap", 2, GAP], through_seq=2), "beyond"),
        (entries(SIMPLE, ["gap", 2, GAP], through_seq=2, seated=True), "beyond"),
        (
            entries(["gap", HUGE, {**GAP, "seqs": HUGE}], ["gap", HUGE, {**GAP, "seqs": HUGE}], through_seq=2 * HUGE),
            "twice",
        ),
        (
            entries(
                ["gap", HUGE, {**GAP, "seqs": HUGE}],
                ["gap", HUGE, {**GAP, "seqs": HUGE}],
                through_seq=2 * HUGE,
                seated=True,
            ),
            "empty",
        ),
        (entries(table(order=[0, -1])), "bounds"),
        (entries(table(order=[0, 2**53 + 1])), "bounds"),
        (entries(table(counts=[0, 2], order=[3, [0, 2**53], 1]), through_seq=2), "bounds"),
        (entries(table(order=[5, array("f", [0])])), "put together"),
        (entries(table(points=["a", "a"], cells=[[[0, 1]]] * 2)), "twice"),
        (entries(table(clock=1)), "clock"),
        (entries(table(clock=-1)), "clock"),
        (entries(SIMPLE, clocks=[[1]]), "clock"),
        (entries(SIMPLE, seated=1), "seated"),
        (entries(SIMPLE, tables=7), "tables"),
        (entries(table(cells=[])), "cells"),
        (entries(SIMPLE[:6]), "table"),
        (entries([]), "table"),
        (entries(tables=[7]), "table"),
        (entries(tables=[["columns"]]), "table"),
        (entries(table(points={"a": 1})), "table"),
        (entries(table(devices=[])), "no device"),
        (entries(table(devices=[""])), "device"),
        (entries(table(devices=["d" * 201])), "device"),
        (entries(table(devices=[1])), "device"),
        (entries(table(points=["p" * 201])), "point"),
        (entries(table(counts=[0, 0])), "bounds"),
        (entries(table(counts=[0, -1])), "bounds"),
        (entries(table(devices=["d", "e"], counts=[1, array("B", [1, 0])])), "bounds"),
        (entries(table(devices=["d", "e"], counts=[1, array("B", [1])])), "put together"),
        (entries(table(devices=["d"], counts=[1, array("B", [1, 1])])), "put together"),
        (entries(table(devices=["d", "e"], counts=[3, [0, 1], -1])), "bounds"),
        (entries(table(counts=[6, array("d", [1])])), "put together"),
        (entries(table(counts=7)), "vector"),
        (entries(table(times=[7, [0, 5]])), "unit"),
        (entries(table(times=[1])), "table"),
        (entries(table(times=[1, [0, 2**52 + 1]])), "bounds"),
        (entries(table(times=[1_000_000, [0, 2**52 // 1_000_000 + 1]])), "bounds"),
        (entries(table(counts=[0, 2], times=[1, [3, [0, 2**52], 1]]), through_seq=2), "bounds"),
        (entries(table(counts=[0, 2], times=[1, [2, [0, 2**52], array("B", [1])]]), through_seq=2), "bounds"),
        (entries(table(counts=[0, 2], cells=[[[3, [0, 2**64 - 1], 1]]]), through_seq=2), "bounds"),
        (entries(table(counts=[0, 2], cells=[[[2, [0, 2**64 - 1], array("B", [1])]]]), through_seq=2), "bounds"),
        (entries(table(counts=[0, 2], cells=[[[4, 0, [3, [0, 2**53], 1]]]]), through_seq=2), "bounds"),
        (entries(table(counts=[0, 2], cells=[[[4, 0, [2, [0, 2**53], array("B", [1])]]]]), through_seq=2), "bounds"),
        (entries(table(counts=[0, 2], cells=[[[2, [1, array("B", [1])], array("B", [1])]]]), through_seq=2), "put tog"),
        (entries(table(**BOTH, cells=[[[2, [1, array("B", [1])], array("B")]]]), through_seq=2), "put together"),
        (entries(table(**BOTH, cells=[[[2, [4, 1, [0, 1]], array("B")]]]), through_seq=2), "put together"),
        (entries(table(**BOTH, cells=[[[3, [3, [3, [0, 1], 1], 1], 1]]]), through_seq=2), "put together"),
        (entries(table(**BOTH, cells=[[[3, 1, 1]]]), through_seq=2), "vector"),
        (entries(table(cells=[[[0, 1], b"\x00"]])), "presence"),
        (entries(table(cells=[[[0, 1], b"\x02"]])), "presence"),
        (entries(table(cells=[[[0, 1], b"\x01\x01"]])), "presence"),
        (entries(table(**BOTH, cells=[[[0, 1], b"\x01\x00"]]), through_seq=2), "presence"),
        (entries(table(cells=[[[0, 1], None, [[0, 2, "bad"]]]])), "qualities"),
        (entries(table(cells=[[[0, 1], None, [[0, 0, "bad"]]]])), "qualities"),
        (entries(table(cells=[[[0, 1], 1]])), "cell"),
        (entries(table(cells=[[]])), "cell"),
        (entries(["gap", 0, {"reason": "x"}]), "gap"),
        (entries(["gap", 0, {"reason": "x", "lost": 1, "seqs": 0}]), "gap"),
        (entries(["alarm", -1, {}]), "place"),
        (entries(), "fill"),
        (entries(entries=[7]), "entry"),
        (entries(["alarm"]), "entry"),
        ([1], "map"),
        (entries(SIMPLE, x=cbor2.CBORTag(35, "(a+)+")), "tag"),
        (entries(SIMPLE, x=cbor2.CBORTag(2, b"\x01" * 9)), "tag"),
        (entries(SIMPLE, x=cbor2.CBORTag(77, b"\x01" * 3)), "tag"),
        (entries(SIMPLE, x=cbor2.CBORTag(99999, 1)), "tag"),
        ({1: 2}, "CBOR"),
    ],
)
def test_what_is_wrong_is_named(body: Any, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        codec.decode_batch(squeeze(body))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xa2\x61v\x01\x61v\x01", "CBOR"),  # a key twice
        (b"\xbf\x61v\x01\xff", "CBOR"),  # an indefinite length
        (b"\x81" * 40 + b"\x01", "CBOR"),  # too deep
        (b"\xa1\x61v\x9a\xff\xff\xff\xff", "CBOR"),  # a length that is not there
        (b"\xa1\x61v\x01\x00", "follow"),
        (b"", "CBOR"),
    ],
)
def test_hostile_cbor(data: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        codec.decode_batch(squeeze(data))


def test_hostile_zstd() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(codec.MAX_PLAIN_BYTES + 1))
    assert len(bomb) < 10_000
    with pytest.raises(TooLarge):
        codec.decode_batch(bomb)
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(b"x")
    with pytest.raises(Malformed, match="size"):
        codec.decode_batch(unsized)
    whole = squeeze(entries(SIMPLE))
    for broken in (whole[:-1], whole + b"x", whole + whole, b"", b"PK\x03\x04"):
        with pytest.raises(Malformed):
            codec.decode_batch(broken)
    with pytest.raises(TooLarge):
        codec.decode_batch(bytes(codec.MAX_BODY_BYTES + 1))


ENDLESS = 3_000_000
HALF = 300_000


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (  # more samples than may be, said in a few bytes
            entries(table(counts=[0, ENDLESS]), through_seq=ENDLESS),
            "bounds",
        ),
        (  # of many devices
            entries(table(devices=["d"] * 9, counts=[0, HALF]), through_seq=9 * HALF),
            "readings",
        ),
        (  # of many points
            entries(table(points=["a", "b"], counts=[0, HALF], cells=[[[0, 1]]] * 2), through_seq=HALF),
            "readings",
        ),
        (  # without any point
            entries(table(points=[], cells=[], devices=["d"] * 2, counts=[0, HALF]), through_seq=2 * HALF),
            "readings",
        ),
        (  # two tables whose places interleave
            entries(
                table(counts=[0, HALF], order=[3, [0, 0], 2], times=[1, [3, [0, 0], 1]]),
                table(counts=[0, HALF], order=[3, [0, 1], 2], times=[1, [3, [0, 0], 1]]),
                through_seq=2 * HALF,
                seated=True,
            ),
            "readings",
        ),
        (  # one long text, many times
            entries(table(counts=[0, HALF], cells=[[[0, "x" * 4000]]]), through_seq=HALF),
            "stood by itself",
        ),
        (  # some long texts, many times
            entries(table(counts=[0, HALF], cells=[[[8, ["x" * 4000, "y"], [0, 0]]]]), through_seq=HALF),
            "stood by itself",
        ),
        (  # one long name, many times
            entries(table(points=["n" * 200], counts=[0, HALF]), through_seq=HALF),
            "stood by itself",
        ),
        (  # one long name, of many devices
            entries(table(points=["n" * 200], devices=["d"] * 99, counts=[0, 4000]), through_seq=99 * 4000),
            "stood by itself",
        ),
        (  # one long quality, many times
            entries(table(counts=[0, HALF], cells=[[[0, 1], None, [[0, HALF, "bad:" + "x" * 116]]]]), through_seq=HALF),
            "stood by itself",
        ),
    ],
)
def test_a_small_body_cannot_claim_endless_readings(body: Any, why: str) -> None:
    data = squeeze(body)
    assert len(data) < 400
    with pytest.raises((TooLarge, Malformed), match=why):
        codec.decode_batch(data)


@pytest.mark.parametrize(
    "body",
    [
        entries(table(devices=["d"] * 100_001), through_seq=100_001),
        entries(table(devices=["d"] * 60_000), table(devices=["d"] * 60_000), through_seq=120_000),
        entries(table(devices=["d"] * 60_000), *[["x", n, 0] for n in range(60_000)], through_seq=120_000),
    ],
)
def test_there_are_not_endless_entries(body: Any) -> None:
    noise = random.Random(1).randbytes(20_000)  # what is small may not grow large
    with pytest.raises(TooLarge, match="entries"):
        codec.decode_batch(squeeze({**body, "noise": noise}))


@pytest.mark.parametrize(
    "cell",
    [
        [[2, [2, [0, 0], array("B", [1] * 9_999)], array("B", [1] * 10_000)]],
        [[2, [0, 0], array("B", [1] * 19_999)], b"\x01" * 20_000],
        [[0, 1], None, [[n, 1, "bad"] for n in range(20_000)]],
    ],
)
def test_many_devices_cost_as_much_as_each_of_them(cell: Any) -> None:
    """Not as much as each with each: that took minutes."""
    body = entries(table(devices=["d"] * 10_000, counts=[0, 2], cells=[cell]), through_seq=20_000)
    began = time.process_time()
    total = 0
    for item in codec.decode_batch(squeeze(body)).entries:
        assert isinstance(item.entry, Columns)
        total += len(item.entry.samples())
    assert total == 20_000
    assert time.process_time() - began < 5


def test_a_device_may_come_twice_in_a_table() -> None:
    body = entries(table(devices=["d", "d"], times=[1, [1, array("B", [5, 6])]]), through_seq=2)
    one, other = codec.decode_batch(squeeze(body)).entries
    assert (list(one.places), list(other.places)) == ([0], [1])
    assert [list(e.entry.times) for e in (one, other) if isinstance(e.entry, Columns)] == [[5], [6]]


def test_samples_take_the_places_that_are_left() -> None:
    body = entries(
        table(devices=["b", "a"], counts=[0, 2], order=[1, array("B", [0, 2, 0, 1])]),
        table(devices=["b"], clock=1, counts=[0, 1], order=[0, 0]),
        ["gap", 1, {**GAP, "seqs": 2}],
        ["gap", 5, GAP],
        clocks=[[2, True], [1, True]],
        through_seq=8,
    )
    b, a, first, *_ = codec.decode_batch(squeeze(body)).entries
    # row 0: a, then b by its earlier clock, then b; row 1: a; row 2: b
    assert (list(a.places), list(first.places), list(b.places)) == ([0, 6], [3], [4, 7])


def test_a_frame_that_grows_too_much_is_refused() -> None:
    data = squeeze({"v": 1, "x": [[]] * 1_000_000})
    assert len(data) < 4_000
    with pytest.raises(TooLarge, match="decompressed"):
        codec.decode_batch(data)


@pytest.mark.parametrize(
    "body",
    [
        entries(table(counts=[0, True])),
        entries(table(times=[True, [0, 5]])),
        entries(table(times=[1, [0, True]])),
        entries(table(clock=False)),
        entries(table(order=[0, False])),
        entries(table(order=[False, 0])),
        entries(table(cells=[[[0, 1], None, [[False, True, "bad"]]]])),
        entries(SIMPLE, clocks=[[True, True]]),
    ],
)
def test_a_boolean_is_no_integer(body: Any) -> None:
    with pytest.raises(Malformed):
        codec.decode_batch(squeeze(body))


@pytest.mark.parametrize(
    "entry",
    [
        ["gap", 0, {"reason": "x" * 2001, "lost": 1}],
        ["gap", 0, {"reason": "x", "lost": 1, "devices": ["d"] * 1001}],
        ["health", 0, {"time_us": 1, "verdict": "ok", "reasons": ["x"] * 51}],
        ["alarm", 0, {**ALARM, "detail": "x" * 2001}],
        ["roster", 0, {"devices": [{"id": "x" * 201, "kind": "k", "profile": "p"}], "profiles": {}}],
    ],
)
def test_texts_that_are_no_values_have_bounds_too(entry: list[Any]) -> None:
    with pytest.raises(Malformed):
        codec.decode_batch(squeeze(entries(entry)))


def test_an_ack_comes_back_and_is_what_the_schema_says() -> None:
    ack = Ack(
        generation=3, epoch=2**62, lane=Lane.URGENT, through_seq=9, digest=ORIGIN, accepts=(1,), server_us=5, live_s=30
    )
    data = codec.encode_ack(ack)
    assert schema_says(data, "ack") == []
    assert codec.decode_ack(data) == ack
    for wrong in (b"<html>", b"", cbor2.dumps({}), data + b"\x00", bytes(5000)):
        with pytest.raises(BadInput):
            codec.decode_ack(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"generation": 2**63},
        {"generation": -1},
        {"epoch": 2**63},
        {"through_seq": 2**63},
        {"through_seq": -1},
        {"head_seq": 2**63},
        {"server_us": -1},
        {"server_us": 2**52},
        {"pause_s": nan},
        {"live_s": inf},
        {"held_s": -inf},
    ],
)
def test_an_ack_with_a_number_that_cannot_be_is_none(wrong: dict[str, Any]) -> None:
    """No node's card holds such a number, and no clock shows such a time."""
    ack = Ack(generation=3, epoch=1, lane=Lane.URGENT, through_seq=9, digest=ORIGIN, accepts=(1,), server_us=5)
    with pytest.raises(Malformed):
        codec.decode_ack(codec.encode_ack(msgspec.structs.replace(ack, **wrong)))


def test_a_chained_body_is_what_the_schema_says() -> None:
    body = chain.encode(b"plain", chain.Base(b"base"), epoch=2**62, lane=Lane.BULK)
    assert schema_says(body, "chained") == []


def test_a_snapshot_comes_back() -> None:
    columns = Columns.of([Sample("d", 5, Clock(1, synced=True), {"a": 1})])
    back = codec.decode_snapshot(codec.encode_snapshot(Snapshot(node="n", columns=[columns])))
    assert [c.samples() for c in back.columns] == [columns.samples()]
    with pytest.raises(Malformed, match="columns"):
        codec.decode_snapshot(squeeze(entries(["gap", 0, {"reason": "x", "lost": 1}])))


def test_a_row_comes_back() -> None:
    columns = Columns.of([Sample("d", 5, Clock(1, synced=True), {"a": 1})])
    (placed,) = codec.decode_row(codec.encode_row([Placed((0,), columns)]))
    assert isinstance(placed.entry, Columns)
    assert placed.entry.samples() == columns.samples()
