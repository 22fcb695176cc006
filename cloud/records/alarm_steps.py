"""Alarm steps: each step of every alarm, the aggregator's own too, by time, for years: whoever has missed the feed, or
asks how an alarm went, reads it here.

A step is taken in the transaction that takes its batch or its notice into the log, once, whatever is applied again. It
outlives the log: it is truth once compaction has taken the batch or the notice away, and no rebuild drops it. A rebuild
adds those that it finds in what is left of the log and lacks here: all of the last `--feed-days`, and of the nodes'
alarms the last step of each. A store of before schema 6 has them from then on.

Times of a boot that did not know the time are corrected when its clock fix comes, and then stand elsewhere in the
order: `after` asks for what was taken since a place in the log, whatever its time.

Bounds: MAX_STEPS, those that were taken first go first, and none is kept longer than `--alarm-days`; a page has
MAX_PAGE, and at most SCANNED are looked at for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from cloud.log.notices import Notice
from cloud.views.answers import AlarmSeen, ClockWord
from wire.entries import Alarm, AlarmState, Severity
from wire.time import Micros, Utc

MAX_STEPS: Final = 10_000_000
MAX_PAGE: Final = 5_000
SCANNED: Final = 50_000
ALARM_DAYS: Final = 3_653.0  # ten years
PRUNED: Final = 1_000  # in one transaction

StepPlace = tuple[Utc, int, int]  # the step's time, its position in the log, and its seq there; 0 of a notice


class AlarmStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step: `event` is the id that it has in the feed, with its source. `before` is the state that it found, None
    where none is known; `note` what was said with it."""

    event: str
    source: str
    node: str
    device: str
    id: str
    rule: str
    severity: Severity
    before: AlarmState | None = None
    state: AlarmState
    active: bool
    acknowledged: bool
    time_us: Utc
    clock: ClockWord
    by: str
    note: str


class StepsAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A page: from_us ≤ time < to_us, taken into the log after a position, by time, after a place."""

    from_us: Utc
    to_us: Utc
    after: int = 0
    node: str | None = None
    device: str | None = None
    id: str | None = None
    severities: frozenset[str] = frozenset()
    cursor: StepPlace | None = None
    limit: int

    def takes(self, step: AlarmStep) -> bool:
        """Say whether a step is asked for, its time and place aside."""
        return (
            self.node in {None, step.node}
            and self.device in {None, step.device}
            and self.id in {None, step.id}
            and (not self.severities or step.severity in self.severities)
        )


class ReadAlarmSteps(Protocol):
    """Every method raises `cloud.log.contract.Unavailable` when the store does not answer."""

    async def page(self, asked: StepsAsked) -> tuple[Sequence[AlarmStep], StepPlace | None]:
        """Steps by time, and where to go on, or None. May be fewer than the limit."""
        ...


class AlarmSteps(ReadAlarmSteps, Protocol):
    """What keeps them."""

    async def prune(self, now_us: Utc, keep_us: Micros) -> int:
        """Forget those that are beyond their bounds, at most PRUNED. How many there were."""
        ...


def said(event: str, source: str, node: str, alarm: Alarm, clock: ClockWord) -> AlarmStep:
    """A step of a node's alarm, at the time that it said."""
    return AlarmStep(
        event=event,
        source=source,
        node=node,
        device=alarm.device,
        id=alarm.id,
        rule=alarm.rule,
        severity=alarm.severity,
        state=alarm.state,
        active=alarm.active,
        acknowledged=alarm.acknowledged,
        time_us=alarm.time_us,
        clock=clock,
        by=alarm.by,
        note=alarm.detail,
    )


def noticed(notice: Notice) -> AlarmStep | None:
    """The step that a notice of the aggregator tells, where it tells one."""
    if notice.told is None or notice.told.type != "alarm":
        return None
    seen = msgspec.convert(notice.told.data, AlarmSeen, from_attributes=True)
    return AlarmStep(
        event=notice.id,
        source=seen.source,
        node=seen.node,
        device=seen.device,
        id=seen.id,
        rule=seen.rule,
        severity=seen.severity,
        state=seen.state,
        active=seen.active,
        acknowledged=seen.acknowledged,
        time_us=seen.time_us,
        clock=seen.clock,
        by=seen.by,
        note=seen.detail,
    )
