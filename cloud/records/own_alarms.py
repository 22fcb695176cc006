"""The aggregator's own alarms as they are kept: those that stand, and how far the log was looked through for more.

Truth: no rebuild drops them. What they do is decided in `cloud.alarms`. Bound: LOOKED losses and LOOKED findings at
most are looked at in one step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from cloud.log.notices import Announcement, Finding
from cloud.records.keys import Answered, Keyed
from wire.entries import Alarm

LOOKED: Final = 500


class Lost(msgspec.Struct, frozen=True):
    """Readings that are missing by a node's own word, of one batch together, and why: one of its reasons."""

    node: str
    reason: str
    readings: int


class Happened(msgspec.Struct, frozen=True):
    """What the log holds that may be worth an alarm, from `mark`, where the last step ended, to `through`; `more`
    where that may not be all."""

    mark: int
    through: int
    lost: tuple[Lost, ...]
    findings: tuple[Finding, ...]
    more: bool


class OwnAlarmStore(Protocol):
    """Every method raises `cloud.log.contract.Unavailable` when the store does not answer; nothing was changed then."""

    @property
    def stood(self) -> Mapping[str, Alarm]:
        """Those that stood when the store was opened, by id."""
        ...

    async def happened(self) -> Happened:
        """What has happened since the mark that was kept last."""
        ...

    async def answered(self, keyed: Keyed) -> Answered | None:
        """The answer that a request has had already, if it had one.

        Raises:
            Problem: its key was used for another, or no more keys are kept.
        """
        ...

    async def keep(
        self,
        changes: Sequence[Alarm],
        told: Sequence[Announcement],
        through: int | None,
        answer: tuple[Keyed, Answered] | None = None,
    ) -> Answered | None:
        """Keep alarms as they are now, without those that are cleared, their notices for the feed, the mark where it is
        one, and an answer with its key: in one transaction. An answer is to the first of the changes, and is kept from
        its time on.

        Nothing is done where the request was answered before: then that answer is returned.

        Raises:
            Problem: as `answered`. Nothing was changed.
        """
        ...
