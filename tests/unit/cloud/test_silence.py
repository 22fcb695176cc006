"""Silence is told once, its end too, and nobody is called silent for the time when we were not there."""

from __future__ import annotations

from cloud.silence import Heard, Hearing
from support.cloud_batches import SECOND, START_US, Sender, opened
from wire.entries import Health


def kinds(heard: Heard, now_us: int, since_us: int = START_US) -> list[str]:
    return [f"{f.node} {f.kind}" for f in heard.changes(now_us, since_us)]


def test_silence_and_its_end_are_told_once() -> None:
    heard = Heard()
    _, facts, _ = opened(Sender().batch(Health(time_us=1, verdict="ok", interval_s=10)))
    heard.hear("cab-1", START_US, facts)
    assert kinds(heard, START_US + 30 * SECOND) == []
    assert kinds(heard, START_US + 31 * SECOND) == ["cab-1 silent"]
    assert kinds(heard, START_US + 99 * SECOND) == []
    heard.hear("cab-1", START_US + 100 * SECOND)
    assert kinds(heard, START_US + 101 * SECOND) == ["cab-1 heard_again"]
    assert kinds(heard, START_US + 102 * SECOND) == []


def test_after_a_pause_of_ours_silence_counts_from_our_start() -> None:
    heard = Heard({"cab-1": Hearing(START_US - 9_999 * SECOND, 10)})
    assert kinds(heard, START_US + 29 * SECOND) == []
    assert kinds(heard, START_US + 31 * SECOND) == ["cab-1 silent"]


def test_what_was_told_before_a_restart_is_not_told_again() -> None:
    heard = Heard({"cab-1": Hearing(START_US - 9_999 * SECOND, 10, told=True)})
    assert kinds(heard, START_US) == []
    assert kinds(heard, START_US + 99 * SECOND) == []
    heard.hear("cab-1", START_US + 100 * SECOND)
    assert kinds(heard, START_US + 101 * SECOND) == ["cab-1 heard_again"]


def test_what_could_not_be_kept_is_told_again() -> None:
    heard = Heard({"cab-1": Hearing(START_US, 10)})
    found = heard.changes(START_US + 31 * SECOND, 0)
    heard.untell(found)
    assert kinds(heard, START_US + 32 * SECOND) == ["cab-1 silent"]
