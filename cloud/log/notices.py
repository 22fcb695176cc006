"""Notices: what the aggregator itself says, in the log between the batches: the feed has one order and one cursor.

A Finding is something that it has noticed about a node, for ledger and feed. An Announcement is for the feed alone: an
order that it has taken or ended, a step of one of its own alarms, a technician's code that it has given out, an area or
a group that was changed. Each is kept once, as JSON, in the transaction of what it tells; no view is built from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from wire.time import Utc

FindingKind = Literal[
    "unfinished",
    "written_off",
    "fork",
    "conflict",
    "assigned",
    "unfit",
    "silent",
    "heard_again",
    "generation",
    "damaged",
]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was noticed, about which node, when. `detail` has the fields that the ledger shows for it."""

    node: str
    kind: FindingKind
    time_us: Utc
    detail: Mapping[str, Any]


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken or decided. `data` is the event's; `subject` the device, `device_kind` its kind, where known."""

    node: str
    type: Literal["order", "result", "alarm", "code", "area"]
    time_us: Utc
    data: Any
    subject: str = ""
    device_kind: str = ""


class Notice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the two as it stands in the log: its id names the generation, for positions return after a restore."""

    id: str
    finding: Finding | None = None
    told: Announcement | None = None


def notice_of(said: Finding | Announcement, generation: int, position: int) -> Notice:
    """What stands in the log at a position."""
    name = f"{said.node}/cloud/{generation}/{position}"
    return Notice(id=name, finding=said) if isinstance(said, Finding) else Notice(id=name, told=said)
