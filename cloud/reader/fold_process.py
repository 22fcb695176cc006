"""A fold process: it follows the store and keeps folded hours, beside the process that writes, which has started it
(`cloud.reader.fold_keeper`) and with which it ends. It only reads the store, and lets everybody else go first.

What fails is tried again with back-off, and told. Where somebody folds the same files by hand, it waits for them.

Bounds: those of `cloud.history.folder`; at most AGAIN_S until what has failed is tried again.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from cloud import crash
from cloud.log.contract import Unavailable
from cloud.reader.holding import Holding
from cloud.reader.link import STATE_S, BeginFold, FoldedSoFar, Link, Pause, Resume
from cloud.sqlite.database import Misplaced
from cloud.sqlite.folding import FoldedElsewhere, Folding, folding
from groundwork.backoff import Backoff, upper_half
from groundwork.terminal import log_to_stderr

LOG: Final = logging.getLogger("lamplighter.cloud")
IDLE_S: Final = 5.0  # until it looks again whether there is something to fold
AGAIN_S: Final = 60.0
NICE: Final = 10  # whoever asks or sends goes first


def main() -> None:
    """Fold until the link ends."""
    parser = argparse.ArgumentParser(prog="cloud.reader.fold_process", description=__doc__)
    parser.add_argument("--link", type=int, required=True, help="the descriptor of the link to who has started it")
    given = parser.parse_args()
    log_to_stderr(logging.INFO)
    for number in (signal.SIGINT, signal.SIGHUP):  # the link says when to end; a terminal asks all processes at once
        signal.signal(number, signal.SIG_IGN)
    step_aside()
    with (
        socket.socket(fileno=given.link) as link,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_fold(link.dup()))


def step_aside() -> None:
    """Let other processes go first, where that is allowed: a hardened unit may forbid it, and say Nice= itself."""
    with suppress(PermissionError):
        os.nice(NICE)


async def _fold(sock: socket.socket) -> None:
    link = await Link.over(sock)
    begin = await link.receive()
    if not isinstance(begin, BeginFold):
        return
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, link.close)
    process = _FoldProcess(begin, link)
    tasks = [asyncio.create_task(part()) for part in (process.hear, process.tell, process.fold)]
    await asyncio.wait(tasks, return_when="FIRST_COMPLETED")
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended


class _FoldProcess:
    """What goes on at once."""

    def __init__(self, begin: BeginFold, link: Link) -> None:
        self._begin, self._link = begin, link
        self._folding: Folding | None = None
        self._holding = Holding(link, self._pause)
        self._steps = 0
        self._trouble: str | None = None

    async def hear(self) -> None:
        """Until the other end has gone."""
        while (message := await self._link.receive()) is not None:
            match message:
                case Pause():
                    self._holding.pause(message)
                case Resume():
                    self._holding.resume(message)
                case _:
                    raise ValueError(f"the process that writes says {message!r:.100}")

    async def tell(self) -> None:
        """Say how far it has come, and that this loop turns."""
        with suppress(OSError):
            while True:
                said = FoldedSoFar(steps=self._steps, trouble=self._trouble)
                if self._folding is not None:
                    so_far = msgspec.structs.asdict(self._folding.folder.progress())
                    said = msgspec.structs.replace(said, **so_far)
                await self._link.send(said)
                await asyncio.sleep(STATE_S)

    async def fold(self) -> None:
        """For ever."""
        backoff = Backoff(first_s=IDLE_S, longest_s=AGAIN_S, jitter=upper_half)
        while True:
            try:
                await self._go_on(backoff)
            except FoldedElsewhere as error:
                self._say(None, f"{error}: it goes on here when that has ended")
            except (Unavailable, Misplaced, OSError) as error:
                self._say(str(error), f"history cannot be folded now, and will be: {error}")
            finally:
                self._folding = None
            await asyncio.sleep(backoff.failed())

    async def _go_on(self, backoff: Backoff) -> None:
        data, history = Path(self._begin.data), Path(self._begin.history)
        async with folding(data, history, crash=crash.from_environment(dict(os.environ))) as self._folding:
            while True:
                more = await self._folding.folder.step()
                self._steps += 1
                self._trouble = None
                backoff.succeeded()
                if not more:
                    await asyncio.sleep(IDLE_S)

    def _say(self, trouble: str | None, words: str) -> None:
        if trouble is None or trouble != self._trouble:
            LOG.warning("%s", words)
        self._trouble = trouble

    @asynccontextmanager
    async def _pause(self, wait_s: float) -> AsyncGenerator[bool]:
        if self._folding is None:
            yield True  # it reads nothing; what it reads next are a few numbers
            return
        async with self._folding.pause(wait_s) as ended:
            yield ended


if __name__ == "__main__":
    sys.exit(main())
