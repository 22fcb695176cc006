"""The street as the node knows it: who was heard, who is silent, what was last."""

from __future__ import annotations

import pytest

from edge.health import told
from edge.sampling.last_samples import SILENT_PERIODS, UNHEARD_S, LastSamples
from wire.columns import Columns
from wire.sample import Clock, Sample, Value, bad, uncertain

CLOCK = Clock(1, synced=True)


@pytest.fixture
def street() -> LastSamples:
    found = LastSamples()
    found.expect("lamp", 10, now=100)
    return found


def sample(time_us: int = 1, quality: dict[str, str] | None = None, **values: Value) -> Sample:
    return Sample("lamp", time_us, CLOCK, values or {"a": 1}, quality or {})


def causes(street: LastSamples, now: float) -> tuple[str, ...]:
    return tuple(t.text for t in told(street.troubles(now)))


def test_a_device_is_silent_after_three_of_its_periods_not_before(street: LastSamples) -> None:
    limit = 100 + SILENT_PERIODS * 10
    assert street.silent(limit) == ()
    assert street.silent(limit + 0.1) == ("lamp",), "one that was never heard counts from the start"
    street.note(sample(), limit)
    assert street.silent(limit + 0.1) == ()


def test_nothing_but_bad_readings_is_no_sign_of_life(street: LastSamples) -> None:
    street.note(sample(quality={"a": bad("no answer")}), 125)
    assert street.silent(131) == ("lamp",)
    assert street.latest(), "but it is what is known"


@pytest.mark.parametrize("quality", [{}, {"a": bad("exception 2")}, {"a": uncertain("x"), "b": bad("y")}])
def test_one_good_or_uncertain_reading_is_a_sign_of_life(street: LastSamples, quality: dict[str, str]) -> None:
    street.devices["lamp"].fault = "misconfigured"
    street.note(sample(quality=quality, a=1, b=2), 125)
    assert street.silent(131) == ()
    assert street.devices["lamp"].fault is None


def test_the_latest_is_the_greatest_measured_time_not_the_last_arrival(street: LastSamples) -> None:
    street.note(sample(20, a=2), 101)
    street.note(sample(10, a=1), 102)
    (columns,) = street.latest()
    assert [(s.time_us, s.values) for s in columns.samples()] == [(20, {"a": 2})]
    assert street.devices["lamp"].good == 102, "an old one says all the same that it lives"


def test_a_device_that_is_not_ours_is_left_alone(street: LastSamples) -> None:
    street.note(Sample("other", 1, CLOCK, {"a": 1}), 101)
    assert list(street.devices) == ["lamp"]


def test_after_the_clock_was_set_the_next_sample_is_the_newest(street: LastSamples) -> None:
    street.note(sample(86_400_000_000, a=1), 100)
    street.note(sample(5, a=2), 101)
    assert [c.samples()[0].values for c in street.latest()] == [{"a": 1}], "one that came late"
    street.clock_set()
    street.note(sample(6, a=3), 102)
    assert [c.samples()[0].values for c in street.latest()] == [{"a": 3}]
    street.note(sample(5, a=4), 103)
    assert [c.samples()[0].values for c in street.latest()] == [{"a": 3}]


def test_a_device_that_was_never_heard_is_named_within_minutes_with_what_was_seen_last(street: LastSamples) -> None:
    street.note(sample(quality={"a": bad("no answer")}, a=None), 110)
    assert causes(street, 100 + UNHEARD_S - 1) == ("device lamp: bad:no answer",), "it is silent, too"
    assert causes(street, 100 + UNHEARD_S) == ("device lamp: never heard since the start 5 min ago: bad:no answer",)
    street.note(sample(a=1), 500)
    assert causes(street, 501) == ()


def test_a_device_that_the_card_remembers_was_heard(street: LastSamples) -> None:
    street.recall([Columns.of([sample(a=1)])])
    street.devices["lamp"].expected_every_s = 86_400
    assert causes(street, 100 + UNHEARD_S) == ()
