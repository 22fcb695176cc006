"""Decided: who decides what points are set to, as their node has told it last (`wire.entries.Decisions`), and as the
API shows it. What is not told is what lies below the level that wins: for that the node is asked (`cloud.orders.why`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from cloud.views.clock_word import ClockWord
from wire.entries import Decision, Decisions, Level
from wire.sample import Value
from wire.time import Utc

ByPoint = dict[str, "DecidedAt"]


class DecidedAt(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node said of a point (of which devices is left out), and when, by which clock."""

    decision: Decision
    time_us: Utc
    boot: int | None = None


class LivedBy(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node lives by, as it said it."""

    plan: str
    rules: str
    time_us: Utc
    boot: int | None = None


class PointDecided(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What wins in a point's priority array: the highest level that holds something, since `time` at the latest.

    `level` is null where none does: the device is left as it is. What has its default is left out.
    """

    level: Level | None
    value: Value
    time: str
    time_us: Utc
    clock: ClockWord
    by: str = ""
    order: str = ""
    until: str | None = None
    until_us: Utc | None = None
    blinks: bool = False


class LivesBy(msgspec.Struct, frozen=True, kw_only=True):
    """The plan and the rules that a node lives by, by name and version; empty where it has none. Told at `time`."""

    plan: str
    rules: str
    time: str
    time_us: Utc
    clock: ClockWord


class PointsDecided(PointDecided, frozen=True, kw_only=True, omit_defaults=True):
    """The same of several devices."""

    point: str
    devices: tuple[str, ...]


class DecisionsSeen(msgspec.Struct, frozen=True, kw_only=True):
    """Who decides from `time` on at the latest, as a node said it. What is not named is as it was told last."""

    node: str
    time: str
    time_us: Utc
    clock: ClockWord
    boot: int | None
    plan: str
    rules: str
    decided: tuple[PointsDecided, ...]


def said_in(entry: Decisions) -> Iterator[tuple[DecidedAt, Decision]]:
    """Each row of an entry as it is kept, and the row, which names its devices."""
    for decision in entry.decided:
        yield DecidedAt(msgspec.structs.replace(decision, devices=()), entry.time_us, entry.boot), decision


def last_of(entries: Iterable[Decisions]) -> tuple[dict[str, ByPoint], LivedBy | None]:
    """By device and point what was said last, and what the node lives by; None where it has not said it."""
    found: dict[str, ByPoint] = {}
    lived: LivedBy | None = None
    for entry in entries:
        lived = LivedBy(entry.plan, entry.rules, entry.time_us, entry.boot)
        for said, decision in said_in(entry):
            for device in decision.devices:
                found.setdefault(device, {})[decision.point] = said
    return found, lived
