"""Fold keeper: the process that folds history, seen from the one that writes: started, shown, replaced when it ends.

It is started `first_s` after the aggregator: what nodes have kept meanwhile comes first, and who runs an aggregator for
a moment pays nothing. One that ends is started again with back-off, one that says nothing for SILENT_S is ended. Where
it could not go on for FAILING_S, the alarm `aggregator:history` says why: answers are as before, made of readings.

Bounds: one process; those of `cloud.reader.linked`.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from cloud.alarms.own_alarms import CITY, StandingCondition
from cloud.alarms.own_texts import not_folded
from cloud.metrics import Metrics
from cloud.reader.link import BeginFold, FoldedSoFar, Link, Paused
from cloud.reader.linked import LinkedProcess, again_and_again, started
from cloud.times import Now
from groundwork.liveness import running_s
from wire.time import Utc

NAME: Final = "fold process"
ALARM: Final = "aggregator:history"
FIRST_S: Final = 60.0
SILENT_S: Final = 300.0
LOOK_S: Final = 5.0
FAILING_S: Final = 600.0
AGAIN_S: Final = 300.0
TROUBLE_CHARS: Final = 500
ENDED: Final = "the process that folds it has ended"


def command(link: int) -> list[str]:
    """How it is started, with this file descriptor."""
    return [sys.executable, "-m", "cloud.reader.fold_process", "--link", str(link)]


class _Failing(msgspec.Struct, frozen=True):
    since_s: float
    since_us: Utc
    why: str


class FoldKeeper:
    """On the event loop."""

    def __init__(
        self, begin: BeginFold | None, now: Now, first_s: float = FIRST_S,
        command: Callable[[int], list[str]] = command,
    ) -> None:  # fmt: skip
        """Nothing is folded where `begin` is None."""
        self._begin, self._now, self._first_s, self._command = begin, now, first_s, command
        self._one: LinkedProcess | None = None
        self._failing: _Failing | None = None
        self.so_far = FoldedSoFar()
        self.ended = 0  # how often it has ended by itself, or was ended for its silence

    @property
    def running(self) -> int:
        """How many there are now: one or none."""
        return int(self._one is not None)

    def measured(self, metrics: Metrics, head: Callable[[], int]) -> None:
        """Show it among the metrics; `head` is how far the log has come."""
        show = metrics.gauge
        show("history_folders", "Processes that fold history", lambda: self.running)
        show("history_folders_ended", "Such processes that have ended by themselves", lambda: self.ended)
        show("history_behind", "Records that were not folded yet", lambda: max(0, head() - self.so_far.through))
        show("history_days", "Days of which the hours are folded", lambda: self.so_far.days)
        show("history_days_over", "Days that are over and in which something was read", lambda: self.so_far.days_over)
        show("history_marked_hours", "Hours of nodes to be folded anew", lambda: self.so_far.marked)

    def conditions(self) -> Mapping[str, StandingCondition]:
        """The alarm, by its id, where it holds."""
        failing = self._failing
        if failing is None or running_s() - failing.since_s < FAILING_S:
            return {}
        texts = not_folded(failing.since_us, failing.why)
        values = {"since_us": failing.since_us}
        return {ALARM: StandingCondition(ALARM, CITY, "history", texts, values)}

    async def keep(self) -> None:
        """Keep it running until cancelled; then end it."""
        if self._begin is None:
            return
        begin = self._begin
        await asyncio.sleep(self._first_s)
        await again_and_again(NAME, lambda: self._run(begin), self._ended, AGAIN_S)

    @asynccontextmanager
    async def held(self, wait_s: float) -> AsyncGenerator[bool]:
        """Hold its queries back for the length of a block. Whether those that ran have ended within `wait_s`."""
        one = self._one
        if one is None:
            yield True
            return
        try:
            yield await one.hold(wait_s)
        finally:
            await one.release()

    def _ended(self) -> None:
        self.ended += 1
        self._fails(self.so_far.trouble or ENDED)

    def _fails(self, why: str) -> None:
        if self._failing is None:
            self._failing = _Failing(running_s(), self._now(), why[:TROUBLE_CHARS])

    async def _run(self, begin: BeginFold) -> None:
        async with started(self._command) as (process, link):
            await self._kept(process, link, begin)

    async def _kept(self, process: Process, link: Link, begin: BeginFold) -> None:
        one = self._one = LinkedProcess(NAME, process, link)
        try:
            await link.send(begin)
            await one.until_ended(self._hear(one), self._watch(one))
        finally:
            self._one = None

    async def _watch(self, one: LinkedProcess) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if running_s() - one.heard_s > SILENT_S:
                one.cut(f"has said nothing for {SILENT_S:g} s")
                one.heard_s = running_s()

    async def _hear(self, one: LinkedProcess) -> None:
        while (message := await one.link.receive()) is not None:
            one.heard_s = running_s()
            match message:
                case FoldedSoFar():
                    self.so_far = message
                    if message.trouble is not None:
                        self._fails(message.trouble)
                    elif message.steps:
                        self._failing = None
                case Paused():
                    one.held(message)
                case _:
                    raise ValueError(f"a fold process says {message!r:.100}")
