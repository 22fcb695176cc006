"""What goes on beside the server ends with it, and says why it ended before."""

from __future__ import annotations

import asyncio

import pytest

from cloud import server


async def test_a_cancellation_while_the_upkeep_ends_is_not_taken_for_the_end_of_that() -> None:
    begun, ending, end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def upkeep() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await end.wait()

    async def run() -> None:
        async with server._alongside(upkeep()):
            await begun.wait()

    running = asyncio.create_task(run())
    await ending.wait()
    running.cancel()
    end.set()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_an_upkeep_that_fails_is_told() -> None:
    async def upkeep() -> None:
        raise LookupError("gone")

    with pytest.raises(ExceptionGroup, match="TaskGroup") as told:
        async with server._alongside(upkeep()) as beside:
            await asyncio.wait((beside,))
    assert told.group_contains(LookupError, match="gone")
