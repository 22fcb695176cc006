"""A node's quota: saved up as far as a day, refused beyond, told, and given back with time."""

from __future__ import annotations

import pytest

from cloud.alarms.conditions import over_quota
from cloud.entrance.quota import A_DAY, DAY_S, OVER_S, Quota, Used
from cloud.problem import Problem


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def refused(quota: Quota, node: str = "cab-1") -> Problem | None:
    try:
        quota.check(node)
    except Problem as problem:
        return problem
    return None


def test_a_day_of_backlog_a_hundred_times_over_is_no_matter() -> None:
    quota = Quota(Clock())
    for _ in range(100):
        for _ in range(88):
            assert refused(quota) is None
            quota.use("cab-1", Used(size_bytes=2.3e6 / 88, readings=8.57e6 / 88, work_s=0.4 / 88))
    assert quota.over() == {}


@pytest.mark.parametrize(
    ("used", "word"),
    [
        (Used(size_bytes=A_DAY.size_bytes), "bytes"),
        (Used(readings=A_DAY.readings), "readings"),
        (Used(requests=A_DAY.requests), "requests"),
        (Used(work_s=A_DAY.work_s), "processor time"),
    ],
)
def test_what_is_used_up_is_refused_by_name_until_there_is_some_again(used: Used, word: str) -> None:
    clock = Clock()
    quota = Quota(clock)
    quota.use("cab-1", used)
    problem = refused(quota)
    assert problem is not None
    assert problem.status == 429
    assert word in problem.detail
    assert problem.headers["Retry-After"] == "60"
    assert refused(quota, "cab-2") is None
    assert list(over_quota(quota.over())) == ["aggregator:quota:cab-1"]
    clock.now_s += 60
    assert refused(quota) is None
    assert list(quota.over()) == ["cab-1"]
    clock.now_s += OVER_S
    assert quota.over() == {}


def test_it_waits_as_long_as_its_debt_takes_but_an_hour_at_most() -> None:
    clock = Clock()
    quota = Quota(clock, Used(size_bytes=DAY_S, readings=1e9, requests=1e9, work_s=1e9))
    quota.use("cab-1", Used(size_bytes=DAY_S + 500))
    problem = refused(quota)
    assert problem is not None
    assert problem.headers["Retry-After"] == "500"
    quota.use("cab-1", Used(size_bytes=10 * DAY_S))
    problem = refused(quota)
    assert problem is not None
    assert problem.headers["Retry-After"] == "3600"


def test_no_more_than_a_day_is_saved_up() -> None:
    clock = Clock()
    quota = Quota(clock, Used(size_bytes=100, readings=100, requests=100, work_s=100))
    assert refused(quota) is None
    clock.now_s += 30 * DAY_S
    quota.use("cab-1", Used(readings=100))
    assert refused(quota) is not None
