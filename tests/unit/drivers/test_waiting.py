"""Who may use a line."""

from __future__ import annotations

import asyncio

import pytest

from drivers.errors import Unreachable
from drivers.turns import COMMAND, MAX_WAITING, POLL, Turns


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_commands_first_then_in_the_order_of_asking() -> None:
    turns, order, gate = Turns(), [], asyncio.Event()

    async def use(name: str, urgency: int) -> None:
        async with turns.turn(urgency):
            if not order:
                order.append(name)
                await gate.wait()
            else:
                order.append(name)

    tasks = [asyncio.create_task(use(n, u)) for n, u in (("a", POLL), ("b", POLL), ("c", POLL), ("X", COMMAND))]
    await settle()
    gate.set()
    await asyncio.gather(*tasks)
    assert order == ["a", "X", "b", "c"]


async def test_places_and_cancelling() -> None:
    turns, inside, most = Turns(2), 0, 0
    gate = asyncio.Event()

    async def use() -> None:
        nonlocal inside, most
        async with turns.turn(POLL):
            inside += 1
            most = max(most, inside)
            try:
                await gate.wait()
            finally:
                inside -= 1

    tasks = [asyncio.create_task(use()) for _ in range(6)]
    await settle()
    assert inside == 2
    tasks[2].cancel()  # waiting
    tasks[0].cancel()  # inside
    await settle()
    gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(1), turns.turn(POLL), turns.turn(POLL):
        pass
    assert most == 2


async def test_a_turn_given_to_someone_who_just_left_is_passed_on() -> None:
    turns = Turns()
    async with turns.turn(POLL):
        waiting = asyncio.create_task(turns._take(POLL))
        await settle()
    waiting.cancel()  # its future has its result already
    await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(1), turns.turn(POLL):
        pass


async def test_too_many_are_turned_away() -> None:
    turns = Turns()
    async with turns.turn(POLL):
        tasks = [asyncio.create_task(turns._take(POLL)) for _ in range(MAX_WAITING)]
        await settle()
        with pytest.raises(Unreachable):
            async with turns.turn(COMMAND):
                pass
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
