"""A chained body gives what was written, or nothing."""

from __future__ import annotations

import contextlib

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.examples import many
from support.samples import batches
from wire import chain, codec
from wire.batch import Batch, Lane
from wire.errors import BadInput, Malformed, TooLarge, Unsupported
from wire.frame import MAX_BODY_BYTES, MAX_PLAIN_BYTES


@pytest.mark.slow
@given(batches(), batches())
@settings(max_examples=many(50), deadline=None)
def test_on_its_base_it_gives_what_was_written(batch: Batch, before: Batch) -> None:
    plain, base = codec.plain_batch(batch), chain.Base(codec.plain_batch(before))
    chained = chain.decode(chain.encode(plain, base, epoch=batch.epoch, lane=batch.lane))
    assert (chained.epoch, chained.lane, chained.base) == (batch.epoch, batch.lane, base.name)
    assert base.stretch(chained.frame) == plain


@given(st.binary(min_size=64, max_size=400), st.binary(min_size=64, max_size=400), st.integers(0, 63))
@settings(max_examples=many(200), deadline=None)
def test_on_another_base_it_gives_the_same_or_nothing(text: bytes, more: bytes, cut: int) -> None:
    right, wrong = chain.Base(text), chain.Base(text[cut:] + b"x")
    frame = right.squeeze(text[cut:] + more)
    assert right.name != wrong.name
    with contextlib.suppress(Malformed):
        assert wrong.stretch(frame) == text[cut:] + more


def test_it_is_small_where_little_is_new() -> None:
    plain = bytes(range(256)) * 4
    assert len(chain.encode(plain, chain.Base(plain), epoch=1, lane=Lane.BULK)) < 120


@given(st.binary(max_size=200))
def test_any_bytes_are_either_read_or_refused(data: bytes) -> None:
    with pytest.raises(BadInput):
        chain.decode(data)


def test_what_is_wrong_is_named() -> None:
    good = cbor2.loads(chain.encode(b"x" * 100, chain.Base(b"y" * 100), epoch=1, lane=Lane.BULK))
    for wrong, error in (
        ({"v": 1}, Unsupported),
        ({"v": True}, Malformed),
        ({"epoch": 2**63}, Malformed),
        ({"lane": "express"}, Malformed),
        ({"base": b"x" * 15}, Malformed),
        ({"frame": "text"}, Malformed),
    ):
        with pytest.raises(error):
            chain.decode(cbor2.dumps({**good, **wrong}))
    assert chain.decode(cbor2.dumps({**good, "added": 1})).epoch == 1
    with pytest.raises(TooLarge):
        chain.decode(bytes(MAX_BODY_BYTES + 1))


def test_a_frame_has_a_checksum_and_does_not_grow_beyond_a_body() -> None:
    base = chain.Base(bytes(100_000))
    with pytest.raises(TooLarge):
        base.stretch(base.squeeze(bytes(MAX_PLAIN_BYTES + 1)))
    unchecked = bytearray(base.squeeze(b"abc" * 100))
    unchecked[4] &= ~4  # RFC 8878, 3.1.1.1.1: the content checksum flag
    with pytest.raises(Malformed, match="checksum"):
        base.stretch(bytes(unchecked[:-4]))
