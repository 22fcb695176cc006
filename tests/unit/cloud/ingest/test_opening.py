"""So much is open at a time and no more, in the order in which it came; large bodies hold up no small ones."""

from __future__ import annotations

import asyncio
import threading

import pytest

from cloud.ingest.opening import IN_HAND, LIGHT_BYTES, OPEN_BYTES, Opening, OpeningLane, size_of
from wire.errors import Malformed
from wire.frame import squeeze


async def held(lane: OpeningLane, size: int, go: asyncio.Event, log: list[int]) -> None:
    async with lane.room(size):
        log.append(size)
        await go.wait()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_bytes_and_bodies_are_bounded_in_order() -> None:
    lane, go, log = OpeningLane(1), asyncio.Event(), list[int]()
    tasks = [asyncio.create_task(held(lane, size, go, log)) for size in (OPEN_BYTES - 10, 20, 5)]
    await turns()
    assert log == [OPEN_BYTES - 10]  # the small one does not pass the one before it
    tasks[1].cancel()
    await turns()
    assert log == [OPEN_BYTES - 10, 5]
    go.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (lane._open, lane._count, list(lane._waiting)) == (0, 0, [])
    go.clear()
    many = [asyncio.create_task(held(lane, 1, go, log)) for _ in range(IN_HAND + 5)]
    await turns()
    assert lane._count == IN_HAND
    go.set()
    await asyncio.gather(*many)
    assert lane._count == 0


async def test_a_frame_that_claims_more_than_can_be_takes_its_turn_alone() -> None:
    lane, go, log = OpeningLane(1), asyncio.Event(), list[int]()
    go.set()
    await held(lane, 2**60, go, log)
    assert log == [2**60]
    assert lane._open == 0


async def test_the_time_of_what_fails_counts_too() -> None:
    lane = OpeningLane(1)
    spent: list[float] = []

    def fails() -> None:
        assert threading.current_thread() is not threading.main_thread()
        raise Malformed("no")

    with pytest.raises(Malformed):
        await lane.do(fails, spent.append)
    await turns()
    assert len(spent) == 1
    assert spent[0] >= 0


def test_large_ones_have_a_lane_of_their_own() -> None:
    opening = Opening()
    assert opening.lane(LIGHT_BYTES) is not opening.lane(LIGHT_BYTES + 1)
    assert size_of(squeeze(bytes(1_000))) == 1_000
    assert size_of(b"no frame") == 0
