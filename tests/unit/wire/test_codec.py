from __future__ import annotations

from pathlib import Path
from typing import Any

import cbor2
import pytest
import zstandard
from cddl_verifier import Validator
from hypothesis import given, settings
from hypothesis import strategies as st

import wire.codec
from support.samples import batches, same
from wire import codec
from wire.batch import ORIGIN, Ack, Batch, Lane, Placed, Snapshot
from wire.columns import Columns
from wire.entries import Gap, Unknown
from wire.errors import BadInput, Malformed, TooLarge, Unsupported
from wire.sample import Clock, Sample

SCHEMA = Validator((Path(wire.codec.__file__).parent / "schema.cddl").read_text())


def schema_says(data: bytes, kind: str) -> list[str]:
    """What somebody else's validator finds wrong with CBOR of ours."""
    return [str(d) for d in SCHEMA.validate(data, kind).diagnostics]


def plain(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data)


def squeeze(body: object) -> bytes:
    return zstandard.ZstdCompressor().compress(body if isinstance(body, bytes) else cbor2.dumps(body))


@given(batches())
@settings(max_examples=100, deadline=None)
def test_a_batch_comes_back_as_it_went_and_is_what_the_schema_says(batch: Batch) -> None:
    data = codec.encode_batch(batch)
    assert schema_says(plain(data), "batch") == []
    back = codec.decode_batch(data)
    for field in ("node", "epoch", "lane", "first_seq", "through_seq", "prev", "digest", "held_from", "head_seq"):
        assert getattr(back, field) == getattr(batch, field)
    assert [list(p.places) for p in back.entries if not isinstance(p.entry, Gap)] == [
        list(p.places) for p in batch.entries if not isinstance(p.entry, Gap)
    ]
    for one, other in zip(back.entries, batch.entries, strict=True):
        if isinstance(other.entry, Columns):
            assert isinstance(one.entry, Columns)
            assert same(one.entry.samples(), other.entry.samples())
        else:
            assert repr(one.entry) == repr(other.entry)


@given(batches())
@settings(max_examples=50, deadline=None)
def test_encoding_what_was_decoded_gives_the_same_bytes(batch: Batch) -> None:
    data = codec.encode_batch(batch)
    assert codec.encode_batch(codec.decode_batch(data)) == data


@given(st.binary(max_size=200))
def test_any_bytes_are_either_read_or_refused(data: bytes) -> None:
    for body in (data, squeeze(data)):
        with pytest.raises(BadInput):
            codec.decode_batch(body)


@given(batches(), st.data())
@settings(max_examples=300, deadline=None)
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


def entries(*items: list[Any], **more: Any) -> dict[str, Any]:
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
        "shapes": [["a"]],
        "clocks": [[1, True]],
        "entries": list(items),
    }
    return {**base, **more}


ALARM = {
    "id": "a", "device": "d", "rule": "r", "severity": "high", "state": "raised", "raised_us": 1, "time_us": 1,
}  # fmt: skip
SIMPLE = ["columns", [0, 0], "d", 0, 0, [1, 1, [0, 5]], [[[0, 1]]]]


def test_a_batch_from_a_newer_writer_is_read_without_what_it_added() -> None:
    newer = entries(
        [*SIMPLE[:6], [[[0, 1], None, [], "more"]], "more"],
        ["weather", 1, {"of": "tomorrow"}],
        ["gap", 2, {"reason": "x", "lost": 1, "seqs": 2, "why": 7}],
        through_seq=4,
        added={"x": 1},
    )
    back = codec.decode_batch(squeeze(newer))
    columns, weather, gap = (p.entry for p in back.entries)
    assert isinstance(columns, Columns)
    assert columns.samples() == [Sample("d", 5, Clock(1, synced=True), {"a": 1})]
    assert weather == Unknown("weather")
    assert gap == Gap(reason="x", lost=1, seqs=2)


def test_the_schema_can_say_no() -> None:
    for broken in (entries(SIMPLE, lane="express"), entries(["columns", 9]), {**entries(SIMPLE), "epoch": "x"}):
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
        (entries(SIMPLE, through_seq=2), "empty or taken"),
        (entries(SIMPLE, SIMPLE), "fill"),
        (entries(["columns", [0, 1], *SIMPLE[2:]]), "empty"),
        (entries(SIMPLE, shapes=[["a", "a"]]), "twice"),
        (entries(SIMPLE, shapes=[]), "table"),
        (entries(SIMPLE, clocks=[[1]]), "clock"),
        (entries([*SIMPLE[:6], []]), "cells"),
        (entries([*SIMPLE[:5], [2, 7, [0, 5]], SIMPLE[6]]), "unit"),
        (entries([*SIMPLE[:6], [[[0, 1], b"\x00"]]]), "presence"),
        (entries([*SIMPLE[:6], [[[0, 1], b"\x02"]]]), "presence"),
        (entries([*SIMPLE[:6], [[[0, 1], None, [[0, 2, "bad"]]]]]), "qualities"),
        (entries(["gap", 0, {"reason": "x"}]), "gap"),
        (entries(["gap", 0, {"reason": "x", "lost": 1, "seqs": 0}]), "gap"),
        (entries(["alarm", -1, {}]), "place"),
        (entries(), "empty or taken"),
        (entries(7), "entry"),
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
            entries(
                ["columns", [3, 0, 1], "d", 0, 0, [ENDLESS, 1, [0, 5]], [[[0, 1]]]],
                through_seq=ENDLESS,
            ),
            "readings",
        ),
        (  # two columns whose places interleave
            entries(
                ["columns", [3, 0, 2], "d", 0, 0, [ENDLESS, 1, [3, 0, 1]], [[[0, 1]]]],
                ["columns", [3, 1, 2], "d", 0, 0, [ENDLESS, 1, [3, 0, 1]], [[[0, 1]]]],
                through_seq=2 * ENDLESS,
            ),
            "readings",
        ),
        (  # one long text, many times
            entries(["columns", [3, 0, 1], "d", 0, 0, [HALF, 1, [0, 5]], [[[0, "x" * 4000]]]], through_seq=HALF),
            "stood by itself",
        ),
        (  # one long name, many times
            entries(
                ["columns", [3, 0, 1], "d", 0, 0, [HALF, 1, [0, 5]], [[[0, 1]]]],
                through_seq=HALF,
                shapes=[["n" * 200]],
            ),
            "stood by itself",
        ),
        (  # one long quality, many times
            entries(
                ["columns", [3, 0, 1], "d", 0, 0, [HALF, 1, [0, 5]], [[[0, 1], None, [[0, HALF, "bad:" + "x" * 116]]]]],
                shapes=[["a"]],
                through_seq=HALF,
            ),
            "stood by itself",
        ),
    ],
)
def test_a_small_body_cannot_claim_endless_readings(body: Any, why: str) -> None:
    data = squeeze(body)
    assert len(data) < 400
    with pytest.raises(TooLarge, match=why):
        codec.decode_batch(data)


def test_a_frame_that_grows_too_much_is_refused() -> None:
    data = squeeze({"v": 1, "x": [[]] * 1_000_000})
    assert len(data) < 4_000
    with pytest.raises(TooLarge, match="decompressed"):
        codec.decode_batch(data)


@pytest.mark.parametrize(
    "body",
    [
        entries(["columns", [0, 0], "d", 0, 0, [True, 1, [0, 5]], [[[0, 1]]]]),
        entries(["columns", [0, 0], "d", 0, 0, [1, True, [0, 5]], [[[0, 1]]]]),
        entries(["columns", [0, 0], "d", 0, 0, [1, 1, [0, True]], [[[0, 1]]]]),
        entries(["columns", [0, 0], "d", False, 0, [1, 1, [0, 5]], [[[0, 1]]]]),
        entries(["columns", [0, 0], "d", 0, 0, [1, 1, [0, 5]], [[[0, 1], None, [[False, True, "bad"]]]]]),
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
