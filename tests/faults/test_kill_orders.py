"""kill -9 of the aggregator between the steps of taking orders: order, key and notice are all there, or none is."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from cloud.records.keys import Answered, Keyed
from cloud.records.orders import Draft
from cloud.store import Store, opened
from wire.orders import Command

ANSWER = Answered(202, b"{}")
KEYED = Keyed("token key", b"digest")
START_US = 1_790_000_000_000_000


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def take(store: Store, name: str, at: str = "") -> Answered:
    order = Command(id=name, by="room", issued_us=START_US, expires_us=START_US + 10**9, device="a", point="p", value=1)

    def taken() -> None:
        if at == "taken":
            die()

    return await store.orders.take([Draft(order, "cab-1")], KEYED, ANSWER, START_US, taken)


async def take_and_die(directory: Path, at: str) -> None:
    async with opened(directory) as store:

        def arm(connection: sqlite3.Connection) -> None:
            connection.create_function("die", 0, die)
            connection.execute(f"CREATE TEMP TRIGGER fault AFTER INSERT ON {at} BEGIN SELECT die(); END")

        if at != "taken":
            await store.writer.do(arm)
        await take(store, "1", at)


@pytest.mark.parametrize(("at", "kept"), [("orders", False), ("requests", False), ("log", False), ("taken", True)])
async def test_killed_in_between_all_is_kept_or_nothing(tmp_path: Path, at: str, kept: bool) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, __file__, str(tmp_path), at)
    assert await child.wait() == -signal.SIGKILL
    async with opened(tmp_path) as store:
        found = (await store.orders.answered(KEYED) == ANSWER, await store.orders.one("1") is not None)
        assert (*found, len(await store.log.read(0, 10))) == (kept, kept, int(kept))
        assert await take(store, "2") == ANSWER, "it is sent again, for no answer came"
        assert len(await store.orders.newest(None, 2**53, 10, open_=False)) == len(await store.log.read(0, 10)) == 1


if __name__ == "__main__":
    asyncio.run(take_and_die(Path(sys.argv[1]), sys.argv[2]))
