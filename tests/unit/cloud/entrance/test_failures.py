"""Wrong tokens are slowed down by address and told once a minute, whatever their number."""

from __future__ import annotations

import logging

import pytest

from cloud.entrance import failures
from cloud.entrance.failures import BURST, MAX_ADDRESSES, PER_S, TELL_S, Failures


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_an_address_has_so_many_and_then_some_each_minute() -> None:
    clock = Clock()
    seen = Failures(clock)
    assert [seen.failed("a") > 0 for _ in range(30)] == [False] * int(BURST) + [True] * (30 - int(BURST))
    assert seen.failed("a") == pytest.approx(1 / PER_S)
    assert seen.failed("b") == 0
    clock.now_s += 1 / PER_S
    assert seen.failed("a") == 0
    assert seen.failed("a") > 0
    clock.now_s += 10_000
    assert [seen.failed("a") > 0 for _ in range(30)].count(False) == BURST


def test_it_is_told_once_a_minute_with_counts(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    seen = Failures(clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(2_000):
            seen.failed("192.0.2.1")
        assert len(caplog.records) == 1
        seen.failed("192.0.2.2")
        clock.now_s += TELL_S
        seen.failed("192.0.2.2")
    assert len(caplog.records) == 2
    assert caplog.records[1].getMessage() == (
        "2001 requests with a token that is not valid here, from 2 addresses: 192.0.2.1 (1999), 192.0.2.2 (2)"
    )


def test_so_many_addresses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "MAX_ADDRESSES", 10)
    seen = Failures(Clock())
    for i in range(1_000):
        seen.failed(str(i))
    assert len(seen._left) == 10
    assert len(seen._untold) <= 10 < MAX_ADDRESSES
