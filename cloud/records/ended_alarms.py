"""Alarms that their node does not know any more, because its card was replaced or went back: they stand until somebody
has acknowledged them here.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from cloud.log.notices import Announcement
from cloud.records.keys import Answered, Keyed
from cloud.views.reports import NO_FIXES, alarm_seen
from wire.entries import Alarm
from wire.time import Utc


class EndedAlarms(Protocol):
    """Every method raises `cloud.log.contract.Unavailable` when the store does not answer; nothing was changed then."""

    async def has(self, node: str, name: str) -> bool:
        """Whether it is one."""
        ...

    async def acknowledge(self, node: str, name: str, by: str, now_us: Utc, note: str, keyed: Keyed) -> Answered | None:
        """Acknowledge one and announce it, unless the request was answered before: then that answer. None where it is
        none that stands: it was acknowledged, or the node has said something of it meanwhile.

        Raises:
            Problem: the key was used for another request, or no more are kept.
        """
        ...


def acknowledged(alarm: Alarm, by: str, now_us: Utc, note: str) -> Alarm:
    """What becomes of one."""
    return msgspec.structs.replace(
        alarm, state="cleared", acknowledged=True, by=by, time_us=now_us, detail=note or alarm.detail
    )


def told_of(node: str, alarm: Alarm) -> Announcement:
    """A step of one, for the feed."""
    data = msgspec.to_builtins(alarm_seen(node, alarm, NO_FIXES))
    return Announcement(node=node, type="alarm", time_us=alarm.time_us, data=data, subject=alarm.device)


def answer_of(node: str, alarm: Alarm) -> Answered:
    """What is answered to who has acknowledged it."""
    seen = msgspec.structs.replace(alarm_seen(node, alarm, NO_FIXES), asked=())
    return Answered(200, msgspec.json.encode(seen))
