"""Reader processes, seen from the one that writes: started, told where the store stands, and replaced when they end.

One that ends is started again with back-off. One that does not answer is ended: after SILENT_S without a word, or
without a step when there is something to follow, or when
the write-ahead log has outgrown its bound and it has let CUT_AFTER requests to hold its queries go by, for a process
that is stopped in a query would make the log grow for ever. It costs its readers their connection: they come again.

Nothing here waits for a reader: what one has not been told yet is one State, whatever has happened meanwhile.

Bounds: MOST processes; those of `cloud.reader.linked`.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from cloud.entrance.serving import url_of
from cloud.metrics import Metrics
from cloud.reader.link import STATE_S, Beat, Begin, Link, LookedAt, Paused, State
from cloud.reader.linked import LinkedProcess, again_and_again, started
from cloud.sqlite.store import SqliteStore
from cloud.views.watching import Looked, Watching
from groundwork.liveness import running_s
from wire.time import Micros, Utc

NAME: Final = "reader process"
MOST: Final = 16
SILENT_S: Final = 60.0

Command = Callable[[int, int], list[str]]


def command(link: int, listener: int) -> list[str]:
    """How one is started, with these file descriptors."""
    return [sys.executable, "-m", "cloud.reader.process", "--link", str(link), "--listen", str(listener)]


class ReaderProcess(LinkedProcess):
    """One of them, while it runs."""

    def __init__(self, number: int, process: Process, link: Link) -> None:
        super().__init__(NAME, process, link)
        self.number = number
        self.through = 0
        self.due = asyncio.Event()
        self.fresh: dict[str, Utc] = {}
        self.jumped_us = Micros(0)

    def beat(self, through: int, head: int) -> None:
        """It has taken in the log up to here, which counts as a word where that is a step, or all there is."""
        if through != self.through or through >= head:
            self.heard_s = running_s()
        self.through = through


class ReaderProcesses:
    """All of them. On the event loop."""

    def __init__(
        self,
        count: int,
        begin: Begin,
        listener: socket.socket | None,
        store: SqliteStore,
        watching: Watching,
        started: Command = command,
    ) -> None:
        """`listener` is bound and owned by who has made it; each process takes connections from it. None where `count`
        is 0."""
        self._count, self._begin, self._listener = count, begin, listener
        self._store, self._watching, self._started = store, watching, started
        self._running: dict[int, ReaderProcess] = {}
        self.ended = 0  # how many have ended by themselves, or were ended for their silence

    @property
    def url(self) -> str | None:
        """Where they answer."""
        if self._listener is None:
            return None
        return url_of(self._begin.host, self._listener, self._begin.tls_cert is not None)

    @property
    def running(self) -> int:
        """How many there are now."""
        return len(self._running)

    @property
    def behind(self) -> int:
        """How far the last of them is behind the log, in records."""
        head = self._store.log.reach().head
        return max((head - one.through for one in self._running.values()), default=0)

    def measured(self, metrics: Metrics) -> None:
        """Show them among the metrics."""
        metrics.gauge("readers", "Processes that answer questions", lambda: self.running)
        metrics.gauge("readers_ended", "Such processes that have ended by themselves", lambda: self.ended)
        metrics.gauge("readers_behind", "Records that the last of them has not taken in yet", lambda: self.behind)

    async def keep(self) -> None:
        """Keep them running until cancelled; then end them."""
        if self._listener is None:
            return
        self._store.latest.on_fresh = self._fresh
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publish())
            for number in range(self._count):
                tasks.create_task(self._one(number, self._listener))

    def clock_was_set(self, jumped_us: Micros) -> None:
        """The clock was set by so much: what was heard before counts from there."""
        for one in self._running.values():
            one.jumped_us += jumped_us
            one.due.set()

    @asynccontextmanager
    async def held(self, wait_s: float) -> AsyncGenerator[bool]:
        """Pause the queries of all for the length of a block. Whether all that ran have ended within `wait_s`. One that
        lets CUT_AFTER of these go by is ended."""
        asked = list(self._running.values())
        try:
            answers = await asyncio.gather(*(one.hold(wait_s) for one in asked))
            yield all(answers)
        finally:
            await asyncio.gather(*(one.release() for one in asked))

    def _fresh(self, node: str, now_us: Utc) -> None:
        for one in self._running.values():
            one.fresh[node] = now_us
            one.due.set()

    async def _publish(self) -> None:
        """Say that the log has grown, as soon as it has."""
        log = self._store.log
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(STATE_S):
                    await log.grown(log.reach().head)
            for one in self._running.values():
                one.due.set()
                if running_s() - one.heard_s > SILENT_S:
                    one.cut(f"has said nothing, or taken nothing in, for {SILENT_S:g} s")
                    one.heard_s = running_s()

    async def _one(self, number: int, listener: socket.socket) -> None:
        await again_and_again(NAME, lambda: self._run(number, listener), self._ended)

    def _ended(self) -> None:
        self.ended += 1

    async def _run(self, number: int, listener: socket.socket) -> None:
        theirs = listener.fileno()
        async with started(lambda link: self._started(link, theirs), theirs) as (process, link):
            one = self._running[number] = ReaderProcess(number, process, link)
            try:
                await one.until_ended(self._tell(one), self._hear(one))
            finally:
                del self._running[number]
                self._watching.elsewhere(number, None)

    async def _tell(self, one: ReaderProcess) -> None:
        with suppress(OSError):
            await one.link.send(self._begin)
            every = True
            while True:
                one.due.clear()
                origins, reach = self._store.log.origins, self._store.log.reach()
                fresh, one.fresh = one.fresh, {}
                heard, every = (self._store.heard.all if every else fresh), False
                jumped_us, one.jumped_us = one.jumped_us, Micros(0)
                await one.link.send(
                    State(
                        generation=origins.generation,
                        previous=origins.previous,
                        shared_through=origins.shared_through,
                        floor=reach.floor,
                        head=reach.head,
                        snapshots=self._store.latest.mark,
                        fresh=sorted(fresh),
                        heard=heard,
                        jumped_us=jumped_us,
                    )
                )
                await one.due.wait()

    async def _hear(self, one: ReaderProcess) -> None:
        while (message := await one.link.receive()) is not None:
            match message:
                case Beat():
                    one.beat(message.through, self._store.log.reach().head)
                case LookedAt():
                    self._watching.elsewhere(one.number, Looked(frozenset(message.nodes)))
                case Paused():
                    one.held(message)
                case _:
                    raise ValueError(f"a reader process says {message!r:.100}")
