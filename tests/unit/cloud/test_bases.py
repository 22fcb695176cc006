"""Bases: bounded, one a node and lane, the longest unused go first."""

from __future__ import annotations

from cloud.bases import Bases
from wire.batch import Lane


def test_they_are_bounded_and_the_longest_unused_go_first() -> None:
    bases = Bases(limit_bytes=300)
    for node in ("a", "b", "c"):
        bases.keep(node, Lane.BULK, bytes(100))
    assert bases.of("a", Lane.BULK) is not None
    bases.keep("d", Lane.BULK, bytes(100))
    assert [n for n in "abcd" if bases.of(n, Lane.BULK)] == ["a", "c", "d"]
    bases.keep("a", Lane.BULK, bytes(250))
    assert [n for n in "abcd" if bases.of(n, Lane.BULK)] == ["a"]
    bases.keep("e", Lane.BULK, bytes(301))
    assert not any(bases.of(n, Lane.BULK) for n in "abcde")


def test_lanes_do_not_mix() -> None:
    bases = Bases()
    bases.keep("a", Lane.BULK, b"x")
    assert bases.of("a", Lane.URGENT) is None
