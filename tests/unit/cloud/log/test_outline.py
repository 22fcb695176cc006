"""Outlines say what a record holds, never less; ranks say what goes ahead."""

from __future__ import annotations

import msgspec
import pytest

from cloud.feed.events import events_of_batch, events_of_notice
from cloud.log.contract import Record
from cloud.log.notices import Announcement, Finding, Notice, notice_of
from cloud.log.outline import ALL_SEVERITIES, LATE_US, NEWS, RANK_AT, TYPES, Rank, bits, of_batch, of_notice
from support.cloud_batches import SECOND, START_US, Sender, Ticking, Weather, columns, opened, roster
from wire.batch import Batch, Lane
from wire.entries import Alarm, ClockFix, Entry, Health
from wire.sample import Clock


def outline(batch: Batch, received_us: int = START_US) -> int:
    decoded, facts, _ = opened(batch)
    return of_batch(decoded, facts, received_us, new_devices=False)


def rank(holds: int) -> Rank:
    return Rank(holds >> RANK_AT)


def test_the_bits_of_types_never_move() -> None:
    assert TYPES[:13] == (
        "reading", "alarm", "mark", "order", "result", "visit", "code", "area", "clock_fix", "gap", "health", "roster",
        "ledger",
    )  # fmt: skip
    assert [bits(name) for name in TYPES] == [1 << place for place in range(len(TYPES))]
    assert bits("low", "urgent") == 1 << 16 | 1 << 19
    assert len(TYPES) <= 16


@pytest.mark.parametrize("seed", range(6))
def test_it_says_all_that_the_events_are(seed: int) -> None:
    weather = Weather(seed, Ticking())
    for _ in range(40):
        weather.now.tick(1)
        batch, facts, _ = opened(weather.batch())
        holds = of_batch(batch, facts, weather.now(), new_devices=False)
        events = events_of_batch(Record(1, weather.now(), notice=False, body=b""), batch, {}, {}).events
        said = {event.type for event in events} | {event.severity for event in events if event.severity is not None}
        assert holds & ((1 << 20) - 1) == bits(*said)


ALARM = Alarm(id="a", device="d", rule="r", severity="medium", state="raised", raised_us=1, time_us=1)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (Finding(node="n", kind="silent", time_us=1, detail={}), bits("ledger")),
        (Announcement(node="n", type="order", time_us=1, data={}), bits("order")),
        (Announcement(node="n", type="alarm", time_us=1, data={"severity": "high"}), bits("alarm", "high")),
        (Announcement(node="n", type="alarm", time_us=1, data=ALARM), bits("alarm", "medium")),
        (Announcement(node="n", type="alarm", time_us=1, data={}), bits("alarm") | ALL_SEVERITIES),
    ],
)
def test_a_notice_is_urgent_and_is_what_its_event_is(told: Finding | Announcement, expected: int) -> None:
    notice = notice_of(told, 1, 1)
    assert of_notice(notice) == expected
    assert rank(of_notice(notice)) is Rank.URGENT
    read = msgspec.json.decode(msgspec.json.encode(notice), type=Notice)
    (event,) = events_of_notice(read).events
    assert of_notice(read) & bits(event.type)
    if event.severity is not None:
        assert of_notice(read) & bits(event.severity)


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (lambda s: s.batch(columns(at_us=START_US - 2 * SECOND)), Rank.LIVE),
        (lambda s: s.batch(columns(at_us=START_US - LATE_US - 2 * SECOND)), Rank.LIVE),  # the newest is just not late
        (lambda s: s.batch(columns(at_us=START_US - LATE_US - 3 * SECOND)), Rank.LATE),
        (lambda s: s.batch(columns("a", START_US - 10**12), columns("b", START_US), ahead=9), Rank.LIVE),
        (lambda s: s.batch(columns(at_us=START_US - 10**12), lane=Lane.URGENT), Rank.URGENT),
        (lambda s: s.batch(columns(at_us=1, clock=Clock(2, synced=False))), Rank.LIVE),
        (lambda s: s.batch(columns(at_us=START_US, clock=Clock(2, synced=False)), ahead=1), Rank.LATE),
        (lambda s: s.batch(Health(time_us=1, verdict="ok"), ahead=1), Rank.LIVE),
    ],
)
def test_what_a_node_had_to_keep_is_late(batch: object, expected: Rank) -> None:
    assert callable(batch)
    assert rank(outline(batch(Sender()))) is expected


@pytest.mark.parametrize("entry", [roster("a"), ClockFix(boot=1, offset_us=1, error_us=1)])
def test_what_changes_what_is_known_of_a_node_is_news(entry: Entry) -> None:
    assert outline(Sender().batch(entry, lane=Lane.URGENT)) & NEWS
    batch, facts, _ = opened(Sender().batch(columns()))
    assert of_batch(batch, facts, START_US, new_devices=True) & NEWS
    assert not of_batch(batch, facts, START_US, new_devices=False) & NEWS
    assert not outline(Sender().batch(ALARM, lane=Lane.URGENT)) & NEWS
