"""What an outline says no to holds nothing that is wanted, and what is wanted is what a naive look finds."""

from __future__ import annotations

import random

import pytest

from cloud.feed.events import Encoded, events_of_batch
from cloud.feed.filter import Filter, filtered
from cloud.log.contract import Record
from cloud.log.outline import SEVERITIES, TYPES, UNKNOWN, bits, of_batch
from support.cloud_batches import START_US, Ticking, Weather, opened


def some(rng: random.Random, of: tuple[str, ...]) -> frozenset[str]:
    return frozenset(rng.sample(of, rng.randint(1, 2))) if rng.random() < 0.3 else frozenset()


def drawn(rng: random.Random) -> Filter:
    return filtered(
        Filter(
            types=some(rng, TYPES),
            kinds=some(rng, ("streetlight", "bin")),
            nodes=some(rng, ("cab-1", "cab-2", "cab-3")),
            devices=some(rng, ("a", "b", "d")),
            points=some(rng, ("n", "t", "x")),
            severities=some(rng, SEVERITIES),  # pyright: ignore[reportArgumentType]
        )
    )


def naive(wanted: Filter, event: Encoded) -> bool:
    asked = [
        (wanted.types, {event.type}),
        (wanted.kinds, {event.kind}),
        (wanted.nodes, {event.node}),
        (wanted.devices, {event.device}),
        (wanted.points, set(event.points)),
        (wanted.severities, {event.severity}),
    ]
    return all(not names or names & has for names, has in asked)


@pytest.mark.parametrize("seed", range(8))
def test_nothing_that_is_wanted_is_left_unopened(seed: int) -> None:
    weather, rng = Weather(seed, Ticking()), random.Random(seed)
    record = Record(1, START_US, notice=False, body=b"")
    for _ in range(60):
        batch, facts, _ = opened(weather.batch())
        holds = of_batch(batch, facts, START_US, new_devices=False)
        events = events_of_batch(record, batch, {"a": "streetlight", "b": "bin"}, {}).events
        for wanted in [drawn(rng) for _ in range(20)]:
            taken = [event for event in events if wanted.takes(event, None)]
            assert taken == [event for event in events if naive(wanted, event)]
            if taken:
                assert wanted.may(batch.node, holds)
                assert wanted.may("", holds)
                assert wanted.may(UNKNOWN.node, UNKNOWN.holds)
                others = events_of_batch(record, batch, {"a": "streetlight", "b": "bin"}, {}, readings=False).events
                if not wanted.readings:
                    assert [event for event in others if wanted.takes(event, None)] == taken
                assert wanted.only_readings(holds) <= all(event.type == "reading" for event in taken)


@pytest.mark.parametrize(
    ("wanted", "holds", "expected"),
    [
        (Filter(), bits("health"), True),
        (Filter(types=frozenset({"alarm"})), bits("reading", "gap"), False),
        (Filter(severities=frozenset({"high"})), bits("alarm", "low"), False),
        (Filter(severities=frozenset({"high"})), bits("alarm", "high"), True),
        (Filter(points=frozenset({"p"})), bits("alarm", "health"), False),
        (Filter(kinds=frozenset({"bin"})), bits("ledger", "roster", "area", "code"), False),
        (Filter(places=(frozenset({"quay"}), frozenset())), bits("mark"), True),
        (Filter(nodes=frozenset({"cab-2"})), bits("reading"), False),
    ],
)
def test_what_an_outline_says(wanted: Filter, holds: int, *, expected: bool) -> None:
    assert filtered(wanted).may("cab-1", holds) is expected
