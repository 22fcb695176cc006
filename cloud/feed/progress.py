"""Progress: how far one reader of the feed has come in each rank, and which rank is next. Pure.

Urgent records are told first, then live ones, then late ones; no rank is looked through beyond where the one before it
is. So a late record can be told only after all that is urgent or live up to it.
"""

from __future__ import annotations

from collections.abc import Callable

from cloud.log.cursor import Cursor, RankPlace, Start
from cloud.log.outline import Rank


class Progress:
    """Of one reader; moves forward only."""

    def __init__(self, start: Start) -> None:
        last = RankPlace(start.after, start.skip)
        live, urgent = start.ahead or (last, last)
        self._places = [urgent, live, last]  # as Rank counts

    def at(self, rank: Rank) -> RankPlace:
        """Where the reader is in a rank."""
        return self._places[rank]

    def bound(self, rank: Rank, head: int) -> int:
        """How far a rank may be looked through now."""
        return head if rank is Rank.URGENT else self._places[rank - 1].after

    def passed(self, rank: Rank, through: int) -> None:
        """There is nothing for this reader in a rank up to here."""
        if through > self._places[rank].after:
            self._places[rank] = RankPlace(through)

    def sent(self, rank: Rank, position: int, offset: int | None) -> None:
        """The record at a position, one of this rank, was sent up to an offset; None for all of it."""
        if offset is not None:
            self._places[rank] = RankPlace(position - 1, offset + 1)
            return
        self._places[rank] = RankPlace(position)
        for lower in range(rank + 1, len(self._places)):  # it is none of theirs
            if self._places[lower].after == position - 1:
                self._places[lower] = RankPlace(position)

    def rise(self, floor: int) -> None:
        """What is at and below the floor is gone."""
        self._places = [max(place, RankPlace(floor)) for place in self._places]

    @property
    def state(self) -> tuple[RankPlace, ...]:
        """The same for two readers that are at the same place."""
        return tuple(self._places)

    @property
    def last(self) -> int:
        """All records up to here have been sent."""
        return self._places[Rank.LATE].after

    def cursor(self, generation: int) -> Cursor:
        """The same as a cursor."""
        urgent, live, late = self._places
        if urgent.after == live.after == late.after:  # the next record has one rank, and at most one of these counts
            skip = max(urgent.skip, live.skip, late.skip)
            return Cursor(generation, late.after + 1, skip - 1) if skip else Cursor(generation, late.after)
        if late.skip:
            return Cursor(generation, late.after + 1, late.skip - 1, (live, urgent))
        return Cursor(generation, late.after, ahead=(live, urgent))

    def ids(self, generation: int, rank: Rank, position: int, last: int | None) -> Callable[[int], str]:
        """The cursor after each event of a record, by its offset; `last` is that of the record's last one."""
        if all(place.after == position - 1 for place in self._places):
            whole, stem = str(Cursor(generation, position)), f"{generation}.{position}."
            return lambda offset: whole if offset == last else f"{stem}{offset}"

        then = Progress(Start(0))
        then._places = self._places.copy()
        then.sent(rank, position, None)
        end = str(then.cursor(generation))
        urgent, live, late = self._places
        behind = Cursor(generation, late.after + 1, late.skip - 1) if late.skip else Cursor(generation, late.after)
        match rank:
            case Rank.LATE:
                begin, tail, more = f"{generation}.{position}.", f"-{live}-{urgent}", 0
            case Rank.LIVE:
                begin, tail, more = f"{behind}-{position - 1}_", f"-{urgent}", 1
            case Rank.URGENT:
                begin, tail, more = f"{behind}-{live}-{position - 1}_", "", 1
        return lambda offset: end if offset == last else f"{begin}{offset + more}{tail}"
