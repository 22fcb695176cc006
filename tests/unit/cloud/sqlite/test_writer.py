"""The writer: one culprit in a group fails alone, and what was committed is told even when its caller has gone."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud.crash import never
from cloud.log.contract import Unavailable
from cloud.sqlite import database, writer
from cloud.sqlite.writer import Writer


class Rolled:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


@pytest.fixture
def rolled() -> Rolled:
    return Rolled()


@pytest.fixture
async def store(tmp_path: Path, rolled: Rolled) -> AsyncIterator[Writer]:
    made = Writer(database.connect(tmp_path), never, rolled, lambda _jobs, _seconds: None)
    yield made
    await made.close()


def put(key: str) -> writer.Work[int]:
    def work(connection: sqlite3.Connection) -> int:
        if key == "bad":
            raise KeyError(key)
        if key == "broken":
            connection.execute("SELECT * FROM nowhere")
        database.put_meta(connection, key, 1)
        return 1

    return work


async def test_a_culprit_fails_alone(store: Writer, rolled: Rolled) -> None:
    keys = [f"k{i}" for i in range(40)]
    jobs = [*keys[:20], "bad", *keys[20:], "broken"]
    results = await asyncio.gather(*(store.do(put(k)) for k in jobs), return_exceptions=True)
    failed = {k: r for k, r in zip(jobs, results, strict=True) if isinstance(r, BaseException)}
    assert {k: type(e) for k, e in failed.items()} == {"bad": KeyError, "broken": Unavailable}
    held = await store.do(lambda c: {k for (k,) in c.execute("SELECT key FROM meta")})
    assert held >= set(keys)
    assert rolled.times >= 1


async def test_committed_is_told_in_order_and_to_the_cancelled(store: Writer) -> None:
    told: list[int] = []
    tasks = [asyncio.create_task(store.do(put(f"k{i}"), lambda _result, i=i: told.append(i))) for i in range(30)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await store.idle()
    assert told == list(range(30))


async def test_refuses_at_once_when_too_many_wait_or_it_is_closed(
    store: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING", 3)
    results = await asyncio.gather(*(store.do(put(f"k{i}")) for i in range(5)), return_exceptions=True)
    assert [isinstance(r, Unavailable) for r in results] == [False, False, False, True, True]
    await store.close()
    with pytest.raises(Unavailable):
        await store.do(put("late"))


async def test_a_full_disk_is_unavailable_and_changes_nothing(tmp_path: Path, rolled: Rolled) -> None:
    connection = database.connect(tmp_path)
    full = Writer(connection, never, rolled, lambda _jobs, _seconds: None)
    await full.do(lambda c: c.execute(f"PRAGMA max_page_count = {c.execute('PRAGMA page_count').fetchone()[0]}"))
    with pytest.raises(Unavailable, match="full"):
        await full.do(lambda c: c.execute("INSERT INTO log VALUES (1, NULL, 1, zeroblob(100000))"))
    assert await full.do(lambda c: c.execute("SELECT count(*) FROM log").fetchone()) == (0,)
    await full.close()


async def test_what_committed_raises_goes_to_its_own_caller_alone(store: Writer) -> None:
    told: list[int] = []

    def fails(_result: int) -> None:
        raise ZeroDivisionError

    jobs = [store.do(put(f"k{i}"), fails if i == 3 else lambda _r, i=i: told.append(i)) for i in range(8)]
    results = await asyncio.wait_for(asyncio.gather(*jobs, return_exceptions=True), 5)
    assert [isinstance(r, ZeroDivisionError) for r in results] == [i == 3 for i in range(8)]
    assert told == [0, 1, 2, 4, 5, 6, 7]
    await asyncio.wait_for(store.idle(), 5)
    assert await store.do(put("after")) == 1
