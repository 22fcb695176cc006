"""Activity log: who was at the cabinet and what they did there, from what the node has told the city of it.

`GET /log?days=7` at the node's socket, for technicians, reads the card; while memory stands in for it, what was said
of visits since the start. A visit's own acts and what was given at the console are put into one list: an order stands
in it once, with how far it has come.

Bounds: MAX_DAYS back, and those of `edge.outbox.recounting`; one thread reads at a time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edge.control.on_site import PREFIX
from edge.outbox.reading import CardError
from edge.outbox.recounting import Recounted, recount
from edge.web.answers import json_answer
from wire.entries import Result, Stage, Visit
from wire.orders import FINAL
from wire.sample import Value
from wire.time import Utc, micros

DAYS: Final = 7.0
MAX_DAYS: Final = 366.0
_SPOKEN: Final = (  # as `edge.control.order_words` says who has given it
    re.compile(r"given at the cabinet by (?P<by>.*): (?P<value>.*) for (?P<for_s>\d+) s(?:; .*)?"),
    re.compile(r"(?P<act>blinking) at the cabinet by (?P<by>.*) for (?P<for_s>\d+) s(?:; .*)?"),
    re.compile(r"(?P<act>taken back) at the cabinet by (?P<by>.*)"),
    re.compile(r"(?P<act>acknowledge|shelve|unshelve) at the cabinet by (?P<by>.*): (?P<alarm>.*)"),
)


class Activity(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One thing that was done. `estimated`: by a clock that was not known to be right. came, here: until `until_us`.
    did: `detail` says what, `stage` and `read_back` how far an order has come. left: `detail` says why. `by` is empty
    where nobody has said who it was; `console`: at the node's console, by a login name."""

    time_us: Utc
    by: str
    what: Literal["came", "here", "did", "left"]
    estimated: bool = False
    console: bool = False
    visit: str = ""
    until_us: Utc | None = None
    device: str = ""
    point: str = ""
    detail: str = ""
    order: str = ""
    stage: Stage | None = None
    read_back: Value = None
    why: str = ""  # an order was not done


class Present(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who has come and not left."""

    by: str
    since_us: Utc
    until_us: Utc | None


class ActivityLog(msgspec.Struct, frozen=True, kw_only=True):
    """`since_us` is how far back it goes; None where nothing has been kept yet. `more`: there was more than is told."""

    since_us: Utc | None
    here: tuple[Present, ...]
    activities: tuple[Activity, ...]
    more: bool = False


def told(found: Recounted) -> ActivityLog:
    """What the entries say, oldest first."""
    activities: list[Activity] = []
    orders: dict[str, Activity] = {}
    here: dict[str, Present] = {}
    for entry in _visits_first(found.entries):
        if isinstance(entry, Visit):
            activity = _of_visit(entry)
            activities.append(activity)
            if entry.order:
                orders[entry.order] = activity
            if entry.act == "left":
                here.pop(entry.visit, None)
            elif entry.act in ("began", "here"):
                since_us = here[entry.visit].since_us if entry.visit in here else entry.time_us
                here[entry.visit] = Present(by=entry.by, since_us=since_us, until_us=entry.until_us)
            continue
        activity = orders.get(entry.order)
        if activity is None:
            if not entry.order.startswith(PREFIX):
                continue  # it came from afar
            activity = orders[entry.order] = _of_console(entry)
            activities.append(activity)
        activity.point = activity.point or entry.point
        if activity.stage not in FINAL:
            activity.stage = entry.stage
            if entry.stage in FINAL:
                activity.read_back = entry.read_back
                activity.why = "" if entry.stage == "verified" else entry.detail
    return ActivityLog(
        since_us=found.since_us, here=tuple(here.values()), activities=tuple(activities), more=found.more
    )


def _visits_first(entries: Sequence[Visit | Result]) -> Iterable[Visit | Result]:
    """What a visit says of an order before the order's own results: both are told in one commit."""
    spoken = {e.order for e in entries if isinstance(e, Visit) and e.order}
    waiting: dict[str, list[Result]] = {}
    for entry in entries:
        if isinstance(entry, Result) and entry.order in spoken:
            waiting.setdefault(entry.order, []).append(entry)
            continue
        yield entry
        if isinstance(entry, Visit) and entry.order:
            spoken.discard(entry.order)
            yield from waiting.pop(entry.order, ())


def _of_visit(entry: Visit) -> Activity:
    what: Final = {"began": "came", "here": "here", "acted": "did", "left": "left"}
    return Activity(
        time_us=entry.time_us,
        by=entry.by,
        what=what[entry.act],  # type: ignore[arg-type]
        estimated=entry.boot is not None,
        visit=entry.visit,
        until_us=entry.until_us,
        device=entry.device,
        detail=entry.detail,
        order=entry.order,
    )


def _of_console(entry: Result) -> Activity:
    found = next((m for shape in _SPOKEN if (m := shape.fullmatch(entry.detail))), None)
    said = {} if found is None else found.groupdict()
    if "value" in said:
        detail = f"{entry.point} = {said['value']} for {said['for_s']} s"
    elif said.get("act") == "blinking":
        detail = f"{entry.point} blinks for {said['for_s']} s"
    elif "alarm" in said:
        detail = f"{said['act']} {said['alarm']}"
    else:
        detail = f"{entry.point} released" if said else ""
    return Activity(
        time_us=entry.time_us,
        by=said.get("by", ""),
        what="did",
        estimated=entry.boot is not None,
        console=True,
        device=entry.device,
        point=entry.point,
        detail=detail,
        order=entry.order,
    )


class ActivityRoute:
    """`GET /log`."""

    def __init__(
        self, path: Callable[[], Path | None], now_us: Callable[[], Utc], said: Callable[[], Sequence[Visit]]
    ) -> None:
        """`path` is where the card is; None while memory stands in for it: then `said` is what there is."""
        self._path, self._now_us, self._said = path, now_us, said
        self._turn = asyncio.Lock()

    async def answer(self, request: Request) -> Response:
        """To whoever may know."""
        days = days_of(request.query_params.get("days", f"{DAYS:g}")[:20])
        if days is None:
            return json_answer({"error": f"days is a number above 0, at most {MAX_DAYS:g}"}, 400)
        from_us = Utc(self._now_us() - micros(days * 86_400))
        path = self._path()
        if path is None:
            visits = tuple(v for v in self._said() if v.time_us >= from_us)
            return json_answer(told(Recounted(since_us=min((v.time_us for v in visits), default=None), entries=visits)))
        try:
            async with self._turn:
                found = await asyncio.to_thread(_read, path, from_us)
        except CardError as error:
            return json_answer({"error": str(error)}, 503)
        return json_answer(found)


def _read(path: Path, from_us: Utc) -> ActivityLog:
    return told(recount(path, from_us))


def days_of(text: str) -> float | None:
    """A number of days that may be asked for; None for anything else."""
    try:
        days = float(text)
    except ValueError:
        return None
    return days if 0 < days <= MAX_DAYS else None
