"""Turns: who may use a shared line now. One at a time, or as many as the line allows; commands ahead of polls, each in
the order of asking.

At most MAX_WAITING may wait; one more is turned away. A turn lasts for one request, so that a poll of several
requests lets a command in between.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final

from drivers.errors import Unreachable

MAX_WAITING: Final = 1024
COMMAND: Final = 0
POLL: Final = 1
LOOK: Final = 2  # for devices that nobody knows: when nobody else wants the line


class Turns:
    """A lock for one or several, whose next holder is the most urgent, then the oldest."""

    def __init__(self, places: int = 1) -> None:
        self._free = places
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()

    def turn(self, urgency: int) -> Turn:
        """Hold the line for one request, by `async with`, which raises Unreachable when too many wait already."""
        return Turn(self._take, self._next, urgency)

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


class Turn:
    """One turn at a line; a class of its own since it is taken for each request."""

    __slots__ = ("_give", "_take", "_urgency")

    def __init__(self, take: Callable[[int], Awaitable[None]], give: Callable[[], None], urgency: int) -> None:
        self._take, self._give, self._urgency = take, give, urgency

    async def __aenter__(self) -> None:
        await self._take(self._urgency)

    async def __aexit__(self, *_exc: object) -> None:
        self._give()
