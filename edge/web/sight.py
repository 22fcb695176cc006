"""Sight: what the pages see of the node, and nothing else of it. They never ask a device, and wait for the card in
threads of their own alone: polling goes on as if nobody looked.

Bounds: one thread looks at the card at a time; a day of one device is kept KEPT_S, of MAX_KEPT devices; whoever asks
waits ANSWER_S for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Final

from drivers.contract import Now
from drivers.frames import Frame
from edge.changes.births import Birth
from edge.control.decided import Decided
from edge.outbox.reading import CardError
from edge.outbox.skimming import glance, survey
from edge.plans.plan import Plan
from edge.rules.rule import Rules
from edge.sampling.last_samples import LastSamples
from edge.sampling.lines import AttachedLine
from edge.sampling.quality_history import QualityHistory
from edge.trouble import Trouble
from wire.columns import Columns
from wire.entries import Alarm, Health
from wire.time import Micros, Utc

log = logging.getLogger(__name__)

DAY_US: Final = Micros(86_400_000_000)
KEPT_S: Final = 60.0
MAX_KEPT: Final = 8
ANSWER_S: Final = 0.1  # a phone shows the page within a second; what is not read by then comes with the next look
SHARE: Final = 0.25  # of its time that the reading at the start takes at most
SELDOM_S: Final = 120.0  # a device that speaks less often than this is looked for in every row


class Days:
    """The last day of single devices, from the card."""

    def __init__(self, path: Callable[[], Path | None], now_us: Callable[[], Utc]) -> None:
        """`path` is where the card is; None while memory stands in for it."""
        self._path, self._now_us = path, now_us
        self._kept: dict[str, tuple[float, Sequence[Columns]]] = {}
        self._asked: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()

    async def of(self, device: str) -> Sequence[Columns] | None:
        """What it said, thinned out, oldest first; None while that is still being read."""
        kept = self._kept.get(device)
        if kept is not None and time.monotonic() - kept[0] < KEPT_S:
            return kept[1]
        if device not in self._asked and len(self._asked) < MAX_KEPT:
            self._asked[device] = asyncio.create_task(self._read(device))
        if (asked := self._asked.get(device)) is not None:
            await asyncio.wait([asked], timeout=ANSWER_S)
        kept = self._kept.get(device)
        return None if kept is None else kept[1]

    async def _read(self, device: str) -> None:
        try:
            async with self._turn:
                path, now_us = self._path(), self._now_us()
                found: Sequence[Columns] = ()
                if path is not None:
                    try:
                        found = await asyncio.to_thread(glance, path, device, now_us - DAY_US, now_us)
                    except CardError as error:
                        log.warning("the day of %s cannot be read: %s", device, error)
            while len(self._kept) >= MAX_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept.pop(device, None)
            self._kept[device] = time.monotonic(), found
        finally:
            del self._asked[device]


async def recall(history: QualityHistory, path: Path, seldom: Collection[str], now_us: Utc) -> None:
    """Bring back what the card knows of the last day, bit by bit: the node has just started and has other work."""
    rows = survey(path, now_us - DAY_US, now_us, seldom)
    try:
        while True:
            began = time.monotonic()
            table = await asyncio.to_thread(next, rows, None)
            if table is None:
                return
            for columns in table.columns():
                history.recall(columns, plain=table.plain)
            await asyncio.sleep((time.monotonic() - began) * (1 / SHARE - 1))
    except CardError as error:
        log.warning("the last day's quality cannot be read: %s", error)


@dataclass(frozen=True, kw_only=True)
class Sight:
    """The parts that pages are made from. `lines` may come to hold others (`edge.sampling.supervisor`). `faults` says
    of lines that do not work why; `plan` and `rules` are those in force; `monotonic` is the clock of troubles and of
    the street."""

    node: str
    zone: tzinfo
    lines: Sequence[AttachedLine]
    street: LastSamples
    history: QualityHistory
    examine: Callable[[], Awaitable[tuple[Health, Sequence[Trouble]]]]
    faults: Callable[[], Mapping[str, str]]
    decided: Callable[[], Iterable[Decided]]
    alarms: Callable[[], Sequence[Alarm]]
    days: Days
    now: Now
    birth: Callable[[str], Birth | None] = lambda _device: None
    frames: Callable[[str], Sequence[Frame]] = lambda _device: ()
    plan: Callable[[], Plan | None] = lambda: None
    rules: Callable[[], Rules] = Rules
    monotonic: Callable[[], float] = time.monotonic
