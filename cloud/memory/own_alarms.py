"""The aggregator's own alarms in memory: a fake for tests."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import msgspec

from cloud.log.notices import Announcement, Finding, Notice
from cloud.memory.keys import MemoryKeys
from cloud.memory.log import MemoryLog
from cloud.records.keys import Answered, Keyed
from cloud.records.own_alarms import LOOKED, Happened, Lost
from wire import codec
from wire.entries import Alarm, Gap


class MemoryOwnAlarms:
    """Keeps those that stand, and the mark."""

    def __init__(
        self, log: MemoryLog, keys: MemoryKeys, stood: Mapping[str, Alarm] | None = None, mark: int = 0
    ) -> None:
        self._log = log
        self._keys = keys
        self._mark = mark
        self._stood: Mapping[str, Alarm] = stood or {}
        self._standing: dict[str, Alarm] = dict(self._stood)

    def after_restart(self) -> MemoryOwnAlarms:
        """As it would be opened again."""
        return MemoryOwnAlarms(self._log, self._keys, self._standing, self._mark)

    @property
    def stood(self) -> Mapping[str, Alarm]:
        """See `OwnAlarmStore.stood`."""
        return self._stood

    async def happened(self) -> Happened:
        """See `OwnAlarmStore.happened`."""
        lost: list[Lost] = []
        findings: list[Finding] = []
        records = await self._log.read(self._mark, LOOKED, sys.maxsize)
        for record in records:
            if record.notice:
                finding = msgspec.json.decode(record.body, type=Notice).finding
                findings += [] if finding is None else [finding]
            else:
                batch = codec.decode_batch(record.body)
                gaps = [i.entry for i in batch.entries if isinstance(i.entry, Gap) and i.entry.lost]
                lost += [Lost(batch.node, gaps[0].reason, sum(g.lost for g in gaps))] if gaps else []
        through = self._mark + len(records)
        return Happened(self._mark, through, tuple(lost), tuple(findings), through < self._log.reach().head)

    async def answered(self, keyed: Keyed) -> Answered | None:
        """See `OwnAlarmStore.answered`."""
        return self._keys.answered(keyed)

    async def keep(
        self,
        changes: Sequence[Alarm],
        told: Sequence[Announcement],
        through: int | None,
        answer: tuple[Keyed, Answered] | None = None,
    ) -> Answered | None:
        """See `OwnAlarmStore.keep`."""
        if answer is not None:
            if (before := self._keys.answered(answer[0])) is not None:
                return before
            self._keys.keep(*answer, changes[0].time_us)
        for alarm in changes:
            self._standing.pop(alarm.id, None)
            if alarm.state != "cleared":
                self._standing[alarm.id] = alarm
        self._mark = self._mark if through is None else through
        await self._log.note(told)
        return None
