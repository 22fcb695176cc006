"""Cursor: where a reader of the feed is. A number and not a row: `generation.position`, or
`generation.position.offset` inside a record, which means that the events up to that offset have been sent.

A reader that is behind is told urgent records first, then live ones, then late ones (`cloud.log.outline.Rank`), so it
is at a place in each rank: `generation.position-LIVE-URGENT`, where position is the place among the late records, and
each of the others is `after`, or `after_skip` within the next record. No rank is behind one that it goes ahead of: that
is what makes it safe when a record counts to a lower rank than it did. The text is opaque to readers.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from cloud.log.contract import Reach

MAX_NUMBER: Final = 2**63 - 1  # what a store can be asked with

Reason = Literal["expired", "generation", "unknown"]


class RankPlace(msgspec.Struct, frozen=True, order=True, gc=False):
    """All records of a rank up to `after` have been sent, and the first `skip` events of the next position, where that
    is one of the rank."""

    after: int
    skip: int = 0

    def __str__(self) -> str:
        return f"{self.after}_{self.skip}" if self.skip else str(self.after)


Ahead = tuple[RankPlace, RankPlace]  # among the live records, among the urgent ones


class Cursor(msgspec.Struct, frozen=True):
    """After this. `offset` is None where the whole record has been sent; `ahead` is None where all ranks are there."""

    generation: int
    position: int
    offset: int | None = None
    ahead: Ahead | None = None

    @property
    def place(self) -> RankPlace:
        """The same as a place: everything up to it has been sent, whatever more has."""
        return RankPlace(self.position) if self.offset is None else RankPlace(self.position - 1, self.offset + 1)

    def __str__(self) -> str:
        tail = "" if self.offset is None else f".{self.offset}"
        ahead = "" if self.ahead is None else "".join(f"-{place}" for place in self.ahead)
        return f"{self.generation}.{self.position}{tail}{ahead}"


class Start(msgspec.Struct, frozen=True):
    """Where to go on: with the record after `after`, leaving out its first `skip` events; in the ranks `ahead` of the
    last, from there. `reset` says why not where the reader asked.
    """

    after: int
    skip: int = 0
    reset: Reason | None = None
    ahead: Ahead | None = None


class Origins(msgspec.Struct, frozen=True):
    """What is known of the store's past: its generation, the one that it was restored from, and the position up to
    which both are the same.
    """

    generation: int
    previous: int
    shared_through: int


def parse(given: str) -> Cursor:
    """A cursor from text.

    Raises:
        ValueError: it is none.
    """
    last, *ahead = given.split("-")
    parts = last.split(".")
    places = [place.split("_") for place in ahead]
    if (
        len(parts) not in (2, 3)
        or len(ahead) not in (0, 2)
        or not all(map(_number, parts))
        or not all(len(place) <= 2 and all(map(_number, place)) for place in places)
    ):
        raise _none(given)
    generation, position, *offset = map(int, parts)
    cursor = Cursor(generation, position, offset[0] if offset else None)
    if not ahead:
        return cursor
    live, urgent = (RankPlace(*map(int, place)) for place in places)
    if not cursor.place.after <= live.after <= urgent.after:
        raise _none(given)
    return msgspec.structs.replace(cursor, ahead=(live, urgent))


def start(cursor: Cursor, origins: Origins, reach: Reach) -> Start:
    """Where a reader resumes, from what it has received.

    Of another generation the records up to where both are the same need not be sent again; what came after may
    have been sent under the same ids before.
    """
    place, ahead = cursor.place, cursor.ahead
    farthest = cursor.position if ahead is None else max(cursor.position, *(p.after + bool(p.skip) for p in ahead))
    if cursor.generation != origins.generation:
        shared = origins.shared_through if cursor.generation == origins.previous else 0
        after = max(reach.floor, min(place.after, shared))
        if ahead is None:
            return Start(after, reset="generation")
        live, urgent = (RankPlace(max(reach.floor, min(p.after, shared))) for p in ahead)
        return Start(after, reset="generation", ahead=(live, urgent))
    if farthest > reach.head:
        return Start(reach.floor, reset="unknown")
    if place.after < reach.floor:
        floor = RankPlace(reach.floor)
        return Start(reach.floor, reset="expired", ahead=ahead and (max(floor, ahead[0]), max(floor, ahead[1])))
    return Start(place.after, place.skip, ahead=ahead)


def _number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) <= MAX_NUMBER


def _none(given: str) -> ValueError:
    return ValueError(f"{given[:60]!r} is no cursor; it is the id of an event of this feed, or 0 for all there is")
