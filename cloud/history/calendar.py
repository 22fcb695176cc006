"""Buckets of a calendar: the minutes, quarters, hours and days of a time zone, as moments in UTC. Pure.

A day is from midnight to midnight where people live: of 23 hours when clocks go forward, of 25 when they go back, and
the hour that comes twice is two buckets. Where clocks move by half an hour, so does the hour that it falls into: it is
shorter. A midnight that does not exist is the moment at which clocks moved.

Bounds: times lie between FIRST_US and LAST_US; at most MAX_BUCKETS are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from cloud.times import DAY_US, SECOND_US
from wire.time import Micros, Utc

Every = Literal["1m", "15m", "1h", "1d"]
LENGTHS_US: Final[dict[Every, Micros]] = {
    "1m": SECOND_US * 60,
    "15m": SECOND_US * 900,
    "1h": SECOND_US * 3_600,
    "1d": DAY_US,
}
HOUR_US: Final = LENGTHS_US["1h"]
FIRST_US: Final = Utc(0)
LAST_US: Final = Utc(7_258_118_400 * SECOND_US)  # 2200
MAX_BUCKETS: Final = 50_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def edges(every: Every, zone: ZoneInfo, from_us: Utc, to_us: Utc) -> list[Utc]:
    """Where the buckets begin that hold from_us ≤ time < to_us, and where the last of them ends.

    Raises:
        ValueError: nothing lies between these times, they lie out of bounds, or there would be too many.
    """
    if not FIRST_US <= from_us < to_us <= LAST_US:
        raise ValueError("from lies before to, and both between 1970 and 2200")
    if (to_us - from_us) // LENGTHS_US[every] > MAX_BUCKETS:
        raise ValueError(f"more than {MAX_BUCKETS:,} buckets: ask for a shorter time, or for longer buckets")
    found: list[Utc] = []
    for start in (
        _days(zone, from_us, to_us) if every == "1d" else _within_days(LENGTHS_US[every], zone, from_us, to_us)
    ):
        if start <= from_us:
            found = [start]
            continue
        found.append(start)
        if start >= to_us:
            break
    return found


def text(time_us: Utc, zone: ZoneInfo) -> str:
    """RFC 3339 as a clock in the zone shows it, to the second: with it, the two hours of one name differ."""
    return (_EPOCH + timedelta(seconds=time_us // SECOND_US)).astimezone(zone).isoformat()


def _days(zone: ZoneInfo, from_us: Utc, to_us: Utc) -> Iterator[Utc]:
    """The midnights from before a time to after another."""
    day = _local(from_us, zone).date() - timedelta(days=1)
    before = None
    while before is None or before <= to_us:
        start = _midnight(day, zone)
        if start != before:  # but for a day that was left out
            yield start
        before = start
        day += timedelta(days=1)


def _within_days(length_us: Micros, zone: ZoneInfo, from_us: Utc, to_us: Utc) -> Iterator[Utc]:
    days = _days(zone, from_us, to_us)
    start = next(days)
    for end in days:
        if end > from_us - length_us:
            yield from _of_day(length_us, zone, start, end)
        start = end
    yield start


def _of_day(length_us: Micros, zone: ZoneInfo, start: Utc, end: Utc) -> Iterator[Utc]:
    """The edges of a day, without its end: in even steps from each moment at which the clocks moved."""
    while start < end:
        offset = _offset(start, zone)
        until = end if _offset(Utc(end - 1), zone) == offset else _moved(zone, start, end)
        if start % length_us != -offset % length_us:  # until the clock shows a whole one
            yield start
            start = Utc(start + (-offset - start) % length_us)
        yield from map(Utc, range(start, until, length_us))
        start = until


def _moved(zone: ZoneInfo, start: Utc, end: Utc) -> Utc:
    """The first moment after `start` at which the clocks show another offset, to the second."""
    offset, low, high = _offset(start, zone), start // SECOND_US, end // SECOND_US
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(Utc(middle * SECOND_US), zone) == offset:
            low = middle
        else:
            high = middle
    return Utc(high * SECOND_US)


def _midnight(day: date, zone: ZoneInfo) -> Utc:
    return Utc((datetime(day.year, day.month, day.day, tzinfo=zone) - _EPOCH) // timedelta(microseconds=1))


def _local(time_us: Utc, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=time_us)).astimezone(zone)


def _offset(time_us: Utc, zone: ZoneInfo) -> Micros:
    offset = _local(time_us, zone).utcoffset()
    assert offset is not None
    return Micros(offset // timedelta(microseconds=1))
