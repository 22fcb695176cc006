"""What is a repeat of a publish that a device numbers, and what is a reading of its own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conformance.driver_rigs import profile_of
from drivers.profile_files import SHIPPED, load_profiles
from unit.drivers.test_inboxes import BIN, MINUTE_US, NOW_US, Bench

SECOND_US = 1_000_000
NUMBERED = profile_of(
    "numbered",
    {
        "driver": "mqtt",
        "mqtt": {"topic": "bins/{serial}/up", "packet_id": "i", "reception": ["rssi"]},
        "point": {
            "n": {"type": "int", "at": {"value": "n"}},
            "rssi": {"type": "int", "at": {"value": "rssi"}},
        },
    },
)


def said(i: object, n: object = 1, **more: Any) -> bytes:
    return json.dumps({"i": i, "n": n, **more}).encode()


async def test_a_counter_that_begins_anew_loses_nothing_where_the_payload_has_a_time() -> None:
    bench = Bench()
    for round_ in range(2):
        for i in (1, 2, 3):
            at_s = NOW_US / 1e6 - 600 + 60 * round_ + i
            bench.take(said(i, 12, t=at_s), said(i, 12, t=at_s))  # each once more: that is a repeat
    assert bench.kept == [12] * 6
    assert bench.counts["repeats"] == 6


async def test_a_repeat_with_its_own_time_is_one_however_late_it_comes() -> None:
    bench = Bench()
    bench.take(said(1, t=NOW_US / 1e6))
    bench.now_us += 3 * 3600 * SECOND_US
    bench.take(said(1, t=NOW_US / 1e6))
    assert len(bench.kept) == 1


async def test_without_a_time_the_same_id_and_values_are_a_repeat_for_some_seconds_only() -> None:
    bench = Bench(NUMBERED)
    bench.take(said(1), said(1))
    bench.now_us += 4 * SECOND_US
    bench.take(said(1))
    assert len(bench.kept) == 1
    bench.now_us += MINUTE_US
    bench.take(said(1))  # a device that has begun anew, or whose id never changes
    assert len(bench.kept) == 2


async def test_an_id_that_never_changes_silences_no_device() -> None:
    bench = Bench(NUMBERED)
    for _ in range(60):  # a repeat does not make the time any longer in which the next is one
        bench.take(said(0))
        bench.now_us += SECOND_US
    assert len(bench.kept) == 12


async def test_a_clock_that_was_never_set_silences_no_device() -> None:
    bench = Bench()
    for _ in range(6):
        bench.take(said(0, t=5))  # five seconds after 1970, at each wake-up
        bench.now_us += 10 * MINUTE_US
    assert len(bench.kept) == 6


async def test_how_it_was_received_is_no_part_of_what_was_said() -> None:
    bench = Bench(NUMBERED)
    bench.take(said(1, rssi=-90), said(1, rssi=-97), said(1, rssi="x"), said(1, n=2, rssi=-97), said(2, rssi=-97))
    assert [(s.values["n"], s.values["rssi"]) for s, _ in bench.node.got] == [(1, -90), (2, -97), (1, -97)]


@pytest.mark.parametrize("away_s", [2, 3600, -3600])
async def test_after_a_restart_what_is_a_repeat_is_the_same(away_s: int) -> None:
    before = Bench(NUMBERED)
    before.take(said(1))
    timed = Bench()
    timed.take(said(1, t=NOW_US / 1e6))
    keys = [r.key for bench in (before, timed) for _, r in bench.node.got if r]
    assert max(map(len, keys)) <= 64
    after_us = NOW_US + away_s * SECOND_US
    after = Bench(NUMBERED, recent=keys, now_us=after_us)
    after.take(said(1))
    assert len(after.kept) == (0 if away_s == 2 else 1)
    after = Bench(BIN, recent=keys, now_us=max(after_us, NOW_US))
    after.take(said(1, t=NOW_US / 1e6))
    assert after.kept == []


async def test_a_retained_publish_that_was_live_once_is_a_repeat_however_late_it_comes() -> None:
    bench = Bench(NUMBERED)
    bench.take(said(1))
    bench.now_us += 60 * MINUTE_US
    bench.take(said(1), retain=True)
    bench.take(said(2), retain=True)
    assert len(bench.kept) == 2


async def test_an_uplink_that_comes_by_two_gateways_is_one_reading() -> None:
    profile = load_profiles([SHIPPED], [], ["chirpstack-v4-lht65n"])["chirpstack-v4-lht65n"]
    bench = Bench(profile)
    for rssi in (-90, -97):
        uplink = {
            "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d", "time": "2026-09-21T14:13:20+00:00", "fCnt": 7,
            "object": {"TempC_SHT": 21.5, "Hum_SHT": 40.1}, "rxInfo": [{"gatewayId": "a", "rssi": rssi}],
        }  # fmt: skip
        bench.take(json.dumps(uplink).encode(), topic="application/1/device/7/event/up")
    assert len(bench.node.got) == 1
    assert bench.node.got[0][0].values["rssi"] == -90
