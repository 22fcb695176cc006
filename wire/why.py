"""Why: what the city asks a node about a device, and what the node says: what each level of the priority arrays of its
points holds, and which plan and rules it lives by.

The question comes down with the orders (`wire.orders.Down`) to a node that has said that it answers, ANSWERS among the
parameters of its downlink; the answer goes up as JSON, in a request of its own. Neither is kept: who asks waits, and
what nobody waits for any more is nothing. Bounds: an answer has MAX_ANSWER_BYTES; MAX_POINTS of the device are told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from wire.entries import Level, Name, Text
from wire.sample import Value
from wire.time import Utc

ANSWERS: Final = "why"
MAX_ANSWER_BYTES: Final = 256 * 1024
MAX_POINTS: Final = 256
MAX_RULES: Final = 100


class AskWhy(msgspec.Struct, frozen=True, kw_only=True):
    """Who decides on this device? `id` comes back with the answer."""

    id: Name
    device: Name


class LevelHolds(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one level of a priority array holds; as in `wire.entries.Decision`."""

    level: Level
    value: Value = None
    by: Name = ""
    order: Name = ""
    until_us: Utc | None = None
    blinks: bool = False


class WhyPoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A writable point: what its levels hold, from the highest on, and in words, by language, why it is as it is."""

    point: Name
    levels: Annotated[tuple[LevelHolds, ...], Meta(max_length=6)] = ()
    text: Annotated[Mapping[Name, Text], Meta(max_length=10)] = {}


class WhyRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A rule that watches the device, and where it stands there; `true` is what its condition says now, None: unknown,
    and `text` says why."""

    name: Name
    state: Name
    when: Text = ""
    true: bool | None = None
    text: Text = ""


class WhyAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that the node knows, at `time_us` by its clock; of a device that it does not have `known` is False.

    `plan` and `rules` are those in force, as in `wire.entries.Decisions`; `boot` is set where the time is an estimate.
    """

    id: Name
    device: Name
    time_us: Utc
    known: bool = True
    points: Annotated[tuple[WhyPoint, ...], Meta(max_length=MAX_POINTS)] = ()
    plan: Text = ""
    rules: Text = ""
    watching: Annotated[tuple[WhyRule, ...], Meta(max_length=MAX_RULES)] = ()
    boot: int | None = None
