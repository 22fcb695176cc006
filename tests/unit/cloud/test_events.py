"""A batch becomes events slice by slice: the slices join to the whole, and no slice holds more than its bound."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from cloud import events
from cloud.events import Encoded, events_of_batch
from cloud.log import Record
from support.cloud_batches import SECOND, START_US, Sender, Ticking, Weather, columns
from wire.batch import Batch
from wire.entries import Gap, Health

RECORD = Record(1, START_US, notice=False, body=b"")


def joined(batch: Batch, start: int = 0) -> tuple[list[Encoded], list[int]]:
    found: list[Encoded] = []
    sizes: list[int] = []
    at: int | None = start
    while at is not None:
        part = events_of_batch(RECORD, batch, {}, {}, at)
        assert part.start == at
        found += part.events
        sizes.append(part.size)
        assert part.next is None or part.next == at + len(part.events) > at
        at = part.next
    return found, sizes


@pytest.mark.parametrize("seed", range(5))
def test_slices_join_to_the_whole_from_wherever_one_begins(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    weather = Weather(seed, Ticking())
    for _ in range(20):
        batch = weather.batch()
        monkeypatch.setattr(events, "SLICE_BYTES", 1 << 30)
        whole = events_of_batch(RECORD, batch, {}, {})
        assert whole.next is None
        monkeypatch.setattr(events, "SLICE_BYTES", 2_000)
        monkeypatch.setattr(events, "EXPANDED", 7)
        start = random.Random(seed).randint(0, len(whole.events))
        assert joined(batch)[0] == list(whole.events)
        assert joined(batch, start)[0] == list(whole.events[start:])


def test_entries_that_make_no_events_and_a_start_beyond_the_end() -> None:
    batch = Sender().batch(columns(n=3), Gap(reason="x", lost=1, seqs=4), Health(time_us=1, verdict="ok"))
    found, _ = joined(batch)
    assert [e.type for e in found] == ["reading"] * 3 + ["gap", "health"]
    assert events_of_batch(RECORD, batch, {}, {}, 5).events == ()
    assert events_of_batch(RECORD, batch, {}, {}, 99).next is None


def test_a_batch_that_expands_is_never_held_expanded() -> None:
    batch = Sender().batch(columns(n=8_000, step_us=SECOND, t="x" * 4_000))
    tracemalloc.start()
    try:
        at: int | None = 0
        count = 0
        while at is not None:
            part = events_of_batch(RECORD, batch, {}, {}, at)
            count += len(part.events)
            assert part.size <= events.SLICE_BYTES + 5_000
            at = part.next
        assert count == 8_000
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
