"""Writer: the one thread that writes, with group commit. Many jobs share a transaction; nobody hears before it.

A job is a function of the connection. Jobs that wait while a transaction commits go together into the next one,
at most MAX_GROUP. What cannot be done in a transaction is done between two. When one of a group raises, the whole
group is rolled back and each is done again alone, so that only the culprit fails. `committed` runs on the event loop,
in the order of the jobs, before any caller goes on; it runs even when its caller was cancelled, and what it raises goes
to its own caller alone. At most MAX_WAITING jobs wait; beyond that a job is refused at once.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import zlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from time import perf_counter
from typing import Any, Final, TypeVar

import msgspec

from cloud.crash import Crash
from cloud.log.contract import Unavailable
from cloud.log.notices import Announcement, Finding
from cloud.sqlite import damage, database
from groundwork.liveness import Part
from wire.errors import BadInput

MAX_GROUP: Final = 256
MAX_WAITING: Final = 4_096
GROUP_S: Final = 600.0  # a transaction that takes longer does not come back
ALONE_S: Final = 3_600.0

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
NoteIn = Callable[
    [sqlite3.Connection, Sequence[Finding | Announcement]], int
]  # puts notices into the log: its head after them


class _Job:
    __slots__ = ("alone", "committed", "error", "future", "ingest", "result", "work")

    def __init__(
        self,
        work: Work[Any],
        committed: Callable[[Any], None] | None,
        future: asyncio.Future[Any],
        *,
        ingest: bool,
        alone: bool,
    ) -> None:
        self.work = work
        self.alone = alone
        self.ingest = ingest
        self.committed = committed
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None


class Writer:
    """Owns the connection from start to close."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        crash: Crash,
        rolled_back: Callable[[], None],
        timed: Callable[[int, float], None],
        alive: Part | None = None,
    ) -> None:
        """`rolled_back` drops what was cached of the store; `timed` is called with each group's size and seconds;
        `alive` is told of each group."""
        self._alive = Part("writer") if alive is None else alive
        self._connection = connection
        self._crash = crash
        self._rolled_back = rolled_back
        self._timed = timed
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.trouble: sqlite3.Error | None = None  # what the last transaction failed at, None when it did not
        self.damage: sqlite3.Error | None = None  # the first that was found
        self._waiting = 0
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="lamplighter-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many jobs wait or are being done."""
        return self._waiting

    def found(self, what: Sequence[str]) -> None:
        """Note damage that work has gone around, by table."""
        if what and self.damage is None:
            self.damage = damage.told(damage.found(what))

    async def do(self, work: Work[T], committed: Callable[[T], None] | None = None, *, ingest: bool = False) -> T:
        """Do it in a transaction; its result once that is durable. `ingest` makes it count for the crash points.

        Raises:
            Unavailable: SQLite did not do it, or too many wait. Nothing was changed.
        """
        return await self._put(work, committed, ingest=ingest)

    async def between(self, work: Work[T]) -> T:
        """Do it between two transactions.

        Raises:
            Unavailable: SQLite did not do it, or too many wait.
        """
        return await self._put(work, None, alone=True)

    async def _put(
        self, work: Work[T], committed: Callable[[T], None] | None, *, ingest: bool = False, alone: bool = False
    ) -> T:
        if self._closed:
            raise Unavailable("the store is closing")
        if self._waiting >= MAX_WAITING:
            raise Unavailable(f"{self._waiting} transactions wait already")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting += 1
        self._idle.clear()
        self._jobs.put(_Job(work, committed, future, ingest=ingest, alone=alone))
        return await future

    async def idle(self) -> None:
        """Return once nothing waits."""
        await self._idle.wait()

    async def close(self) -> None:
        """Finish what waits, then close the connection."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        database.close(self._connection)

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            group = [first]
            last, then = False, None
            while len(group) < MAX_GROUP and not first.alone and not self._jobs.empty():
                job = self._jobs.get_nowait()
                if job is None or job.alone:
                    last, then = job is None, job
                    break
                group.append(job)
            with self._alive.busy(ALONE_S if first.alone else GROUP_S, "a transaction"):
                self._do_group(group)
            if then is not None:
                with self._alive.busy(ALONE_S, "work between transactions"):
                    self._do_group([then])
            if last:
                return

    def _do_group(self, group: list[_Job]) -> None:
        started = perf_counter()
        if not self._try(group) and len(group) > 1:
            for job in group:
                self._try([job])
        if any(job.ingest for job in group):
            self._crash("ingest.after_commit")
        self._timed(len(group), perf_counter() - started)
        self._loop.call_soon_threadsafe(self._tell, group)

    def _try(self, group: list[_Job]) -> bool:
        around = nullcontext() if group[0].alone else database.transaction(self._connection)
        try:
            with around:
                for job in group:
                    job.result, job.error = job.work(self._connection), None
                if any(job.ingest for job in group):
                    self._crash("ingest.before_commit")
        except Exception as error:  # noqa: BLE001  whatever it is, it belongs to the callers, and they get it
            self._rolled_back()
            if isinstance(error, sqlite3.Error):
                self.trouble = error
                self.damage = self.damage or damage.told(error)
            ours = isinstance(error, sqlite3.Error)
            if isinstance(error, msgspec.DecodeError | zlib.error):  # BadInput is the sender's
                self.found([str(error)])
                ours = True
            wrapped = Unavailable(f"the store did not take it: {error}") if ours else error
            for job in group:
                job.error = wrapped
            return False
        self.trouble = None
        return True

    def _tell(self, group: list[_Job]) -> None:
        self._waiting -= len(group)
        if not self._waiting:
            self._idle.set()
        for job in group:
            if job.error is None and job.committed is not None:
                try:
                    job.committed(job.result)
                except Exception as error:  # noqa: BLE001  it belongs to its own caller; the others go on
                    job.error = error
        for job in group:
            if job.future.done():  # the caller has gone; what it asked for is done all the same
                if job.error is not None and not isinstance(job.error, Unavailable | BadInput):
                    self._loop.call_exception_handler({"message": "nobody waits for it", "exception": job.error})
                continue
            if job.error is None:
                job.future.set_result(job.result)
            else:
                job.future.set_exception(job.error)
