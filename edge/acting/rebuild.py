"""Rebuild: bring a rule engine to where it stood, from local history; nothing is done again.

Bounds: `lookback_us` of history, at most MAX_BACK_US; it is given up after REBUILD_S, and the rules start afresh.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

from edge.acting.mishaps import Mishaps
from edge.rules.engine import Engine
from edge.rules.replay import Replay
from edge.rules.rule import Rules
from wire.columns import Columns
from wire.time import Micros, Utc

log = logging.getLogger(__name__)

REBUILD_S: Final = 20.0
MIN_BACK_US: Final = Micros(3_600_000_000)
MAX_BACK_US: Final = Micros(2 * 86_400_000_000)

History = Callable[[Utc, Utc], AsyncIterator[Columns]]
"""What was kept between two UTC times in microseconds, oldest first."""


async def rebuilt(
    fresh: Callable[[], Engine],
    rules: Rules,
    history: History,
    *,
    now_us: Utc,
    monotonic: Callable[[], float],
    mishaps: Mishaps,
) -> Engine:
    """An engine of `fresh` that has been fed; or one that has not, where that cannot be done."""
    engine = fresh()
    run = Replay(engine)
    began = monotonic()
    try:
        async for columns in history(now_us - lookback_us(rules), now_us):
            # A clock that was ahead has left samples of a time to come.
            run.feed([s for s in columns.samples() if s.time_us <= now_us])
            if monotonic() - began > REBUILD_S:
                log.warning("the rules start afresh: their history was not read within %.0f s", REBUILD_S)
                return fresh()
        run.end()
    except Exception as error:  # noqa: BLE001 - a card that cannot be read must not keep the node from starting
        mishaps.note("reading the local history for the rules", error)
        return fresh()
    return engine


def lookback_us(rules: Rules) -> Micros:
    """How much history the rules need to stand where they stood."""
    longest = Micros(0)
    for rule in rules.rules:
        windows = max((w.over_us for w in rule.windows), default=Micros(0))
        hold = rule.holding.hold_us if rule.holding is not None else Micros(0)
        longest = max(longest, windows + rule.for_us + max(rule.min_interval_us, hold, rule.silent_us or Micros(0)))
    return min(max(longest, MIN_BACK_US), MAX_BACK_US)
