"""Waiting for the store ends when it is told to, and leaves nothing half open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from cloud.waiting import OpenedStore, WaitingApp, until_open
from groundwork.systemd import Notify


@asynccontextmanager
async def served(_: WaitingApp) -> AsyncGenerator[None]:
    yield


class Opening:
    """A store that opens and ends slowly: each when it is let."""

    def __init__(self) -> None:
        self.begun, self.ending, self.end = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.let = asyncio.Event()
        self.open = 0

    async def __call__(self, held: AsyncExitStack) -> str:
        self.open += 1
        held.callback(self._close)
        self.begun.set()
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.ending.set()
            await self.end.wait()
            raise
        return "store"

    def _close(self) -> None:
        self.open -= 1

    def until(self, held: AsyncExitStack, stop: asyncio.Event) -> asyncio.Task[OpenedStore[str] | None]:
        return asyncio.create_task(until_open(held, self, served, stop, Notify({}), lambda: 1, lambda: 1 << 40))


async def test_a_cancellation_while_an_attempt_is_ended_is_not_taken_for_the_end_of_that() -> None:
    opening, stop = Opening(), asyncio.Event()
    async with AsyncExitStack() as held:
        waiting = opening.until(held, stop)
        await opening.begun.wait()
        stop.set()
        await opening.ending.wait()
        waiting.cancel()
        opening.end.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert opening.open == 0


async def test_a_cancellation_ends_the_attempt_that_is_under_way() -> None:
    opening, stop = Opening(), asyncio.Event()
    opening.end.set()
    async with AsyncExitStack() as held:
        waiting = opening.until(held, stop)
        await opening.begun.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert opening.ending.is_set()
        assert opening.open == 0


async def test_what_was_opened_is_held_and_what_was_stopped_is_closed() -> None:
    opening, stop = Opening(), asyncio.Event()
    opening.let.set()
    async with AsyncExitStack() as held:
        assert await opening.until(held, stop) == OpenedStore("store", None)
        assert opening.open == 1
    assert opening.open == 0
    opening = Opening()
    opening.end.set()
    async with AsyncExitStack() as held:
        waiting = opening.until(held, stop)
        await opening.begun.wait()
        stop.set()
        assert await waiting is None
        assert opening.open == 0
