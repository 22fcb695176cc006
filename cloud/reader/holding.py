"""Holding: a process holds its queries back while the one that writes empties the write-ahead log, and then goes on.

Bound: a Pause lasts no longer than it says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

from cloud.reader.link import Link, Pause, Paused, Resume

Held = Callable[[float], AbstractAsyncContextManager[bool]]  # `cloud.sqlite.readers.Readers.pause`


class Holding:
    """On the event loop."""

    def __init__(self, link: Link, pause: Held) -> None:
        self._link, self._pause = link, pause
        self._holding: dict[int, asyncio.Event] = {}
        self._holds: set[asyncio.Task[None]] = set()

    def pause(self, asked: Pause) -> None:
        """Begin to hold them back, and say when those that run have ended."""
        released = self._holding[asked.number] = asyncio.Event()  # before it could be told to go on
        task = asyncio.create_task(self._hold(asked, released))
        self._holds.add(task)
        task.add_done_callback(self._holds.discard)

    def resume(self, asked: Resume) -> None:
        """Let them go on."""
        if (released := self._holding.get(asked.number)) is not None:
            released.set()

    async def _hold(self, asked: Pause, released: asyncio.Event) -> None:
        try:
            async with self._pause(asked.for_s) as ended:
                with suppress(OSError):
                    await self._link.send(Paused(asked.number, ended))
                with suppress(TimeoutError):
                    async with asyncio.timeout(asked.for_s):
                        await released.wait()
        finally:
            del self._holding[asked.number]
