"""Bases: bounded, one a node and lane, the longest unused go first."""

from __future__ import annotations

import random

from cloud.ingest.bases import Bases
from wire.batch import Lane
from wire.frame import squeeze

NOISE = random.Random(1)


def body(size: int) -> bytes:
    """A frame of about so many bytes that do not compress."""
    return squeeze(NOISE.randbytes(size))


def test_they_are_bounded_and_the_longest_unused_go_first() -> None:
    bases = Bases(limit_bytes=3_300)
    for node in ("a", "b", "c"):
        bases.keep(node, Lane.BULK, body(1_000))
    assert bases.of("a", Lane.BULK) is not None
    bases.keep("d", Lane.BULK, body(1_000))
    assert [n for n in "abcd" if bases.of(n, Lane.BULK)] == ["a", "c", "d"]
    bases.keep("a", Lane.BULK, body(2_500))
    assert [n for n in "abcd" if bases.of(n, Lane.BULK)] == ["a"]
    bases.keep("e", Lane.BULK, body(3_400))
    assert not any(bases.of(n, Lane.BULK) for n in "abcde")


def test_what_is_leant_on_counts_with_its_plain_bytes() -> None:
    bases = Bases(limit_bytes=10_000)
    bases.keep("a", Lane.BULK, body(1_000))
    bases.keep("b", Lane.BULK, squeeze(bytes(9_500)))
    first = bases.of("b", Lane.BULK)
    assert first is not None
    assert bases.of("b", Lane.BULK) is first, "made ready once"
    assert bases.of("a", Lane.BULK) is None


def test_lanes_do_not_mix() -> None:
    bases = Bases()
    bases.keep("a", Lane.BULK, body(10))
    assert bases.of("a", Lane.URGENT) is None
