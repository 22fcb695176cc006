"""A batch becomes events slice by slice: the slices join to the whole, and no slice holds more than its bound."""

from __future__ import annotations

import json
import random
import tracemalloc
from typing import Any

import pytest

from cloud.feed import events
from cloud.feed.events import Encoded, events_of_batch
from cloud.log.contract import Record
from cloud.records.order_notices import told_ended
from cloud.views.order_stages import OwnEnd
from support.cloud_batches import SECOND, START_US, Sender, Ticking, Weather, columns
from wire.batch import Batch, Lane
from wire.entries import Gap, Health, Result
from wire.orders import AlarmAct, Bundle, Command, Order

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


GIVEN: dict[str, Any] = {"by": "room", "issued_us": 1, "expires_us": 2, "group": "g-1"}
NOTHING = dict.fromkeys(("group", "device", "point", "alarm", "act", "bundle", "version"))


@pytest.mark.parametrize(
    ("order", "said", "told"),
    [
        (None, {}, {}),
        (None, {"device": "lamp", "point": "dim"}, {"device": "lamp", "point": "dim"}),
        (
            Command(id="o", device="lamp", point="dim", value=1, **GIVEN),
            {},
            {"group": "g-1", "device": "lamp", "point": "dim"},
        ),
        (
            AlarmAct(id="o", alarm="al-1", act="acknowledge", **GIVEN),
            {},
            {"group": "g-1", "alarm": "al-1", "act": "acknowledge"},
        ),
        (
            Bundle(id="o", kind="plan", version="2026-11", text="", **GIVEN),
            {},
            {"group": "g-1", "bundle": "plan", "version": "2026-11"},
        ),
    ],
)
def test_a_result_says_what_it_is_about(order: Order | None, said: dict[str, str], told: dict[str, str]) -> None:
    batch = Sender().batch(Result(order="o", stage="verified", time_us=1, **said), lane=Lane.URGENT)
    orders = {} if order is None else {"o": order}
    (event,) = events_of_batch(RECORD, batch, {"lamp": "streetlight"}, {}, 0, orders).events
    envelope = json.loads(event.json)
    assert {k: envelope["data"][k] for k in NOTHING} == NOTHING | told
    assert (envelope.get("subject"), event.kind) == (("lamp", "streetlight") if "device" in told else (None, None))
    if order is not None:  # and so does one that the aggregator says itself
        own = told_ended("cab-1", "", order, OwnEnd("expired", 2, "never sent"))
        assert {k: own.data[k] for k in NOTHING} == NOTHING | told
        assert own.subject == told.get("device", "")


@pytest.mark.slow
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
