"""Place: how far the folder has come, which hours are folded, and which of them something has touched since. Pure.

An hour of a node is answered from what was folded where its day's file has it and it is not marked. A mark stands until
the hour has been folded anew. What is marked without need costs time, and no answer is wrong.

Bounds: one mark of 24 bits a node and day, one offset a node and boot.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from cloud.history.calendar import FIRST_US, HOUR_US, LAST_US
from wire.time import Micros, Utc

DAY_HOURS: Final = 24
WHOLE_DAY: Final = (1 << DAY_HOURS) - 1
VERSION: Final = 1


class FoldedDay(msgspec.Struct):
    """A day of UTC: which of its hours are folded, in one file or, while it goes on, one an
    hour; and when that was written last. A file is there also where it has no rows."""

    hours: int = 0
    whole: bool = False
    rolled_us: Utc = Utc(0)
    marks: dict[str, int] = {}


class Place(msgspec.Struct):
    """What stands in `_place.json`: the log's generation and the position up to which it was followed; how often the
    store had been built again with something missing; days by their number since 1970; the offsets of clock fixes that
    marks were made with."""

    version: int = VERSION
    generation: int = 0
    losses: int = 0
    position: int = 0
    days: dict[int, FoldedDay] = {}
    offsets: dict[str, dict[int, Micros]] = {}

    def mark(self, node: str, from_us: Utc, to_us: Utc) -> None:
        """Something was read of a node between two times, the latter too."""
        first, last = (min(max(t, FIRST_US), LAST_US) // HOUR_US for t in (from_us, to_us))
        for number in self._between(first // DAY_HOURS, last // DAY_HOURS):
            low = max(first - number * DAY_HOURS, 0)
            high = min(last - number * DAY_HOURS, DAY_HOURS - 1)
            day = self.days[number]
            found = day.hours & (((1 << (high - low + 1)) - 1) << low)
            if found:
                day.marks[node] = day.marks.get(node, 0) | found

    def mark_all(self, node: str) -> None:
        """Anything of a node may be another one."""
        for day in self.days.values():
            if day.hours:
                day.marks[node] = day.hours

    def folded(self, node: str, hour: int) -> bool:
        """Say whether an hour, counted since 1970, is answered from what was folded."""
        number, at = divmod(hour, DAY_HOURS)
        day = self.days.get(number)
        return day is not None and bool((day.hours & ~day.marks.get(node, 0)) >> at & 1)

    def _between(self, first: int, last: int) -> Iterator[int]:
        if last - first < len(self.days):
            return (n for n in range(first, last + 1) if n in self.days)
        return (n for n in list(self.days) if first <= n <= last)


def hours_of(mask: int) -> list[int]:
    """The hours that a mask has."""
    return [h for h in range(DAY_HOURS) if mask >> h & 1]
