"""Ended alarms in memory: a fake for tests. Which have ended is set from outside, for `cloud.memory.log` ends none."""

from __future__ import annotations

import sys

from cloud.memory.keys import MemoryKeys
from cloud.memory.log import MemoryLog
from cloud.records.ended_alarms import acknowledged, answer_of, told_of
from cloud.records.keys import Answered, Keyed
from wire import codec
from wire.entries import Alarm
from wire.time import Utc


class MemoryEndedAlarms:
    """Keeps each, and where the log stood when it ended."""

    def __init__(self, log: MemoryLog, keys: MemoryKeys) -> None:
        self._log = log
        self._keys = keys
        self._ended: dict[tuple[str, str], tuple[int, Alarm]] = {}

    def end(self, node: str, alarm: Alarm) -> None:
        """An alarm has ended."""
        self._ended[node, alarm.id] = self._log.reach().head, alarm

    async def has(self, node: str, name: str) -> bool:
        """See `EndedAlarms.has`."""
        return (node, name) in self._ended and not await self._said_again(node, name)

    async def acknowledge(self, node: str, name: str, by: str, now_us: Utc, note: str, keyed: Keyed) -> Answered | None:
        """See `EndedAlarms.acknowledge`."""
        if (before := self._keys.answered(keyed)) is not None:
            return before
        at, alarm = self._ended.get((node, name), (0, None))
        if alarm is None or alarm.state == "cleared" or await self._said_again(node, name):
            return None
        after = acknowledged(alarm, by, now_us, note)
        self._ended[node, name] = at, after
        answer = answer_of(node, after)
        self._keys.keep(keyed, answer, now_us)
        await self._log.note([told_of(node, after)])
        return answer

    async def _said_again(self, node: str, name: str) -> bool:
        records = await self._log.read(self._ended[node, name][0], sys.maxsize, sys.maxsize)
        batches = [codec.decode_batch(r.body) for r in records if not r.notice]
        entries = [i.entry for b in batches if b.node == node for i in b.entries]
        return any(isinstance(e, Alarm) and e.id == name for e in entries)
