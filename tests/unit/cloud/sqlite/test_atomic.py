"""What is kept with its key and its notice in one transaction is kept whole or not at all, whichever step fails."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from cloud.log.contract import Unavailable
from cloud.records.ended_alarms import told_of
from cloud.records.keys import Answered, Keyed
from cloud.records.orders import Draft
from cloud.store import Store, opened
from support.cloud_batches import START_US, Sender, Ticking, columns, send
from wire.batch import Lane
from wire.entries import Alarm
from wire.orders import Bundle

ANSWER = Answered(202, b"{}")
KEYED = Keyed("token key", b"digest")
LIFE_US = 10**9


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path, Ticking()) as made:
        for epoch, at_us in ((1, START_US), (2, START_US + LIFE_US)):  # the first run has ended unfinished
            await send(made.log, Sender(epoch=epoch, after=None).batch(columns(at_us=at_us)))
        yield made


async def take(store: Store) -> object:
    order = Bundle(id="1", group="g", by="x", issued_us=0, expires_us=LIFE_US, kind="plan", version="1", text="text")
    return await store.orders.take([Draft(order, "cab-1")], KEYED, ANSWER, 0, lambda: None)


async def end(store: Store) -> object:
    return await store.orders.end_due(LIFE_US)


async def alarm(store: Store) -> object:
    made = Alarm(id="a", device="cab-1", rule="r", severity="high", state="raised", raised_us=1, time_us=1)
    told = told_of("cab-1", made)
    return await store.own_alarms.keep([made], [told], 1, (Keyed("token other", b""), ANSWER))


async def assign(store: Store) -> object:
    return await store.claims.assign("lamp-001", "cab-1", "anna", 1)


async def write_off(store: Store) -> object:
    return await store.write_offs.write_off("cab-1", Lane.BULK, 1, "anna", 1, "")


async def code(store: Store) -> object:
    return await store.codes.give("cab-1", "t1", "M. Dupont", "anna", 1, KEYED, 0)


def whole(connection: sqlite3.Connection) -> list[str]:
    """All that is kept, as statements."""
    return list(connection.iterdump())


Act = Callable[[Store], Awaitable[object]]


@pytest.mark.parametrize(
    ("before", "act", "steps"),
    [
        ([], take, ["INSERT ON orders", "INSERT ON texts", "INSERT ON requests", "INSERT ON log"]),
        ([take], end, ["UPDATE ON orders", "INSERT ON log"]),
        ([], alarm, ["INSERT ON own_alarms", "INSERT ON requests", "INSERT ON meta", "INSERT ON log"]),
        ([], assign, ["INSERT ON assignments", "INSERT ON log"]),
        ([], code, ["INSERT ON codes", "INSERT ON requests", "INSERT ON log"]),
        ([], write_off, ["INSERT ON written_off", "INSERT ON log"]),
    ],
)
async def test_whichever_step_fails_nothing_was_changed(
    store: Store, before: list[Act], act: Act, steps: list[str]
) -> None:
    for each in before:
        await each(store)
    kept, head = await store.readers.ask(whole), store.log.reach().head
    for step in steps:
        trigger = f"CREATE TEMP TRIGGER fault AFTER {step} BEGIN SELECT RAISE(ABORT, 'no'); END"
        await store.writer.do(lambda connection, sql=trigger: connection.execute(sql))
        with pytest.raises(Unavailable):
            await act(store)
        await store.writer.do(lambda connection: connection.execute("DROP TRIGGER fault"))
        assert await store.readers.ask(whole) == kept, step
        assert store.log.reach().head == head
    await act(store)
    assert await store.readers.ask(whole) != kept
    assert store.log.reach().head == head + 1
