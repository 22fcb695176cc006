"""Area parameters: `area` and `group` in a question, made into what they mean at a moment.

Bound: MAX_NAMED of each in one question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from cloud.api.routes import Asked, Param
from cloud.problem import bad_request, wrong
from cloud.records.areas import ReadAreas
from cloud.views.contract import Box
from cloud.views.within import Within
from groundwork.nearest import did_you_mean, nearest
from wire.time import Utc

MAX_NAMED: Final = 100
PARAMS: Final = (
    Param(name="area", what="Only devices in one of these areas.", many=True),
    Param(name="group", what="Only devices of one of these groups.", many=True),
)


def named(asked: Asked) -> tuple[frozenset[str], frozenset[str]]:
    """The areas and the groups that a question names.

    Raises:
        Problem: there are too many.
    """
    found = [asked.request.query_params.getlist(name) for name in ("area", "group")]
    if max(map(len, found)) > MAX_NAMED:
        raise bad_request(f"at most {MAX_NAMED} areas and {MAX_NAMED} groups")
    return frozenset(found[0]), frozenset(found[1])


async def meant(store: ReadAreas, areas: Collection[str], groups: Collection[str], at_us: Utc) -> Within | None:
    """What they mean at a moment; None where none is named.

    Raises:
        Problem: 404, there is none of a name that holds then; with the nearest name that there is.
    """
    if not areas and not groups:
        return None
    within = await store.within(areas, groups, at_us)
    if within.missing:
        raise wrong(404, "not-found", await missing(store, within))
    return within


async def missing(store: ReadAreas, within: Within) -> list[str]:
    """What is told of names that do not hold, with the nearest that there is."""
    told: list[str] = []
    for kind, name in within.missing:
        known = await store.names(kind)
        near = None if name in known else await asyncio.to_thread(nearest, name, known)
        over = " that holds at that time: it has ended, or has not begun" if name in known else ""
        told.append(f"there is no {kind} {name[:100]!r}{over}{did_you_mean(near)}")
    return told


def box(given: str | None) -> Box | None:
    """A bounding box as it is written.

    Raises:
        Problem: it is none.
    """
    if given is None:
        return None
    try:
        west, south, east, north = (float(part) for part in given[:200].split(","))
    except ValueError:
        raise bad_request(f"box is {given[:50]!r}; write west,south,east,north, as 4.96,47.27,5.12,47.37") from None
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):  # false for NaN, too
        raise bad_request(
            "box: longitudes lie from -180 to 180, latitudes from -90 to 90, and south is not above north"
        )
    return west, south, east, north
