"""Which nodes a bundle is for: known ones, or what is wrong with those that are not."""

from __future__ import annotations

from cloud.orders.checks import Wrongs
from cloud.orders.orders import _nodes
from cloud.orders.requests import BundleGiven

KNOWN = [f"cab-{i}" for i in range(2_000)]


def given(**more: object) -> BundleGiven:
    return BundleGiven(**{"kind": "plan", "version": "1", "text": "", **more})  # pyright: ignore[reportArgumentType]


def test_one_some_or_all() -> None:
    wrongs = Wrongs()
    assert _nodes(given(node="cab-7"), KNOWN, wrongs) == ["cab-7"]
    assert _nodes(given(nodes=("cab-7", "cab-8", "cab-7")), KNOWN, wrongs) == ["cab-7", "cab-8"]
    assert _nodes(given(all=True), KNOWN, wrongs) == KNOWN
    assert (wrongs.problems, wrongs.unknown) == ([], [])


def test_nodes_that_were_never_heard_are_told_with_the_nearest() -> None:
    wrongs = Wrongs()
    _nodes(given(nodes=("cab-7", "cap-1234", *(f"x{i}" for i in range(9_000)))), KNOWN, wrongs)
    assert wrongs.unknown[0] == "no node 'cap-1234' was ever heard; did you mean cab-1234?"
    assert wrongs.unknown[-1] == "and 8996 more nodes that were never heard"
    assert len(wrongs.unknown) == 6


def test_one_way_to_say_it() -> None:
    wrongs = Wrongs()
    assert _nodes(given(node="cab-7", all=True), KNOWN, wrongs) == []
    assert _nodes(given(), KNOWN, wrongs) == []
    assert [p.split(", not ")[1] for p in wrongs.problems] == ["node and all", "none of them"]
