"""Replay: a stretch of local history through the rules, with measured times as the axis.

History is kept by device and commit, and so comes out of order by up to a commit interval; samples wait here until
REORDER_US has passed over them, and are then taken by time. What comes later still is late as it was live. Bound:
MAX_WAITING samples wait; beyond that the oldest goes on early.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import Final

from edge.rules.effects import Effect
from edge.rules.engine import Engine
from wire.columns import Columns
from wire.sample import Sample
from wire.time import AxisTime, Micros

REORDER_US: Final = Micros(120_000_000)  # twice the longest commit interval
MAX_WAITING: Final = 50_000


class Replay:
    """Feed it columns, oldest first, then `end` it. Also for a restart: throw the effects away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: list[tuple[AxisTime, int, Sample]] = []
        self._count = 0
        self._newest_us = AxisTime(0)
        self._now_us: AxisTime | None = None

    def feed(self, columns: Columns | Sequence[Sample]) -> list[Effect]:
        """More history; the effects of what is old enough by now."""
        for sample in columns.samples() if isinstance(columns, Columns) else columns:
            self._count += 1  # of two at one time, the one that was kept first goes first
            time_us = AxisTime(sample.time_us)  # a history is told as if the axis had been UTC all the time
            heappush(self._waiting, (time_us, self._count, sample))
            self._newest_us = max(self._newest_us, time_us)
        effects: list[Effect] = []
        while self._waiting and (
            self._waiting[0][0] <= self._newest_us - REORDER_US or len(self._waiting) > MAX_WAITING
        ):
            effects += self._take()
        return effects

    def end(self, at_us: AxisTime | None = None) -> list[Effect]:
        """The effects of what still waits, and of time itself up to `at_us` where it is given."""
        effects: list[Effect] = []
        while self._waiting:
            effects += self._take()
        if at_us is not None:
            effects += self._engine.advance(at_us)
        return effects

    def _take(self) -> list[Effect]:
        time_us, _, sample = heappop(self._waiting)
        self._now_us = time_us if self._now_us is None else max(self._now_us, time_us)
        return self._engine.take(sample, self._now_us, self._now_us - time_us)


def replay(
    engine: Engine, history: Iterable[Columns | Sequence[Sample]], until_us: AxisTime | None = None
) -> list[Effect]:
    """All effects of a history that is at hand."""
    run = Replay(engine)
    effects: list[Effect] = []
    for columns in history:
        effects += run.feed(columns)
    return effects + run.end(until_us)
