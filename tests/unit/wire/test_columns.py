from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from support.samples import runs, same
from wire.columns import ABSENT, Columns, merge
from wire.sample import Clock, Sample


@given(runs())
def test_columns_give_their_samples_back(samples: list[Sample]) -> None:
    columns = Columns.of(samples)
    assert same(columns.samples(), samples)
    assert columns.readings == sum(len(s.values) for s in samples)


@given(runs(), st.data())
def test_merging_the_pieces_gives_the_whole(samples: list[Sample], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(samples)))
    pieces = [Columns.of(p) for p in (samples[:cut], samples[cut:]) if p]
    assert same(merge(pieces).samples(), samples)


def test_a_point_left_out_is_not_a_null() -> None:
    clock = Clock(1, synced=True)
    columns = Columns.of([Sample("d", 1, clock, {"a": None}), Sample("d", 2, clock, {"b": 1})])
    assert columns.cells["a"].values(2) == [None, ABSENT]
    assert columns.cells["b"].values(2) == [ABSENT, 1]
