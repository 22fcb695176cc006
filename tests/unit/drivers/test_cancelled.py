"""A cancellation that meets an answer is not lost."""

from __future__ import annotations

import asyncio

import pytest

from drivers.cancelled import told


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_that_meets_the_answer_is_told(fails: bool) -> None:
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(told(asyncio.wait_for(answer, 60)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if fails:
        answer.set_exception(OSError("gone"))
    else:
        answer.set_result(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_without_one_the_answer_is_given() -> None:
    async def seven() -> int:
        return 7

    assert await told(seven()) == 7
