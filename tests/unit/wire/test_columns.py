from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from support.samples import runs, same
from wire.columns import ABSENT, Columns, merge
from wire.sample import Clock, Sample
from wire.table import Table

CLOCK = Clock(1, synced=True)


@given(runs())
def test_columns_give_their_samples_back(samples: list[Sample]) -> None:
    columns = Columns.of(samples)
    assert same(columns.samples(), samples)


@given(st.lists(runs(), min_size=1, max_size=4), st.data())
def test_a_table_gives_the_columns_of_each_device_back(devices: list[list[Sample]], data: st.DataObject) -> None:
    every = [p for samples in devices for s in samples for p in s.values]
    # One clock for all, and every point at least once for each.
    whole = Sample("d", 0, CLOCK, dict.fromkeys(every))
    filled = [Columns.of([*(msgspec.structs.replace(s, clock=CLOCK) for s in found), whole]) for found in devices]
    points = list(filled[0].cells)
    filled = [msgspec.structs.replace(c, cells={p: c.cells[p] for p in points}) for c in filled]
    table = Table.of(filled, [0] * sum(c.n for c in filled))
    assert table.readings == sum(len(s.values) for c in filled for s in c.samples())
    assert list(table.times) == [t for c in filled for t in c.times]
    for one, other in zip(table.columns(), filled, strict=True):
        assert list(one.times) == list(other.times)
        assert same(one.samples(), [msgspec.structs.replace(s, device=one.device) for s in other.samples()])
        start = data.draw(st.integers(0, other.n - 1))
        assert same(one.cut(start, start + 2).samples(), other.cut(start, start + 2).samples())


def test_cutting_leaves_out_what_none_of_the_samples_has() -> None:
    columns = Columns.of([Sample("d", 1, CLOCK, {"a": 1}), Sample("d", 2, CLOCK, {"a": 2, "b": 1})])
    assert list(columns.cut(0, 1).cells) == ["a"]
    assert list(columns.cut(1, 2).cells) == ["a", "b"]


@given(runs(), st.data())
def test_merging_the_pieces_gives_the_whole(samples: list[Sample], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(samples)))
    pieces = [Columns.of(p) for p in (samples[:cut], samples[cut:]) if p]
    assert same(merge(pieces).samples(), samples)


def test_a_point_left_out_is_not_a_null() -> None:
    columns = Columns.of([Sample("d", 1, CLOCK, {"a": None}), Sample("d", 2, CLOCK, {"b": 1})])
    assert columns.cells["a"].values(2) == [None, ABSENT]
    assert columns.cells["b"].values(2) == [ABSENT, 1]
