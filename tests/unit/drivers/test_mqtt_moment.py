"""When a payload says that it was measured: zones, nights when clocks change, units, and clocks that are wrong."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from conformance.driver_rigs import profile_of
from drivers.mqtt.moment import FUTURE_US, PAST_US, NotBelieved, moment_us, why_no_zone
from unit.drivers.test_inboxes import NOW_US, Bench

HOUR_US = 3_600_000_000


def utc_us(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("raw", "zone", "utc"),
    [
        ("2026-11-28T14:00:00", "America/Guadeloupe", "2026-11-28T18:00:00"),
        ("2026-11-28T14:00:00", "UTC", "2026-11-28T14:00:00"),
        ("2026-11-28T14:00:00Z", "America/Guadeloupe", "2026-11-28T14:00:00"),
        ("2026-11-28T14:00:00+01:00", "America/Guadeloupe", "2026-11-28T13:00:00"),
        ("2026-11-28 14:00:00", "Europe/Paris", "2026-11-28T13:00:00"),
        ("20261128T140000Z", "", "2026-11-28T14:00:00"),
        (utc_us("2026-11-28T14:00:00") // 1_000_000, "", "2026-11-28T14:00:00"),
        (utc_us("2026-11-28T14:00:00") / 1e6, "", "2026-11-28T14:00:00"),
        (utc_us("2026-11-28T14:00:00") // 1_000, "", "2026-11-28T14:00:00"),
        (utc_us("2026-11-28T14:00:00"), "", "2026-11-28T14:00:00"),
        (utc_us("2026-11-28T14:00:00") * 1_000, "", "2026-11-28T14:00:00"),
        (str(utc_us("2026-11-28T14:00:00") // 1_000_000), "Europe/Paris", "2026-11-28T14:00:00"),
    ],
)
def test_what_is_a_time(raw: object, zone: str, utc: str) -> None:
    assert moment_us(raw, zone, utc_us("2026-11-28T20:00:00")) == pytest.approx(utc_us(utc), abs=200)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ("2026-11-28T14:00:00", "no time zone"),
        ("2026-11-28", "a date without a time"),
        ("20261128", "is no time"),
        ("noon at the fountain", "is no time"),
        ("2026-11-28T14:00:00" + "0" * 100, "is no time"),
        (True, "is no time"),
        ([1], "is no time"),
        (float("inf"), "is no time"),
        (float("nan"), "is no time"),
        (5, "before 2020"),
        ("1970-01-01T00:00:05Z", "before 2020"),
        ("0001-01-01T00:00:00+23:59", "before 2020"),
        ("2026-11-28T14:06:00Z", "5 min ahead"),
        (1e300, "5 min ahead"),
        ("2026-08-01T00:00:00Z", "92 days behind"),
    ],
)
def test_what_is_none(raw: object, why: str) -> None:
    with pytest.raises(NotBelieved, match=why):
        moment_us(raw, "", utc_us("2026-11-28T14:00:00"))


def test_a_local_time_that_is_twice_is_the_one_nearer_to_the_arrival() -> None:
    first, second = utc_us("2026-10-25T00:30:00"), utc_us("2026-10-25T01:30:00")
    for now_us, meant in ((first, first), (first + 60_000_000, first), (second, second), (second + HOUR_US, second)):
        assert moment_us("2026-10-25T02:30:00", "Europe/Paris", now_us) == meant


def test_a_local_time_that_is_left_out_is_none() -> None:
    now_us = utc_us("2026-03-29T01:30:00")
    with pytest.raises(NotBelieved, match="leave this local time out"):
        moment_us("2026-03-29T02:30:00", "Europe/Paris", now_us)
    assert moment_us("2026-03-29T03:30:00", "Europe/Paris", now_us) == now_us


def test_the_bounds_are_those_that_are_told() -> None:
    for us in (NOW_US + FUTURE_US, NOW_US - PAST_US):
        assert moment_us(us, "", NOW_US) == us
    for us in (NOW_US + FUTURE_US + 1, NOW_US - PAST_US - 1):
        with pytest.raises(NotBelieved):
            moment_us(us, "", NOW_US)


def test_zones_have_names() -> None:
    assert why_no_zone("America/Guadeloupe") is None
    assert why_no_zone("UTC") is None
    for name in ("Paris", "../etc/passwd", "", "\0", "Europe"):
        assert why_no_zone(name) is not None


def tasmota(**whole: str) -> object:
    return profile_of("tasmota", {
        "driver": "mqtt",
        "mqtt": {"topic": "tele/{serial}/SENSOR", "time": "Time", **whole},
        "point": {"n": {"type": "int", "at": {"value": "n"}}},
    })  # fmt: skip


LOCAL = datetime.fromtimestamp(NOW_US / 1e6, UTC).replace(tzinfo=None)


@pytest.mark.parametrize(
    ("whole", "site", "hours"),
    [
        ({}, "America/Guadeloupe", 4),
        ({"time_zone": "UTC"}, "America/Guadeloupe", 0),
        ({"time_zone": "America/Guadeloupe"}, "", 4),
    ],
)
async def test_a_time_without_zone_is_that_of_the_profile_or_of_the_site(
    whole: dict[str, str], site: str, hours: int
) -> None:
    bench = Bench(tasmota(**whole), zone=site, now_us=NOW_US + hours * HOUR_US)  # type: ignore[arg-type]
    bench.take(b'{"n": 1, "Time": "%s"}' % LOCAL.isoformat().encode(), topic="tele/7/SENSOR")
    assert [s.time_us for s, _ in bench.node.got] == [bench.now_us]
    assert bench.counts["times_refused"] == 0


async def test_where_nobody_names_a_zone_it_is_no_time_and_that_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tasmota(), now_us=NOW_US + 4 * HOUR_US)  # type: ignore[arg-type]
    for n in range(3):
        bench.take(b'{"n": %d, "Time": "%s"}' % (n, LOCAL.isoformat().encode()), topic="tele/7/SENSOR")
    assert [s.time_us for s, _ in bench.node.got] == [bench.now_us] * 3
    assert bench.counts["times_refused"] == 3
    assert len(caplog.messages) == 1
    assert "no time zone" in caplog.messages[0]
