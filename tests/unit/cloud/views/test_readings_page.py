"""A page of readings costs what it shows, not what its pieces hold; cut short anywhere, the pages join to the whole."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from cloud.views import readings_page
from cloud.views.answers import Row
from cloud.views.readings_page import PageWindow, Piece, SampleRun, page, parse_cursor
from support.cloud_batches import START_US
from wire.columns import Cell, Columns
from wire.sample import Clock, Sample
from wire.vector import SAME

CLOCK = Clock(1, synced=True)
EVER = 2**62


def piece(first_seq: int, columns: Columns) -> Piece:
    run = SampleRun("cab-1", 7, "bulk", range(first_seq, first_seq + columns.n), columns)
    return Piece(min(columns.times), max(columns.times), lambda: [run])


def all_of(pieces: list[Piece], limit: int, points: tuple[str, ...] = ()) -> list[Row]:
    rows: list[Row] = []
    cursor: str | None = None
    for _ in range(10_000):
        after = None if cursor is None else parse_cursor(cursor)
        more, cursor = page(pieces, PageWindow(-EVER, EVER, after), points, {}, limit)
        assert len(more) <= limit
        rows += more
        if cursor is None:
            return rows
    raise AssertionError("it stands still")


@pytest.mark.slow
@pytest.mark.parametrize("bound", ["MAX_READINGS", "PAGE_BYTES", "BLOCK"])
@pytest.mark.parametrize("seed", range(3))
def test_pages_join_to_the_whole_however_they_are_cut(bound: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    pieces: list[Piece] = []
    for k in range(4):
        samples: list[Sample] = []
        for i in range(80):
            values = {"n": i, "t": "x" * rng.randint(0, 9)} if rng.random() < 0.8 else {"n": i}
            samples.append(Sample("d", START_US + rng.randint(0, 240), CLOCK, values, {"n": "bad:x"}))
        pieces.append(piece(1 + 80 * k, Columns.of(samples)))
    pieces.sort(key=lambda p: p.from_us)
    whole = all_of(pieces, 5_000)
    assert len({r.id for r in whole}) == 320
    assert [r.time_us for r in whole] == sorted(r.time_us for r in whole)
    monkeypatch.setattr(readings_page, bound, 40)
    for limit in (7, 100, 5_000):
        assert all_of(pieces, limit) == whole
        texts = all_of(pieces, limit, ("t",))
        assert [(r.id, r.values) for r in texts] == [(r.id, {"t": r.values["t"]}) for r in whole if "t" in r.values]


@pytest.mark.slow
def test_a_large_piece_is_not_expanded_for_a_small_page() -> None:
    n = 200_000
    times = range(START_US, START_US + n)
    large = piece(1, Columns("d", CLOCK, times, {"t": Cell([SAME, "x" * 4_096]), "n": Cell([SAME, 1])}))
    tracemalloc.start()
    try:
        rows, cursor = page([large], PageWindow(-EVER, EVER, None), (), {}, 1_000)
        assert (len(rows), rows[0].time_us, cursor) == (1_000, START_US, f"{START_US + 999}.7.bulk.1000")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_page_ends_where_it_grows_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings_page, "PAGE_BYTES", 50_000)
    samples = [Sample("d", START_US + i, CLOCK, {"t": "x" * 4_096}) for i in range(30)]
    rows, cursor = page([piece(1, Columns.of(samples))], PageWindow(-EVER, EVER, None), (), {}, 1_000)
    assert 0 < len(rows) <= 12
    assert cursor is not None
