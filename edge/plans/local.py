"""Local time: a place, and how moments and clock times there belong to nights.

A night runs from local noon to local noon and has the date of its evening, so that one date holds all of it (TALQ
calls this `dayOffset` = 12). Nights tile time: every moment is in exactly one. A night has 23, 24 or 25 hours.

A clock time that does not exist on the night when the clock goes forward is the moment after the gap; one that comes
twice on the night when it goes back is the first of the two. Times are UTC microseconds, dates within the years 1971
to 2110; ZoneInfo brings the rules of the time zone, from the system or from the package `tzdata`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from wire.time import Micros, Utc

SECOND_US: Final = Micros(1_000_000)
NOON_S: Final = 12 * 3600
DAY_S: Final = 24 * 3600
FIRST_DATE: Final = date(1971, 1, 1)
LAST_DATE: Final = date(2110, 12, 31)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """Where the node is: WGS 84 degrees, an IANA time zone, the ISO 3166-1 code of the country ("" where unsaid)."""

    lat: Annotated[float, Meta(ge=-90, le=90)]
    lon: Annotated[float, Meta(ge=-180, le=180)]
    time_zone: str
    country: str = ""


def zone(name: str) -> ZoneInfo:
    """The time zone of that name.

    Raises:
        ValueError: there is none; it says what to write.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # a folder's name is an IsADirectoryError
        raise ValueError(f'there is no time zone "{name}"; write one such as "Europe/Paris"') from error


def to_us(moment: datetime) -> Utc:
    """UTC microseconds of a moment with a time zone."""
    return Utc((moment - _EPOCH) // _MICROSECOND)


def to_datetime(time_us: Utc, zone: ZoneInfo) -> datetime:
    """The local time of a moment."""
    return datetime.fromtimestamp(time_us // SECOND_US, zone).replace(microsecond=time_us % SECOND_US)


def night_of(time_us: Utc, zone: ZoneInfo) -> date:
    """The date of the evening of the night that a moment is in."""
    local = datetime.fromtimestamp(time_us // SECOND_US, zone)
    today = local.date()
    return today if local.hour >= NOON_S // 3600 else today - timedelta(days=1)


def bounds(night: date, zone: ZoneInfo) -> tuple[Utc, Utc]:
    """First microsecond of a night, and the first after it."""
    return moment(night, NOON_S, zone), moment(night + timedelta(days=1), NOON_S, zone)


def in_night(night: date, second: int, zone: ZoneInfo) -> Utc:
    """When the clock shows so many seconds after midnight, in a night: from noon on it is the evening's date."""
    return moment(night if second >= NOON_S else night + timedelta(days=1), second, zone)


def moment(day: date, second: int, zone: ZoneInfo) -> Utc:
    """When the clock shows so many seconds after midnight on a date: in a gap the moment after it, of two the first."""
    naive = datetime.combine(day, time()) + timedelta(seconds=second)
    first = naive.replace(tzinfo=zone, fold=0)
    found = to_us(first)
    if datetime.fromtimestamp(found // SECOND_US, zone).replace(tzinfo=None) == naive:
        return found
    # In a gap: fold 0 reads the time with the offset before it, fold 1 with the offset after it (PEP 495), and the
    # change lies between the two. The clock jumps where the offset does.
    low, high = to_us(naive.replace(tzinfo=zone, fold=1)) // SECOND_US, found // SECOND_US
    after = datetime.fromtimestamp(high, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == after:
            high = middle
        else:
            low = middle
    return Utc(high * SECOND_US)
