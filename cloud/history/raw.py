"""Raw: which stretches of time are read one after the other, and what is read put into a grid. Pure.

A stretch is some cells of one node's series, STRETCH_US long or one cell if that is longer: so much is read in one go,
in one thread, and then others have their turn.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from cloud.history.calendar import HOUR_US
from cloud.history.contract import Series, lead_us
from cloud.history.gather import Key, fold_cells
from cloud.history.partial import Readings
from cloud.history.place import Place
from wire.time import Micros, Utc

if TYPE_CHECKING:  # which brings numpy: not before somebody asks
    from cloud.history.grid import Grid

STRETCH_US: Final = HOUR_US * 6


class Cells(msgspec.Struct, frozen=True):
    """The cells that a grid has: the first `lead` lie before the buckets, each of which begins with one of `starts`."""

    edges: Sequence[Utc]
    lead: int
    starts: Sequence[int]


class Stretch(msgspec.Struct, frozen=True):
    """Cells `first` to before `stop`, between two times."""

    first: int
    stop: int
    from_us: Utc
    to_us: Utc


def cells_of(buckets: Sequence[Utc], lead: Micros) -> Cells:
    """The cells of buckets: hours of UTC where each bucket is made of them, else the buckets themselves.

    That is so whoever answers, so that folded hours and readings come to the same.
    """
    if any(edge % HOUR_US for edge in buckets[:-1]):
        return Cells([buckets[0] - lead, *buckets], 1, range(len(buckets) - 1))
    last = buckets[-1]  # of a bucket that is not over, wherever now is
    edges = [*map(Utc, range(buckets[0] - lead, last, HOUR_US)), last]
    return Cells(edges, lead // HOUR_US, [(edge - buckets[0]) // HOUR_US for edge in buckets[:-1]])


def stretches(cells: Cells, wanted: Sequence[bool] | None = None) -> Iterator[Stretch]:
    """All cells, or those that are wanted, some at a time."""
    edges = cells.edges
    first = 0
    while first < len(edges) - 1:
        if wanted is not None and not wanted[first]:
            first += 1
            continue
        stop = first + 1
        while (
            stop < len(edges) - 1 and (wanted is None or wanted[stop]) and edges[stop + 1] - edges[first] <= STRETCH_US
        ):
            stop += 1
        yield Stretch(first, stop, edges[first], edges[stop])
        first = stop


def unfolded(cells: Cells, node: str, place: Place, touched: Sequence[tuple[Utc, Utc]]) -> list[bool]:
    """Of each cell whether it must be made of readings: it is not folded, or something has touched it since."""
    edges = cells.edges
    found: list[bool] = []
    for begin, end in pairwise(edges):
        whole = end - begin == HOUR_US and not begin % HOUR_US
        found.append(not whole or not place.folded(node, begin // HOUR_US))
    for low, high in touched:
        first = max(bisect_right(edges, low) - 1, 0)
        for cell in range(first, min(bisect_right(edges, high), len(found))):
            found[cell] = True
    return found


def put(
    grid: Grid, cells: Cells, within: Stretch, places: Mapping[Key, tuple[int, Series]], found: Mapping[Key, Readings]
) -> None:
    """Fold what was read of a slice into the places of its series."""
    edges = cells.edges[within.first : within.stop + 1]
    begin = cells.edges[cells.lead]
    for key, readings in found.items():
        place = places.get(key)
        if place is not None:
            row, series = place
            terms = series.terms
            at, partials = fold_cells(readings, edges, terms, begin - lead_us(terms))
            grid.put_row(row, [within.first + cell for cell in at], partials)
