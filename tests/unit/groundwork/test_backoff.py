"""When something that failed is tried again; on a clock of our own."""

from __future__ import annotations

import pytest

from groundwork.backoff import Backoff, retry_after, upper_half


def test_back_off_doubles_to_five_minutes() -> None:
    at = 0.0
    backoff = Backoff.of_device(lambda: at)
    waits = [backoff.failed() for _ in range(12)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert backoff.left_s() == 300
    at = 299.0
    assert backoff.left_s() == 1
    at = 301.0
    assert backoff.left_s() == 0
    assert backoff.failures == 12
    backoff.succeeded()
    assert backoff.failed() == 1


def test_a_line_is_tried_at_random_moments_up_to_half_a_minute() -> None:
    backoff = Backoff.of_line(lambda: 0.0)
    waits = [backoff.failed() for _ in range(300)]
    assert all(0.5 <= w <= 30 for w in waits)
    assert max(waits[10:]) > 20
    assert len(set(waits)) > 100


def test_what_the_node_opens_anew_waits_for_half_of_the_bound_at_least() -> None:
    backoff = Backoff(first_s=2, longest_s=60, jitter=upper_half, clock=lambda: 0.0)
    bounds = [2, 4, 8, 16, 32, 60, 60]
    waits = [backoff.failed() for _ in bounds]
    assert all(bound / 2 <= wait <= bound for bound, wait in zip(bounds, waits, strict=True))


def test_the_jitter_is_given_the_bound_and_after_a_success_the_first_one_again() -> None:
    backoff = Backoff(first_s=1, longest_s=5, jitter=lambda bound_s: -bound_s)
    assert [backoff.failed() for _ in range(5)] == [-1, -2, -4, -5, -5]
    backoff.succeeded()
    assert backoff.failed() == -1


def test_who_stands_there_does_not_wait() -> None:
    now = [0.0]
    backoff = Backoff.of_device(lambda: now[0])
    for _ in range(8):
        backoff.failed()
    assert backoff.left_s() > 100
    backoff.rouse()
    assert (backoff.left_s(), backoff.failures) == (0.0, 8)
    assert backoff.failed() > 200, "once: then it is left alone as before"


@pytest.mark.parametrize(
    ("said", "seconds"), [(None, 0), ("", 0), ("7", 7), ("99999999999", 3_600), ("-1", 0), ("Sun, 29 Nov 2026", 0)]
)
def test_what_an_answer_asks_for_is_obeyed_up_to_an_hour(said: str | None, seconds: float) -> None:
    assert retry_after(said) == seconds
