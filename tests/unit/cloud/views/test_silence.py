"""Silence is told once, its end too, and nobody is called silent for the time when we were not there."""

from __future__ import annotations

from cloud.views.silence import RETRY_US, Hearing, LastHeard
from support.cloud_batches import SECOND, START_US, Sender, opened
from wire.entries import Health


def kinds(heard: LastHeard, now_us: int, since_us: int = START_US) -> list[str]:
    return [f"{f.node} {f.kind}" for f in heard.changes(now_us, since_us)]


def test_silence_and_its_end_are_told_once() -> None:
    heard = LastHeard()
    _, facts, _ = opened(Sender().batch(Health(time_us=1, verdict="ok", interval_s=10)))
    heard.hear("cab-1", START_US, facts)
    assert kinds(heard, START_US + 30 * SECOND) == []
    assert kinds(heard, START_US + 31 * SECOND) == ["cab-1 silent"]
    assert kinds(heard, START_US + 99 * SECOND) == []
    heard.hear("cab-1", START_US + 100 * SECOND)
    assert kinds(heard, START_US + 101 * SECOND) == ["cab-1 heard_again"]
    assert kinds(heard, START_US + 102 * SECOND) == []


def test_after_a_pause_of_ours_silence_counts_from_our_start() -> None:
    heard = LastHeard({"cab-1": Hearing(START_US - 9_999 * SECOND, 10)})
    late_us = START_US + RETRY_US  # a node that could not reach us may wait so long before it tries again
    assert kinds(heard, late_us + 29 * SECOND) == []
    assert kinds(heard, late_us + 31 * SECOND) == ["cab-1 silent"]


def test_a_node_that_was_heard_since_has_no_such_grace() -> None:
    heard = LastHeard({"cab-1": Hearing(START_US - 9_999 * SECOND, 10)})
    heard.hear("cab-1", START_US + SECOND)
    assert kinds(heard, START_US + 30 * SECOND) == []
    assert kinds(heard, START_US + 32 * SECOND) == ["cab-1 silent"]


def test_who_is_about_to_be_silent_is_quiet() -> None:
    heard = LastHeard({f"cab-{i}": Hearing(START_US + i * SECOND, 10) for i in range(3)})
    now_us = START_US + 22 * SECOND
    assert heard.changes(now_us, START_US) == []
    assert heard.standing(now_us, START_US)[:2] == ({}, {"cab-0", "cab-1"})
    now_us = START_US + 31 * SECOND
    assert len(heard.changes(now_us, START_US)) == 1
    assert heard.standing(now_us, START_US)[:2] == ({"cab-0": START_US}, {"cab-1", "cab-2"})


def test_a_clock_that_was_set_forward_makes_nobody_silent() -> None:
    heard = LastHeard({f"cab-{i}": Hearing(START_US, 10) for i in (1, 2)})
    jumped_us = 3_600 * SECOND
    heard.hear("cab-2", START_US + jumped_us)  # after the clock was set, before that was seen
    heard.clock_was_set(jumped_us, START_US + jumped_us + SECOND)
    assert kinds(heard, START_US + jumped_us + 30 * SECOND) == []
    assert kinds(heard, START_US + jumped_us + 32 * SECOND) == ["cab-1 silent", "cab-2 silent"]


def test_a_clock_that_was_set_back_keeps_nobody_from_being_silent() -> None:
    heard = LastHeard({"cab-1": Hearing(START_US + 3_600 * SECOND, 10)})
    assert kinds(heard, START_US) == []
    assert kinds(heard, START_US + 30 * SECOND) == []
    assert kinds(heard, START_US + 31 * SECOND) == ["cab-1 silent"]


def test_what_was_told_before_a_restart_is_not_told_again() -> None:
    heard = LastHeard({"cab-1": Hearing(START_US - 9_999 * SECOND, 10, told=True)})
    assert kinds(heard, START_US) == []
    assert kinds(heard, START_US + 99 * SECOND) == []
    heard.hear("cab-1", START_US + 100 * SECOND)
    assert kinds(heard, START_US + 101 * SECOND) == ["cab-1 heard_again"]


def test_what_could_not_be_kept_is_told_again() -> None:
    heard = LastHeard({"cab-1": Hearing(START_US, 10)})
    found = heard.changes(START_US + 31 * SECOND, 0)
    heard.untell(found)
    assert kinds(heard, START_US + 32 * SECOND) == ["cab-1 silent"]
