"""Liveness: what must be through by now. Whatever goes on for ever says before each attempt and each wait by when it
will be through; whoever restarts things asks who is late.

So liveness is earned by finishing an attempt or a back-off in time, whatever its outcome: a part whose every attempt
fails, and which waits in between, is never late, and no outage becomes a restart. A part that has nothing to do rests.

Time in which the process did not run (stopped, its machine paused) is nobody's lateness: all go by `running_s`, on
which such time does not pass.

Bounds: a deadline a part.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

log = logging.getLogger(__name__)

SLACK_S: Final = 30.0  # for a wait that was to end, on a machine that is busy
LOOK_S: Final = 5.0
STOPPED_S: Final = 15.0  # three looks that did not come
END_S: Final = 10.0  # for something that is late to end once it is cancelled


class Running:
    """Seconds on a clock that stands while the process does not run, which is seen by nobody having asked for
    STOPPED_S although somebody was to ask every LOOK_S. Asked from any thread.

    While nobody is `watching`, it is just the other clock, less what was left out before.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic, self._lock = monotonic, threading.Lock()
        self._watching = 0
        self._seen_s = self.stopped_s = 0.0

    @contextmanager
    def watching(self) -> Generator[None]:
        """For the length of a block somebody asks every LOOK_S."""
        with self._lock:
            self._watching += 1
            self._seen_s = self._monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._watching -= 1

    def __call__(self) -> float:
        """Now."""
        with self._lock:
            now = self._monotonic()
            if self._watching and now - self._seen_s > STOPPED_S:
                stopped_s = now - self._seen_s - LOOK_S
                self.stopped_s += stopped_s
                log.warning("this process has not run for %.0f s, which is nobody's lateness", stopped_s)
            self._seen_s = now
            return now - self.stopped_s


running_s: Final = Running()


class Late(NamedTuple):
    """A part that is late, what it does, and for how many seconds it has done so."""

    part: str
    doing: str
    for_s: float

    def __str__(self) -> str:
        return f"{self.part}: {self.doing} has taken {self.for_s:.0f} s"


class Part:
    """One thing that goes on."""

    def __init__(self, name: str, monotonic: Callable[[], float] = running_s) -> None:
        self.name, self._monotonic = name, monotonic
        self._doing, self._since, self._due = "", 0.0, float("inf")
        self.again = 0  # how often it was started again for being late

    def within(self, seconds: float, doing: str) -> None:
        """It begins something that takes no longer."""
        self._doing, self._since = doing, self._monotonic()
        self._due = self._since + seconds

    def waits(self, seconds: float) -> None:
        """It waits on purpose."""
        self.within(seconds + SLACK_S, "a wait")

    def rest(self) -> None:
        """It has nothing to do until somebody wakes it."""
        self._due = float("inf")

    @contextmanager
    def busy(self, seconds: float, doing: str) -> Generator[None]:
        """Within the block it does something that takes no longer; then it rests."""
        self.within(seconds, doing)
        try:
            yield
        finally:
            self.rest()

    def late(self) -> Late | None:
        """What it does, if it should be through."""
        now = self._monotonic()
        return Late(self.name, self._doing, now - self._since) if now > self._due else None


class Liveness:
    """All parts of a process that nothing but a new process would bring back."""

    def __init__(self, monotonic: Callable[[], float] = running_s) -> None:
        self._monotonic = monotonic
        self._parts: list[Part] = []

    def part(self, name: str) -> Part:
        """One more."""
        self._parts.append(part := Part(name, self._monotonic))
        return part

    def late(self) -> Sequence[Late]:
        """Who is."""
        return [late for part in self._parts if (late := part.late()) is not None]


async def ended(task: asyncio.Future[Any], within_s: float = END_S) -> bool:
    """Cancel a task; whether it has ended in time. Whatever it raises is its own affair."""
    task.cancel()
    await asyncio.wait([task], timeout=within_s)
    if task.done() and not task.cancelled():
        task.exception()
    return task.done()


async def kept_going(
    part: Part, run: Callable[[], Awaitable[None]], look_s: float = LOOK_S, end_s: float = END_S
) -> None:
    """Do what goes on for ever, and begin it anew when it is late: for what loses nothing by that. What it raises is
    raised; what does not end when it is cancelled is left behind."""
    while True:
        task = asyncio.ensure_future(run())
        try:
            while not task.done() and part.late() is None:
                await asyncio.wait([task], timeout=look_s)
        except asyncio.CancelledError:
            if not await ended(task, end_s):
                log.error("%s does not end", part.name)  # noqa: TRY400 - no bug is known
            raise
        if task.done():
            return task.result()
        part.again += 1
        log.error("%s; it is started again", part.late())
        part.rest()
        if not await ended(task, end_s):
            log.error("%s does not end", part.name)
