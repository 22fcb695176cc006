"""Watchdog: systemd's, which ends a process that does not say in time that it lives; at both ends.

It is patted from the event loop, so that one that hangs is seen, and only while no part is late that nothing but a new
process brings back. Before systemd acts a thread writes down why (`groundwork.last_words`), for the next process to
tell. Where nobody waits for it, all the same is written, and nothing ends. It is `kept` from the first thing that may
take long to the last: also while a store is opened or closed.

A part that is stuck for a bug of ours would be so again in the next process: for such a thing a process may end seldom,
and in between it goes on with all its other parts.

Bounds: `loop_s` for an event loop; of parts those that they name.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, Self

from groundwork.last_words import LastWords, Ring, Witness, put_aside, told
from groundwork.liveness import Late, Liveness, Part, running_s
from groundwork.seldom import Seldom
from groundwork.systemd import Notify

log = logging.getLogger(__name__)

LOOP_S: Final = 10.0  # an event loop that has not turned for so long is blocked
PAT_S: Final = 5.0  # at the latest


class Watchdog:
    """A context manager: within it a thread looks too."""

    def __init__(
        self, systemd: Notify, path: Path, *, ring: Ring, loop_s: float = LOOP_S, seldom: Seldom | None = None
    ) -> None:
        """`path` is where last words lie, `ring` has the last lines of the log. `seldom` says whether the process may
        be ended for a part of its own that is late; without it, it always may."""
        self._seldom = seldom
        self._ending = False  # it is not patted any more
        self._held_back = False
        self._systemd, self._path = systemd, path
        self._liveness = Liveness()
        self._looking = ExitStack()
        self._watched: list[Callable[[], Late | None]] = []
        self.words: Sequence[LastWords] = ()  # of processes before, until they are `told`; the oldest first
        self.ring = ring
        self._witness = Witness(path, self.late, loop_s=loop_s, ring=ring)

    def __enter__(self) -> Self:
        self.words = put_aside(self._path)
        self._looking.enter_context(running_s.watching())
        self._witness.begin()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._witness.end()
        self._looking.close()

    def part(self, name: str) -> Part:
        """A part that nothing but a new process brings back."""
        return self._liveness.part(name)

    @contextmanager
    def watching(self, *late: Callable[[], Late | None]) -> Generator[None]:
        """Ask others too, for the length of a block."""
        self._watched += late
        try:
            yield
        finally:
            self._watched = [one for one in self._watched if one not in late]

    def late(self) -> Sequence[Late]:
        """Those that are late."""
        return [*self._liveness.late(), *(one for late in self._watched if (one := late()) is not None)]

    def told(self) -> None:
        """What was left is known where it had to be, and durable there."""
        self.words = ()
        told(self._path)

    @property
    def every_s(self) -> float:
        """How often `pat` is due."""
        asked_s = self._systemd.watchdog_s
        return PAT_S if asked_s is None else min(PAT_S, asked_s)

    def pat(self) -> None:
        """The event loop turns."""
        self._witness.seen()
        if self._systemd.watchdog_s is not None and not self._to_end():
            self._systemd.tell("WATCHDOG=1")

    def at_once(self, late: Late) -> bool:
        """Whether the process ends for that however seldom it may: what a new one does in another way."""
        del late
        return False

    def _to_end(self) -> bool:
        """Whether systemd is to end the process."""
        late = self.late()
        if not late:
            self._ending = self._held_back = False
        elif self._seldom is None or any(map(self.at_once, late)):
            return True
        elif not self._ending:
            if self._seldom.may():
                self._ending = True
                self._seldom.does()
            elif not self._held_back:
                self._held_back = True
                log.error("%s; the process was ended for such a thing lately, and goes on for now", late[0])
        return self._ending

    def stopping(self) -> None:
        """Tell systemd that the process is about to end, as it was told to."""
        self._systemd.tell("STOPPING=1")

    async def keep(self) -> None:
        """Pat it until cancelled."""
        while True:
            self.pat()
            await asyncio.sleep(self.every_s)

    @asynccontextmanager
    async def kept(self) -> AsyncGenerator[Self]:
        """Look and pat for the length of a block, whatever is done there."""
        with self:
            keeping = asyncio.create_task(self.keep(), name="watchdog")
            try:
                yield self
            finally:
                keeping.cancel()
                await asyncio.wait([keeping])
