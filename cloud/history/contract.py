"""History, as it is asked for and answered: series by buckets of a calendar, in blocks, however it was found out.

What its words mean stands in `cloud.history.partial`: a reading, held, mean, increase. Here is what bounds them: a
value is held for as long as its point's profile lets the last value stand for now (`stale_after_s`), at most
MAX_HOLD_US; where the profile does not say, for PERIODS of those at which it is read. Where the node does not say that
either, for DEFAULT_HOLD_US, and then how much of a bucket is covered counts as not known. What comes before the first
bucket is looked at as far back as a value is held, at least an hour, in whole hours: `lead_us`.

Bounds: MAX_SERIES series, MAX_PLACES places (series × buckets), MAX_BODIES bodies opened for one answer,
which is put together CELLS_AT_ONCE at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from cloud.history.calendar import HOUR_US, Every
from cloud.history.partial import Terms
from cloud.times import DAY_US, SECOND_US
from cloud.views.contract import KnownDevice, TargetsAsked
from wire.device import Device, Point
from wire.time import Micros, Utc, micros

if TYPE_CHECKING:  # which brings numpy: not before somebody asks
    from cloud.history.grid import Course

MAX_SERIES: Final = 100_000
MAX_PLACES: Final = 20_000_000
MAX_BODIES: Final = 100_000
CELLS_AT_ONCE: Final = 400_000
MAX_HOLD_US: Final = DAY_US * 7
DEFAULT_HOLD_US: Final = SECOND_US * 900
PERIODS: Final = 3
DAYS_S: Final = 604_800.0  # the longest that is believed


class TooMuch(Exception):
    """The answer would take too long, or be too large; the text says how to ask for less."""


class HistoryAsked(msgspec.Struct, frozen=True, kw_only=True):
    """These points of the devices that are meant, in the buckets that hold from_us ≤ time < to_us: whole ones, but for
    one that is not over yet. `zone` is an IANA name."""

    which: TargetsAsked
    points: tuple[str, ...]
    every: Every
    zone: str
    from_us: Utc
    to_us: Utc


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """A point of a device under its owner; `described` is None while no roster describes it."""

    device: str
    node: str
    point: str
    described: Point | None
    period_s: float | None = None  # how often it is read or should be heard; None: its node does not say
    heartbeat_s: float = 0.0  # for how long at most it is left out while it does not change

    @property
    def hold_known(self) -> bool:
        """Whether it is known for how long its value stands."""
        return self.period_s is not None or (self.described is not None and self.described.stale_after_s is not None)

    @property
    def terms(self) -> Terms:
        """How it is held and counted: for as long as its profile lets a value stand, or else for PERIODS of its own;
        and for its heartbeat more where it is left out while it does not change."""
        described, hold_us = self.described, DEFAULT_HOLD_US
        stale_after_s = None if described is None else described.stale_after_s
        if stale_after_s is None and self.period_s is not None:
            stale_after_s = PERIODS * self.period_s
        if stale_after_s is not None:
            hold_us = min(micros(min(max(stale_after_s, 0.0), DAYS_S) + self.heartbeat_s), MAX_HOLD_US)
        wraps_at = None if described is None else described.wraps_at
        return Terms(hold_us, wraps_at if wraps_at is not None and wraps_at > 0 else inf)

    @property
    def counts(self) -> bool | None:
        """Whether it is a counter; None where its profile does not say."""
        return None if self.described is None else self.described.counter


class Block(msgspec.Struct, frozen=True):
    """Some of the series, and what each did in every bucket."""

    series: Sequence[Series]
    course: Course


class HistoryFound(msgspec.Struct, frozen=True):
    """Where the buckets begin and the last ends, how many series were looked at, and these by node, device and point in
    blocks. `unknown` are devices that were named and are not known; `points` are those that rosters have of the devices
    that are meant, and `others` says whether no roster describes one of them."""

    edges: Sequence[Utc]
    series: int
    unknown: Sequence[str]
    points: frozenset[str]
    others: bool
    blocks: AsyncIterator[Block]


class HistoryViews(Protocol):
    """What the API is handed."""

    async def history(self, asked: HistoryAsked) -> HistoryFound:
        """What the points did; series of which nothing is known are left out, unless a roster describes them.

        Raises:
            ValueError: the times are none, or make too many buckets.
            TooMuch: the answer would be.
        """
        ...


def lead_us(terms: Terms) -> Micros:
    """How far before the first bucket a series is looked at."""
    return HOUR_US * max(1, -(-terms.hold_us // HOUR_US))


def series_of(known: Sequence[KnownDevice], asked: HistoryAsked) -> list[Series]:
    """The series that are meant, by node, device and point. Of devices that are not named only what a roster has."""
    found: list[Series] = []
    for device in sorted(known, key=lambda d: (d.node, d.id)):
        points = {p.name: p for p in device.points}
        found.extend(
            described_series(device.id, device.node, point, device.described, points.get(point))
            for point in sorted(set(asked.points))
            if point in points or asked.which.devices is not None
        )
    return found


def described_series(device: str, node: str, point: str, of: Device | None, described: Point | None) -> Series:
    """A series of a device as its roster has it: `of` is the device, None where no roster names it."""
    return Series(
        device=device,
        node=node,
        point=point,
        described=described,
        period_s=None if of is None else _seconds(of.period_s),
        heartbeat_s=0.0 if of is None else _seconds(of.heartbeats_s.get(point)) or 0.0,
    )


def _seconds(given: float | None) -> float | None:
    """What comes from outside and can be meant."""
    return None if given is None or not 0 < given <= DAYS_S else given


def found_of(
    asked: HistoryAsked,
    edges: Sequence[Utc],
    known: Sequence[KnownDevice],
    series: Sequence[Series],
    blocks: AsyncIterator[Block],
) -> HistoryFound:
    """What is told before the first block."""
    return HistoryFound(
        edges=edges,
        series=len(series),
        unknown=unknown_of(asked, known),
        points=frozenset(p.name for points in {id(d.points): d.points for d in known}.values() for p in points),
        others=any(d.described is None for d in known),
        blocks=blocks,
    )


def unknown_of(asked: HistoryAsked, known: Sequence[KnownDevice]) -> list[str]:
    """The devices that were named and are not known."""
    there = {device.id for device in known}
    return [device for device in dict.fromkeys(asked.which.devices or ()) if device not in there]


def check(series: int, buckets: int) -> None:
    """Pass if an answer has room for so much.

    Raises:
        TooMuch: it has not.
    """
    if series > MAX_SERIES:
        raise TooMuch(f"{series:,} series; at most {MAX_SERIES:,}: name fewer devices or points")
    if series * buckets > MAX_PLACES:
        raise TooMuch(
            f"{series:,} series of {buckets:,} buckets are more than {MAX_PLACES:,} places: ask for fewer devices or"
            " points, for a shorter time, or for longer buckets (every)"
        )
