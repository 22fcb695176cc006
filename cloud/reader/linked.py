"""Linked: a process that this one has started and speaks with over a link; another one takes its place when it ends.

It ends by itself when the link ends, so also when this process is killed; here it is ended by force where it does not.

Bounds: END_S for one to end by itself; at most AGAIN_S until one that has ended is started again.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from cloud.reader.link import Link, Pause, Paused, Resume
from groundwork.backoff import Backoff
from groundwork.liveness import running_s

LOG: Final = logging.getLogger("lamplighter.cloud")
END_S: Final = 5.0
AGAIN_S: Final = 30.0
CUT_AFTER: Final = 3
HOLD_MORE_S: Final = 5.0  # beyond what was asked for: a writer that dies holds nobody for ever


class LinkedProcess:
    """One of them, while it runs. `name` is what the log calls it."""

    def __init__(self, name: str, process: Process, link: Link) -> None:
        self.name = name
        self.process = process
        self.link = link
        self.unheld = 0  # requests to hold that it has let go by
        self.heard_s = running_s()
        self._holds: dict[int, asyncio.Future[bool]] = {}
        self._last = 0

    async def hold(self, wait_s: float) -> bool:
        """Whether all its queries have ended within so many seconds."""
        self._last += 1
        number, answer = self._last, asyncio.get_running_loop().create_future()
        self._holds[number] = answer
        try:
            async with asyncio.timeout(wait_s):
                await self.link.send(Pause(number, wait_s + HOLD_MORE_S))
                ended = await answer
            self.unheld = 0
        except (TimeoutError, OSError):
            self.unheld += 1
            if self.unheld >= CUT_AFTER:
                self.cut("does not let its queries end, and the write-ahead log grows")
            return False
        else:
            return ended
        finally:
            del self._holds[number]

    async def release(self) -> None:
        """Let queries begin again."""
        if self.unheld:
            return
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(HOLD_MORE_S):
                await self.link.send(Resume(self._last))

    def held(self, held: Paused) -> None:
        """It has answered a request to hold."""
        answer = self._holds.get(held.number)
        if answer is not None and not answer.done():
            answer.set_result(held.ended)

    def cut(self, why: str) -> None:
        """End it; another one comes."""
        LOG.error("%s %d %s; it is ended and started again", self.name, self.process.pid, why)
        with suppress(ProcessLookupError):
            self.process.kill()

    async def until_ended(self, *talk: Coroutine[Any, Any, None]) -> None:
        """Talk with it until it has ended."""
        async with asyncio.TaskGroup() as tasks:
            talking = [tasks.create_task(part) for part in talk]
            code = await self.process.wait()
            for task in talking:
                task.cancel()
        LOG.warning("%s %d has ended with %d", self.name, self.process.pid, code)


@asynccontextmanager
async def started(command: Callable[[int], list[str]], *descriptors: int) -> AsyncGenerator[tuple[Process, Link]]:
    """A process for the length of a block, which is handed its end of the link and these descriptors.

    Raises:
        OSError: it could not be started.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = await asyncio.create_subprocess_exec(
                *command(theirs.fileno()), stdin=DEVNULL, pass_fds=(theirs.fileno(), *descriptors)
            )
        except BaseException:
            ours.close()
            raise
    link = await Link.over(ours)
    try:
        yield process, link
    finally:
        link.close()  # it ends when it reads that
        await _gone(process)


async def again_and_again(
    name: str, run: Callable[[], Awaitable[None]], ended: Callable[[], object], longest_s: float = AGAIN_S
) -> None:
    """Run one after the other, with back-off, until cancelled. `ended` is called after each."""
    backoff = Backoff(first_s=1.0, longest_s=longest_s)
    while True:
        began_s = running_s()
        try:
            await run()
        except OSError as error:
            LOG.warning("no %s could be started: %s", name, error)
        except ExceptionGroup:  # of its link: what it says is nothing that we know
            LOG.exception("a %s is given up for another one", name)
        ended()
        if running_s() - began_s > longest_s:
            backoff.succeeded()
        await asyncio.sleep(backoff.failed())


async def _gone(process: Process) -> None:
    """Until it has ended, by force where it does not by itself, also while this task is cancelled."""

    async def ended() -> Any:
        try:
            async with asyncio.timeout(END_S):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    ending = asyncio.ensure_future(ended())
    while not ending.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(ending)
