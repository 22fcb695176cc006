"""Codes in memory: a fake for tests."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cloud.memory.keys import MemoryKeys
from cloud.memory.log import MemoryLog
from cloud.records.codes import KEPT, CodeGiven, told
from cloud.records.keys import Answered, Keyed
from cloud.times import text
from wire.time import Utc


class MemoryCodes:
    """A list."""

    def __init__(self, log: MemoryLog, keys: MemoryKeys) -> None:
        self._log, self._keys = log, keys
        self._given: list[CodeGiven] = []
        self._counters: dict[str, int] = {}

    async def answered(self, keyed: Keyed) -> CodeGiven | None:
        """See `CodeStore.answered`."""
        before = self._keys.answered(keyed)
        return None if before is None else msgspec.json.decode(before.body, type=CodeGiven)

    async def give(self, node: str, token: str, name: str, by: str, now_us: Utc, keyed: Keyed, used: int) -> CodeGiven:
        """See `CodeStore.give`."""
        if (before := await self.answered(keyed)) is not None:
            return before
        counter = self._counters[token] = max(used, self._counters.get(token, 0)) + 1
        given = CodeGiven(node=node, token=token, counter=counter, for_=name, by=by, time=text(now_us), time_us=now_us)
        self._given.append(given)
        self._keys.keep(keyed, Answered(201, msgspec.json.encode(given)), now_us)
        await self._log.note([told(given)])
        return given

    async def given(self, node: str, before: int, limit: int) -> Sequence[tuple[int, CodeGiven]]:
        """See `CodeStore.given`."""
        of_node = [(no, g) for no, g in enumerate(self._given) if g.node == node][-KEPT:]
        return [(no, g) for no, g in reversed(of_node) if no < before][:limit]

    async def highest(self, token: str) -> int:
        """See `CodeStore.highest`."""
        return self._counters.get(token, 0)
