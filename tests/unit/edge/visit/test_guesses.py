from __future__ import annotations

import asyncio

import pytest

from edge.visit.guesses import FIRST_S, FORGET_S, HOLD_S, LAST_S, MAX_WAITING, Guesses, TooSoon


class World:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.guesses = Guesses(lambda: self.now_s, self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)

    async def guess(self, *, right: bool = False) -> float:
        """Come when it is allowed, and give a code: how long that took."""
        began_s = self.now_s
        while True:
            try:
                async with self.guesses.turn():
                    (self.guesses.right if right else self.guesses.wrong)()
                    return self.now_s - began_s
            except TooSoon as error:
                self.now_s += error.retry_s


async def test_each_wrong_code_is_answered_twice_as_late_up_to_a_bound() -> None:
    world = World()
    assert [await world.guess() for _ in range(7)] == [0, FIRST_S, 1, 2, 4, 8, 16]
    for _ in range(20):
        took_s = await world.guess()
    assert took_s == LAST_S
    assert await world.guess(right=True) == LAST_S, "the first right one is right all the same"
    assert await world.guess() == 0


async def test_who_comes_long_before_the_time_is_told_when_and_not_looked_at() -> None:
    world = World()
    for _ in range(6):
        await world.guess()
    for _ in range(3):
        with pytest.raises(TooSoon) as caught:
            async with world.guesses.turn():
                pytest.fail("it is looked at")
    world.now_s += caught.value.retry_s
    async with world.guesses.turn():
        pass
    assert caught.value.retry_s <= 16 - HOLD_S + 1


async def test_wrong_codes_are_forgotten_in_time() -> None:
    world = World()
    for _ in range(10):
        await world.guess()
    world.now_s += FORGET_S + 1
    assert await world.guess() == 0
    assert await world.guess() == FIRST_S


async def test_one_after_another_and_few_wait() -> None:
    world = World()
    inside = asyncio.Event()
    go = asyncio.Event()

    async def slow() -> None:
        async with world.guesses.turn():
            assert not inside.is_set()
            inside.set()
            await go.wait()
            inside.clear()

    waiting = [asyncio.create_task(slow()) for _ in range(MAX_WAITING)]
    await inside.wait()
    with pytest.raises(TooSoon):
        async with world.guesses.turn():
            pytest.fail("there was room")
    go.set()
    await asyncio.gather(*waiting)
    async with world.guesses.turn():
        pass
