"""A day of each device in quarters of an hour."""

from __future__ import annotations

import pytest

from edge.sampling.quality_history import BAD, GOOD, MOST, NOTHING, PARTLY, SLOT_US, SLOTS, QualityHistory
from wire.columns import Columns
from wire.sample import Clock, Sample, bad

CLOCK = Clock(1, synced=True)
DAY = 20_000 * SLOTS  # a slot to begin with
QUALITIES = {GOOD: {}, PARTLY: {"a": bad("x")}, BAD: {"a": bad("x"), "b": bad("x")}}


class Watch:
    def __init__(self) -> None:
        self.slot = DAY

    def __call__(self) -> int:
        return self.slot * SLOT_US + 1


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def history(watch: Watch) -> QualityHistory:
    found = QualityHistory(watch)
    found.expect(["lamp"])
    return found


def sample(slot: int, grade: int = GOOD, device: str = "lamp") -> Sample:
    return Sample(device, slot * SLOT_US + 5, CLOCK, {"a": 1, "b": 2}, QUALITIES[grade])


def test_each_quarter_has_the_state_of_what_came_in_it(history: QualityHistory, watch: Watch) -> None:
    for slot, grade in enumerate((GOOD, PARTLY, BAD)):
        watch.slot = DAY + slot
        history.note(sample(watch.slot, grade))
    assert history.slots("lamp", 10)[-3:] == bytes((GOOD, PARTLY, BAD))
    assert set(history.slots("lamp", 10)[:-3]) == {NOTHING}


def test_one_lost_poll_of_many_is_no_gap_and_most_lost_is_no_answer(history: QualityHistory) -> None:
    for _ in range(30):
        history.note(sample(DAY))
    history.note(sample(DAY, BAD))
    assert history.slots("lamp", 10)[-1] == GOOD
    for _ in range(5):
        history.note(sample(DAY, BAD))
    assert history.slots("lamp", 10)[-1] == PARTLY
    for _ in range(40):
        history.note(sample(DAY, BAD))
    assert history.slots("lamp", 10)[-1] == BAD


def test_a_count_that_is_full_keeps_its_proportion(history: QualityHistory) -> None:
    for n in range(10 * MOST):
        history.note(sample(DAY, GOOD if n % 2 else PARTLY))
    assert history.slots("lamp", 10)[-1] == PARTLY


def test_what_is_older_than_a_day_is_forgotten_and_the_ring_begins_anew(history: QualityHistory, watch: Watch) -> None:
    history.note(sample(DAY, BAD))
    watch.slot = DAY + SLOTS
    assert set(history.slots("lamp", 10)) == {NOTHING}
    history.note(sample(watch.slot))
    assert history.slots("lamp", 10)[-1] == GOOD
    assert history.slots("lamp", 10).count(BAD) == 0
    history.note(sample(DAY - 5 * SLOTS, BAD))
    assert history.slots("lamp", 10).count(BAD) == 0, "one that comes much too late"


def test_a_device_whose_clock_is_ahead_does_not_push_the_day_away(history: QualityHistory) -> None:
    history.note(sample(DAY))
    history.note(sample(DAY + 5000))
    assert history.slots("lamp", 10)[-1] == GOOD


def test_a_device_that_speaks_seldom_keeps_its_state_between(history: QualityHistory, watch: Watch) -> None:
    history.note(sample(DAY))
    watch.slot = DAY + 7
    assert history.slots("lamp", 3600)[-8:] == bytes([GOOD] * 7 + [NOTHING])
    assert history.slots("lamp", 10)[-8:] == bytes([GOOD, GOOD] + [NOTHING] * 6)


def test_the_clock_is_set_and_what_came_before_the_start_stays(history: QualityHistory, watch: Watch) -> None:
    history.recall(Columns.of([sample(DAY - 4, BAD)]), plain=False)
    history.note(sample(DAY))
    watch.slot = DAY + 10
    history.shifted(10 * SLOT_US)
    found = history.slots("lamp", 10)
    assert (found[-1], found[-15]) == (GOOD, BAD)
    assert found[-11] == NOTHING


def test_what_the_card_knows_comes_back(history: QualityHistory) -> None:
    grades = [GOOD, PARTLY, BAD, GOOD]
    for n, grade in enumerate(grades):
        history.recall(Columns.of([sample(DAY - 3 + n, grade)]), plain=False)
    assert history.slots("lamp", 10)[-4:] == bytes(grades)
    history.recall(Columns.of([sample(DAY, device="other")]), plain=True)
    assert set(history.slots("other", 10)) == {NOTHING}


def test_until_when_something_good_came(history: QualityHistory) -> None:
    assert history.heard_us("lamp") is None
    history.note(sample(DAY - 3, PARTLY))
    history.note(sample(DAY, BAD))
    assert history.heard_us("lamp") == (DAY - 2) * SLOT_US
