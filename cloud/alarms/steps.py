"""Alarm steps over HTTP: how alarms went, by time, and what a reader has missed of the feed
(`cloud.records.alarm_steps`).

A page says where the next begins, in JSON as `next`, and in both forms as a link of the answer's head (RFC 8288).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from starlette.responses import Response

from cloud.alarms.alarms import SEVERITIES
from cloud.api.csv_cells import CSV, cell
from cloud.api.routes import JSON, READERS, Answer, Asked, Param, Route
from cloud.log import cursor as cursors
from cloud.log.cursor import Origins
from cloud.problem import bad_request
from cloud.records.alarm_steps import MAX_PAGE, AlarmStep, ReadAlarmSteps, StepPlace, StepsAsked
from cloud.times import TIME_BOUND_US, parse, text
from cloud.views.answers import ClockWord
from wire.entries import AlarmState, Severity
from wire.time import Utc

PAGE: Final = 500
COLUMNS: Final = (
    "time", "clock", "node", "device", "id", "rule", "severity", "before", "state", "active", "acknowledged", "by",
    "note", "source", "event",
)  # fmt: skip
_TIME: Final = "RFC 3339 with a time zone, or UTC microseconds"
_CURSOR: Final = re.compile(r"(-?[0-9]{1,19})\.([0-9]{1,19})\.([0-9]{1,19})")


class StepSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A step of an alarm: when, whose, from which state (null where that is not known) to which, by whom, and what was
    said with it. `event` is the id of its event in the feed."""

    time: str
    time_us: Utc
    clock: ClockWord
    node: str
    device: str
    id: str
    rule: str
    severity: Severity
    before: AlarmState | None
    state: AlarmState
    active: bool
    acknowledged: bool
    by: str
    note: str
    source: str
    event: str


class StepsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Steps by time; `next` goes into `cursor` for the page after it."""

    steps: tuple[StepSeen, ...]
    next: str | None


class Steps:
    """The route."""

    def __init__(self, store: ReadAlarmSteps, origins: Callable[[], Origins]) -> None:
        """`origins` says of which generation the log is."""
        self._store, self._origins = store, origins

    def routes(self) -> list[Route]:
        """The row of the table."""
        return [
            Route(
                method="GET",
                path="/v1/alarms/steps",
                name="alarm_steps",
                summary="Every step of every alarm, the aggregator's own too, by time.",
                roles=READERS,
                handler=self._page,
                params=(
                    Param(name="from", what=f"From this time on: {_TIME}."),
                    Param(name="to", what=f"Before this time: {_TIME}."),
                    Param(name="after", what="Only those that were taken after this cursor of the feed."),
                    Param(name="node", what="Only of this node."),
                    Param(name="device", what="Only of this device."),
                    Param(name="id", what="Only of alarms of this id."),
                    Param(name="severity", what="Only of these.", schema={"enum": sorted(SEVERITIES)}, many=True),
                    Param(
                        name="limit",
                        what=f"How many at most; {PAGE} when not given.",
                        schema={"type": "integer", "minimum": 1, "maximum": MAX_PAGE},
                    ),
                    Param(name="cursor", what="`next` of the page before."),
                    Param(
                        name="format",
                        what="json when not given.",
                        schema={"type": "string", "enum": ["json", "csv"]},
                    ),
                ),
                answers={200: Answer(what="A page, perhaps a short one; in CSV a row a step.", body=StepsPage)},
            )
        ]

    async def _page(self, asked: Asked) -> Response:
        form = asked.one("format") or "json"
        if form not in ("json", "csv"):
            raise bad_request(f"format is {form[:50]!r}; it is json or csv")
        question = StepsAsked(
            from_us=_time(asked, "from", Utc(-TIME_BOUND_US)),
            to_us=_time(asked, "to", TIME_BOUND_US),
            after=self._after(asked.one("after")),
            node=asked.one("node"),
            device=asked.one("device"),
            id=asked.one("id"),
            severities=_severities(asked),
            cursor=_place(asked.one("cursor")),
            limit=asked.number("limit", PAGE, 1, MAX_PAGE),
        )
        found, place = await self._store.page(question)
        after = None if place is None else ".".join(map(str, place))
        headers = {"Cache-Control": "no-store"}
        if after is not None:
            there = asked.request.url.include_query_params(cursor=after)
            headers["Link"] = f'<{there.path}?{there.query}>; rel="next"'
        if form == "csv":
            return Response(_table(found), 200, headers, f"{CSV}; charset=utf-8; header=present")
        page = StepsPage(steps=tuple(step_seen(step) for step in found), next=after)
        return Response(msgspec.json.encode(page), 200, headers, JSON)

    def _after(self, given: str | None) -> int:
        """The position in the log after which a step was taken: of another generation, as far as both are the same."""
        if given is None or given == "0":
            return 0
        try:
            cursor = cursors.parse(given)
        except ValueError as error:
            raise bad_request(f"after: {error}") from error
        position, origins = cursor.place.after, self._origins()
        if cursor.generation == origins.generation:
            return position
        return min(position, origins.shared_through) if cursor.generation == origins.previous else 0


def step_seen(step: AlarmStep) -> StepSeen:
    """A step as it is shown."""
    fields = {field: getattr(step, field) for field in step.__struct_fields__}
    return StepSeen(time=text(step.time_us), **fields)


def _table(found: Sequence[AlarmStep]) -> str:
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(COLUMNS)
    seen = map(step_seen, found)
    writer.writerows([cell(getattr(step, column)) for column in COLUMNS] for step in seen)
    return table.getvalue()


def _time(asked: Asked, name: str, default: Utc) -> Utc:
    given = asked.one(name)
    try:
        return default if given is None else parse(given)
    except ValueError as error:
        raise bad_request(f"{name}: {error}") from error


def _severities(asked: Asked) -> frozenset[str]:
    given = frozenset(asked.request.query_params.getlist("severity"))
    if unknown := sorted(given - set(SEVERITIES)):
        raise bad_request(f"severity is {unknown[0][:50]!r}; it is one of {', '.join(sorted(SEVERITIES))}")
    return given


def _place(given: str | None) -> StepPlace | None:
    if given is None:
        return None
    found = _CURSOR.fullmatch(given)
    numbers = [] if found is None else [int(n) for n in found.groups()]
    if not numbers or max(map(abs, numbers)) > 2**62:
        raise bad_request("cursor is none of ours")
    return Utc(numbers[0]), numbers[1], numbers[2]
