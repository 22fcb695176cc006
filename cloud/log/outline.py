"""Outline: what a record holds, in one number, so that nobody has to open it to know that there is nothing for them.

    bits 0 to 15     the types of its events, by their place in TYPES: only ever added to at the end
    bits 16 to 19    the severities of its alarms, by their place in SEVERITIES
    bit 20           NEWS: a node is known otherwise from here on (its devices, its clock)
    bits 24 and 25   its rank

An outline may say too much, never too little: a reader that opens a record for nothing has lost time and no more. What
has none, because it was taken before there were any, is UNKNOWN: it may hold anything.

The **rank** says what goes ahead of what to a reader that is behind (docs/adr/0026). It is written once, with the
record, for cursors count on it. LATE is what a node had to keep for a while: what it measured last in it was older than
LATE_US when it came, or, where the node's clock was not known to be right, the node still held more.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final, Literal, get_args

import msgspec

from cloud.log.batch_facts import SYNCED, BatchFacts
from cloud.log.notices import Notice
from cloud.times import SECOND_US
from wire.batch import Batch, Lane
from wire.device import Roster
from wire.entries import Alarm, ClockFix, Decisions, Gap, Health, Mark, Result, Severity, Visit
from wire.time import Micros, Utc

LATE_US: Final = Micros(120 * SECOND_US)
EventType = Literal[
    "reading", "alarm", "mark", "order", "result", "visit", "code", "area", "clock_fix", "gap", "health", "roster",
    "ledger", "decisions",
]  # fmt: skip
TYPES: Final[tuple[EventType, ...]] = get_args(EventType)
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
NEWS: Final = 1 << 20

_BIT: Final[Mapping[str, int]] = {name: 1 << place for place, name in enumerate(TYPES)} | {
    name: 1 << (16 + place) for place, name in enumerate(SEVERITIES)
}
ALL_TYPES: Final = sum(_BIT[name] for name in TYPES)
ALL_SEVERITIES: Final = sum(_BIT[name] for name in SEVERITIES)
READING: Final = _BIT["reading"]
AREA: Final = _BIT["area"]
RANK_AT: Final = 24


class Rank(IntEnum):
    """In which order records are told: the urgent lane and what the aggregator says, then readings as they are
    measured, then those that come late."""

    URGENT = 0
    LIVE = 1
    LATE = 2


class Outline(msgspec.Struct, frozen=True, gc=False):
    """Of one record: whose it is, and what it holds. `node` is empty where it is of no node, or that is not known."""

    node: str
    holds: int


def bits(*names: str) -> int:
    """The bits of types and severities."""
    found = 0
    for name in names:
        found |= _BIT[name]
    return found


def _ranked(rank: Rank) -> int:
    return rank << RANK_AT


UNKNOWN: Final = Outline("", ALL_TYPES | ALL_SEVERITIES | NEWS | _ranked(Rank.LIVE))


def of_batch(batch: Batch, facts: BatchFacts, received_us: Utc, *, new_devices: bool) -> int:
    """What a batch holds. `new_devices` says whether it names devices that its node has never named before."""
    holds = NEWS if new_devices else 0
    if facts.samples:
        holds |= READING
    for item in facts.others:
        match item.entry:
            case Alarm(severity=severity):
                holds |= bits("alarm", severity)
            case Result():
                holds |= bits("result")
            case Mark():
                holds |= bits("mark")
            case Visit():
                holds |= bits("visit")
            case Health():
                holds |= bits("health")
            case Gap():
                holds |= bits("gap")
            case ClockFix():
                holds |= bits("clock_fix") | NEWS
            case Roster():
                holds |= bits("roster") | NEWS
            case Decisions():
                holds |= bits("decisions")
            case _:
                pass  # of a later version: it makes no event
    if batch.lane is Lane.URGENT:
        return holds | _ranked(Rank.URGENT)
    return holds | _ranked(Rank.LATE if _late(batch, facts, received_us) else Rank.LIVE)


def of_notice(notice: Notice) -> int:
    """What a notice holds."""
    told = notice.told
    holds = _ranked(Rank.URGENT)
    if told is None:
        return holds | bits("ledger")
    holds |= bits(told.type)
    if told.type == "alarm":
        said = field_of(told.data, "severity")
        holds |= bits(said) if said in SEVERITIES else ALL_SEVERITIES
    return holds


def field_of(data: Any, name: str) -> Any:
    """A field of what is announced, before or after it was JSON; None where there is none."""
    return data.get(name) if hasattr(data, "get") else getattr(data, name, None)


def late(time_us: Utc, received_us: Utc) -> bool:
    """Whether what was measured or done at a time was taken late."""
    return time_us < received_us - LATE_US


def _late(batch: Batch, facts: BatchFacts, received_us: Utc) -> bool:
    measured = facts.extents.get(SYNCED)
    if measured is None:
        return bool(facts.extents) and batch.head_seq > batch.through_seq
    return late(measured.to_us, received_us)
