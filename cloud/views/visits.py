"""Visits: who is at a node's cabinet now, out of what the node has said of its visits. Pure.

Somebody is there from `began` until `left`, or until the time that the node has said last, whichever comes first: a
node that is cut off, or whose card has died, holds nobody there for ever.

Bounds: of a node MAX_VISITS entries are kept, the newest; of those that are no acts the last MAX_LOOKED are looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from cloud.log.batch_facts import SYNCED
from cloud.times import text
from cloud.views.answers import TechnicianSeen
from cloud.views.contract import Fix
from cloud.views.readings_page import corrected
from wire.entries import Visit
from wire.time import Utc

MAX_VISITS: Final = 2_000
MAX_LOOKED: Final = 200
NEWEST: Final = (2**62, 0)  # before it are all


def technicians(said: Iterable[Visit], fixes: Mapping[int, Fix], now_us: Utc) -> tuple[TechnicianSeen, ...]:
    """Who is there, by when they came; `said` is newest first."""
    last: dict[str, Visit] = {}
    began: dict[str, Visit] = {}
    left: set[str] = set()
    for visit in said:
        if visit.act == "left":
            left.add(visit.visit)
        elif visit.act == "began":
            began[visit.visit] = visit
        if visit.until_us is not None:
            last.setdefault(visit.visit, visit)
    found: list[TechnicianSeen] = []
    for name, visit in last.items():
        until_us = _corrected(visit, visit.until_us or Utc(0), fixes)
        if name in left or until_us <= now_us:
            continue
        first = began.get(name, visit)
        since_us = _corrected(first, first.time_us, fixes)
        found.append(
            TechnicianSeen(
                by=visit.by,
                visit=name,
                since=text(since_us),
                since_us=since_us,
                until=text(until_us),
                until_us=until_us,
                here=visit.act == "here",
            )
        )
    return tuple(sorted(found, key=lambda t: (t.since_us, t.visit)))


def highest_code(said: Iterable[Visit], since_us: Utc, fixes: Mapping[int, Fix]) -> int:
    """The highest counter of a code that was used since then, as far as the node has told; 0 for none."""
    used = (v.code for v in said if v.code is not None and _corrected(v, v.time_us, fixes) >= since_us)
    return max(used, default=0)


def _corrected(visit: Visit, time_us: Utc, fixes: Mapping[int, Fix]) -> Utc:
    return corrected(time_us, SYNCED if visit.boot is None else visit.boot, fixes)
