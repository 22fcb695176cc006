"""Turns: who may use a shared line now. One at a time (or so many); commands ahead of polls, in the order of asking.

At most MAX_WAITING may wait; one more is turned away. A turn lasts for one request, so that a poll of several
requests lets a command in between.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

from drivers.errors import Unreachable

MAX_WAITING: Final = 1024
COMMAND: Final = 0
POLL: Final = 1


class Turns:
    """A lock for one or several, whose next holder is the most urgent, then the oldest."""

    def __init__(self, places: int = 1) -> None:
        self._free = places
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()

    @asynccontextmanager
    async def turn(self, urgency: int) -> AsyncGenerator[None]:
        """Hold the line for one request.

        Raises:
            Unreachable: too many wait already.
        """
        await self._take(urgency)
        try:
            yield
        finally:
            self._next()

    async def _take(self, urgency: int) -> None:
        if self._free:
            self._free -= 1
            return
        if len(self._waiting) >= MAX_WAITING:
            raise Unreachable(f"{MAX_WAITING} requests wait for this line already")
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (urgency, next(self._order), mine)
        heapq.heappush(self._waiting, place)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.cancelled():
                if place in self._waiting:
                    self._waiting.remove(place)
                    heapq.heapify(self._waiting)
            else:  # the turn came just as its owner went away
                self._next()
            raise

    def _next(self) -> None:
        while self._waiting:
            _, _, waiter = heapq.heappop(self._waiting)
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1
