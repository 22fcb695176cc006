"""Generations: what the aggregator does when a node knows a greater generation than its own.

Then its store was lost, and drew a generation by a clock that is behind; or it was put back whole, the file beside it
too. Nodes ignore the answers of an older generation, so they would wait for ever. It draws one greater still; all nodes
ask for their places again, and readers of the feed get a `reset`. That is logged, counted, and in the feed.

Only nodes with a token of this store are listened to. All the same, one of them may be mistaken or forged. Bounds:
what is more than GENERATIONS_AHEAD_US ahead of the clock is not believed (`wire.batch.believable`), so that no number
can use up the range; one draw a node and DAY_S, DRAWS in all, by the monotonic clock of this process: nobody can reset
the city over and over. What is not believed is counted, and logged once every LOG_S.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from cloud.metrics import Metrics
from cloud.times import Now
from wire.batch import believable

LOG: Final = logging.getLogger("lamplighter.cloud")

DRAWS: Final = 8
DAY_S: Final = 86_400.0
LOG_S: Final = 60.0


class Drawn(Protocol):
    """What has a generation: `cloud.sqlite.log.SqliteLog`."""

    @property
    def generation(self) -> int:
        """The one that it has."""
        ...

    async def draw(self, generation: int, node: str, heard: int) -> None:
        """Have another from now on, durably, because a node has named one."""
        ...


class Generations:
    """On the event loop."""

    def __init__(self, log: Drawn, metrics: Metrics, now: Now, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._metrics = metrics
        self._now = now
        self._monotonic = monotonic
        self._turn = asyncio.Lock()
        self._draws: dict[str, float] = {}  # by node, at most DRAWS
        self._logged_s = -LOG_S

    async def hear(self, node: str, heard: int) -> None:
        """A node knows this generation; 0 where it says none.

        Raises:
            Unavailable: a greater one could not be drawn now.
        """
        if heard <= self._log.generation:
            return
        async with self._turn:
            if heard <= self._log.generation:  # another node has been quicker
                return
            if (why := self._why_not(node, heard)) is not None:
                self._doubt(node, heard, why)
                return
            drawn = max(self._now(), heard + 1)
            LOG.warning(
                "node %s knows generation %d and this store is of %d: it was lost, or put back, or the clock is behind;"
                " it goes on as %d, and all nodes and readers are told",
                node, heard, self._log.generation, drawn,
            )  # fmt: skip
            await self._log.draw(drawn, node, heard)
            self._draws[node] = self._monotonic()
            self._metrics.generation("drawn")

    def _why_not(self, node: str, heard: int) -> str | None:
        if not believable(heard, self._now()):
            return "it is too far ahead of the clock"
        since_s = self._monotonic() - DAY_S
        self._draws = {n: at_s for n, at_s in self._draws.items() if at_s > since_s}
        if node in self._draws:
            return "this node has had its way within a day"
        if len(self._draws) >= DRAWS:
            return f"{DRAWS} nodes have had their way within a day"
        return None

    def _doubt(self, node: str, heard: int, why: str) -> None:
        self._metrics.generation("not_believed")
        if self._monotonic() - self._logged_s >= LOG_S:
            self._logged_s = self._monotonic()
            LOG.warning(
                "node %s knows generation %d, and this store is of %d: not believed, %s",
                node, heard, self._log.generation, why,
            )  # fmt: skip
