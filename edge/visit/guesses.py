"""Guesses: who guesses codes is answered slower and slower, from wherever they ask.

Codes are looked at one after another. After a wrong one the next is looked at FIRST_S later, after each further one
twice as late, at most LAST_S. Whoever comes within HOLD_S of that moment waits for it; who comes earlier is sent away
and told when, and what they gave is not looked at. So a right code that comes after any number of wrong ones is still
right. Wrong ones are forgotten after FORGET_S without any, by a right one, and when the node starts.

With `wire.codes` AHEAD and BEHIND, somebody who guesses all day long has a chance of 1 in 3,000 a day; and can keep a
technician out meanwhile, who then acts at the node's own socket. Bound: MAX_WAITING wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

FIRST_S: Final = 0.5
LAST_S: Final = 300.0
HOLD_S: Final = 5.0
FORGET_S: Final = 3_600.0
MAX_WAITING: Final = 3  # each HOLD_S: together less than `edge.web.connections.REQUEST_S`


class TooSoon(Exception):
    """Not looked at; again in `retry_s` seconds."""

    def __init__(self, retry_s: float) -> None:
        super().__init__(f"wrong codes were given: try again in {retry_s:.0f} s")
        self.retry_s = retry_s


class Guesses:
    """Of one node. On the event loop."""

    def __init__(
        self, monotonic: Callable[[], float], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._monotonic, self._sleep = monotonic, sleep
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._wrong = 0
        self._next_s = self._last_s = float("-inf")

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Wait until a code may be looked at; nobody else's is meanwhile.

        Raises:
            TooSoon: it will be long, or too many wait.
        """
        self._check()
        if self._waiting >= MAX_WAITING:
            raise TooSoon(max(1.0, self._next_s - self._monotonic()))
        self._waiting += 1
        try:
            async with self._turn:
                self._check()
                if (wait_s := self._next_s - self._monotonic()) > 0:
                    await self._sleep(wait_s)
                yield
        finally:
            self._waiting -= 1

    def _check(self) -> None:
        now_s = self._monotonic()
        if now_s - self._last_s > FORGET_S:
            self._wrong = 0
        if (wait_s := self._next_s - now_s) > HOLD_S:
            raise TooSoon(wait_s - HOLD_S + 1)

    def wrong(self) -> None:
        """A code was wrong."""
        self._last_s = self._monotonic()
        self._next_s = self._last_s + min(LAST_S, FIRST_S * 2.0 ** min(self._wrong, 20))
        self._wrong += 1

    def right(self) -> None:
        """A code was right."""
        self._wrong, self._next_s = 0, float("-inf")
