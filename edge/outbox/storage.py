"""Storage: the outbox on its card or, while the card cannot be used, in memory. The node runs either way.

A card that is full, read-only, missing, not permitted or held by a process that hangs in it says so when it is opened;
one that hangs says nothing: after OPEN_S without an answer the node goes on without it. In memory it begins with what
the card lets itself be read. Publishes that their broker would bring again are acknowledged only when the city has
them (`Outbox.safe`): what memory holds is lost with power.

The card is tried again every RETRY_S, and one that hung when it answers. When it can be used, or when one that was
used has refused for REFUSED_S, `renew` is set: whoever runs the node ends this life of it and begins another. What
memory has is brought to the card before (`SqliteOutbox.adopt`).

Bounds: MEMORY_BYTES in memory; one attempt at a time; `open_s` without an answer while it is opened or takes
over what memory has, CLOSE_S while it is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from drivers.errors import NotStored
from edge.outbox.card_lock import InUse
from edge.outbox.reading import CardError
from edge.outbox.sqlite import SqliteOutbox
from groundwork.liveness import END_S, SLACK_S, Part, running_s
from wire.time import Micros, Utc

log = logging.getLogger(__name__)

OPEN_S: Final = 20.0  # well within systemd's TimeoutStartSec
CLOSE_S: Final = 5.0
RETRY_S: Final = 60.0
REFUSED_S: Final = 120.0
MEMORY_BYTES: Final = 16 << 20
LOOK_S: Final = 0.1
FULL_BYTES: Final = 256 << 10


class Storage:
    """Open it with `async with`: it gives the outbox to use."""

    def __init__(
        self,
        directory: Path,
        *,
        node: str,
        limit_bytes: int,
        history_us: Micros,
        now_us: Callable[[], Utc],
        busy: Callable[[], None] = lambda: None,
        open_s: float = OPEN_S,
        retry_s: float = RETRY_S,
        alive: Part | None = None,
        monotonic: Callable[[], float] = running_s,
    ) -> None:
        """`busy` is called from another thread while a damaged card is read, which may take a while; `alive` is told
        of each answer while it is opened or closed."""
        self._alive, self._monotonic = Part("card") if alive is None else alive, monotonic
        self._directory, self._node, self._limit_bytes = directory, node, limit_bytes
        self._history_us, self._now_us, self._busy = history_us, now_us, busy
        self._open_s, self._retry_s = open_s, retry_s
        self._outbox: SqliteOutbox | None = None
        self._pending: tuple[SqliteOutbox, asyncio.Future[Any]] | None = None  # an attempt that has no end yet
        self._card: SqliteOutbox | None = None  # the card, open again beside the memory
        self._watching: asyncio.Task[None] | None = None
        self.without: str | None = None  # why the card is not used
        self.renew = asyncio.Event()
        self.abandoned = False  # a thread hangs in the card: the process cannot end in good order

    async def __aenter__(self) -> SqliteOutbox:
        """Open the card, or do without.

        Raises:
            edge.card_lock.InUse: another node process has it.
        """
        try:
            self._outbox = await self._try()
        except _Hangs as error:
            self.without = str(error)
        except (sqlite3.Error, OSError, MemoryError) as error:
            self.without = _words(error, self._directory)
        if self._outbox is None:
            log.error("the node runs without its card: %s", self.without)
            self._outbox = await self._in_memory()
            self._watching = asyncio.create_task(self._wait_for_card(), name="card")
        return self._outbox

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Close; what only memory has goes to the card, if that can be used now.

        Raises:
            CardError: in the place of what SQLite has raised in the block.
        """
        assert self._outbox is not None
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._outbox.card.memory:
            await self._bring_home()
        await self._close(self._outbox)
        if isinstance(error, sqlite3.Error):
            raise CardError(f"{self._directory}: {error}") from error

    @property
    def fault(self) -> str | None:
        """What is wrong with the card, in a sentence; None: nothing."""
        if self.without is not None:
            return f"the node runs without its card, what it keeps is lost with power: {self.without}"
        damaged = None if self._outbox is None else self._outbox.card.damaged
        return None if damaged is None else f"the card was damaged: {damaged}"

    @property
    def stuck_s(self) -> float:
        """For how long the outbox in use has waited for its card without an answer."""
        return 0.0 if self._outbox is None else self._outbox.card.stuck_s

    def refused(self, for_s: float) -> None:
        """The outbox has taken nothing for so long."""
        if for_s > REFUSED_S and self.without is None and not self.renew.is_set():
            log.error("the card has taken nothing for %.0f s: the node begins anew, without it if need be", for_s)
            self.renew.set()

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _box(self, *, memory: bool = False, seed: bool = False) -> SqliteOutbox:
        return SqliteOutbox(
            self._directory,
            node=self._node,
            limit_bytes=MEMORY_BYTES if memory else self._limit_bytes,
            history_us=self._history_us,
            now_us=self._now_us,
            memory=memory,
            seed=seed,
            busy=self._busy,
        )

    async def _try(self) -> SqliteOutbox:
        """The card, open.

        Raises:
            _Hangs: it does not answer; the attempt goes on, and is `_pending`. Whatever opening it raises.
        """
        box = self._box()
        attempt = asyncio.ensure_future(box.__aenter__())
        if await self._answers(attempt, box, self._open_s, "opening it"):
            return await attempt
        self._pending = box, attempt
        attempt.add_done_callback(lambda f: None if f.cancelled() else f.exception())
        raise _Hangs(f"it has not answered for {self._open_s:g} s")

    async def _in_memory(self) -> SqliteOutbox:
        if self._pending is None:
            box = self._box(memory=True, seed=True)
            attempt = asyncio.ensure_future(box.__aenter__())
            if await self._answers(attempt, box, self._open_s, "opening it"):
                return await attempt
            log.error("the card does not let itself be read either")
            self.abandoned = True
        box = self._box(memory=True)
        return await box.__aenter__()

    async def _wait_for_card(self) -> None:
        while self._card is None:
            if self._pending is None:
                await asyncio.sleep(self._retry_s)
            try:
                if self._pending is not None:
                    attempt = self._pending[1]
                    await asyncio.wait([attempt])
                    self._pending = None
                    self._card = await attempt
                else:
                    self._card = await self._try()
            except (sqlite3.Error, OSError, MemoryError, RuntimeError) as error:
                self.without = _words(error, self._directory)
        log.warning("the card can be used again: the node begins anew, with it")
        self.renew.set()

    async def _bring_home(self) -> None:
        assert self._outbox is not None
        if self._card is None and self._pending is None:
            with contextlib.suppress(sqlite3.Error, OSError, MemoryError, RuntimeError):
                self._card = await self._try()
        self.abandoned |= self._pending is not None
        if self._card is None:
            waiting = sum((await self._outbox.depth()).pending.values())
            log.error("%d entries were in memory only, and the card takes them not: they are lost", waiting)
            return
        adopting = asyncio.ensure_future(self._card.adopt(self._outbox))
        try:
            if not await self._answers(adopting, self._card, self._open_s, "taking over what memory has"):
                log.error("the card does not answer: what memory has may not be on it")
                self.abandoned = True
                return
            await adopting
        except NotStored as error:
            log.error("what memory has does not go onto the card: %s", error)  # noqa: TRY400 - no bug of ours
        await self._close(self._card)

    async def _close(self, box: SqliteOutbox) -> None:
        closing = asyncio.ensure_future(box.__aexit__())
        if await self._answers(closing, box, CLOSE_S, "closing it"):
            await closing
        else:
            log.error("the card does not answer: it is left as it is")
            self.abandoned = True

    async def _answers(self, work: asyncio.Future[Any], box: SqliteOutbox, limit_s: float, doing: str) -> bool:
        """Whether work with the card comes to an end, good or bad, before nothing has been answered for `limit_s`. The
        watchdog waits a little longer for each answer."""
        answered, since = -1, 0.0
        try:
            while not work.done():
                if box.card.answered != answered:
                    answered, since = box.card.answered, self._monotonic()
                    self._alive.within(limit_s + SLACK_S, doing)
                await asyncio.wait([work], timeout=LOOK_S)
                if not work.done() and (box.card.stuck_s > limit_s or self._monotonic() - since > limit_s + END_S):
                    return False
            return True
        finally:
            self._alive.rest()


class _Hangs(OSError):
    """It has not answered."""


def _words(error: BaseException, directory: Path) -> str:
    """What is wrong, and where."""
    if isinstance(error, InUse):
        return str(error)
    if isinstance(error, OSError) and error.errno and not isinstance(error, _Hangs):
        return f"{error.filename or directory}: {error.strerror or os.strerror(error.errno)}"
    with contextlib.suppress(OSError):  # SQLite has many names for a disk without room, "disk I/O error" is one
        if isinstance(error, sqlite3.Error) and shutil.disk_usage(directory).free < FULL_BYTES:
            return f"{directory}: the disk is full ({error})"
    return f"{directory}: {error}"
