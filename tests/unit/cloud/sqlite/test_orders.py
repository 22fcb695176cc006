"""Orders in SQLite: what is beyond `tests/conformance/test_orders.py`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.problem import Problem
from cloud.records.keys import Answered, Keyed
from cloud.records.orders import Draft
from cloud.sqlite import keys, orders, schema
from cloud.store import Store, opened
from cloud.times import DAY_US
from cloud.views.order_stages import WORD_US, OrderStage, forward
from support.cloud_batches import SECOND, START_US, Sender, Ticking, columns, send
from support.examples import many
from wire.batch import Lane
from wire.entries import Result, Stage
from wire.orders import FINAL, Bundle, Command, Order

ANSWER = Answered(202, b'{"group":"g"}')
LIFE_US = 60 * SECOND


@pytest.fixture
def now() -> Ticking:
    return Ticking()


@pytest.fixture
async def store(tmp_path: Path, now: Ticking) -> AsyncIterator[Store]:
    async with opened(tmp_path, now) as made:
        yield made


def command(name: str, group: str = "g", at_us: int = START_US) -> Order:
    return Command(
        id=name, group=group, by="room", issued_us=at_us, expires_us=at_us + LIFE_US, device="a", point="p", value=1
    )


def bundle(name: str, text: str) -> Order:
    return Bundle(
        id=name,
        group="b",
        by="room",
        issued_us=START_US,
        expires_us=START_US + LIFE_US,
        kind="plan",
        version="1",
        text=text,
    )


async def take(store: Store, *orders: Order, key: str = "", node: str = "cab-1", at_us: int = START_US) -> Answered:
    keyed = Keyed(key or orders[0].id, b"digest")
    return await store.orders.take([Draft(o, node, "streetlight") for o in orders], keyed, ANSWER, at_us, lambda: None)


async def stage_of(store: Store, name: str) -> OrderStage:
    kept = await store.orders.one(name)
    assert kept is not None
    return kept.stage


async def test_what_is_refused_does_not_undo_what_is_taken_beside_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs share a transaction: an operator who is told 429 again and again must not make all others' fall apart."""
    monkeypatch.setattr(orders, "MAX_OPEN", 1)
    await take(store, command("1"))
    undone: list[bool] = []
    monkeypatch.setattr(store.writer, "_rolled_back", lambda: undone.append(True))
    jobs = [take(store, command("2"), node="cab-2"), take(store, command("3")), take(store, command("4"), key="1")]
    other = store.orders.take([], Keyed("1", b"other"), ANSWER, START_US, lambda: None)
    done = await asyncio.gather(*jobs, other, return_exceptions=True)
    assert [e.status if isinstance(e, Problem) else e for e in done] == [ANSWER, 429, ANSWER, 422]
    assert undone == []


async def test_of_two_ends_in_one_batch_the_lower_seq_counts(store: Store) -> None:
    await take(store, command("1"))
    batch = Sender().batch(
        Result(order="1", stage="failed", time_us=1), Result(order="1", stage="verified", time_us=2), lane=Lane.URGENT
    )
    await send(store.log, msgspec.structs.replace(batch, entries=list(reversed(batch.entries))))
    said = await store.views.results(["1"])
    assert [r.stage for _, r in said["1"]] == ["failed", "verified"]
    assert await stage_of(store, "1") == "failed"


async def test_what_has_ended_is_forgotten_by_count_and_by_age(
    store: Store, now: Ticking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "KEPT", 3)
    monkeypatch.setattr(orders, "STEP", 2)
    await take(store, *(command(str(i)) for i in range(6)))
    await take(store, bundle("b", "text"))
    now.tick(60)
    while await store.orders.end_due(now()):
        pass
    await take(store, command("open", at_us=now()))
    while await store.orders.prune(now()):
        pass
    left = [k.order.id for k in await store.orders.newest(None, 99, 99, open_=False)]
    assert (len(left), left[0]) == (4, "open")
    now.now_us += orders.KEPT_US + 1
    while await store.orders.prune(now()):
        pass
    assert [k.order.id for k in await store.orders.newest(None, 99, 99, open_=False)] == ["open"]
    texts = await store.readers.ask(lambda c: c.execute("SELECT count(*) FROM texts").fetchone())
    assert texts == (0,)


async def test_a_key_is_kept_a_day_and_no_other_is_forgotten_for_it(
    store: Store, now: Ticking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "MAX_KEYS", 2)
    assert await take(store, command("1"), key="k") == ANSWER
    assert await take(store, command("2"), key="k") == ANSWER
    assert await store.orders.one("2") is None
    with pytest.raises(Problem, match="used for another request"):
        await store.orders.take([], Keyed("k", b"other"), ANSWER, now(), lambda: None)
    await take(store, command("3"), key="l")
    with pytest.raises(Problem, match="no more are taken"):
        await take(store, command("4"), key="m")
    now.now_us += DAY_US
    assert await store.orders.prune(now()) == 0
    assert await store.orders.answered(Keyed("k", b"digest")) == ANSWER
    now.tick(3_601)
    assert await store.orders.prune(now()) == 2
    assert await store.orders.answered(Keyed("k", b"digest")) is None
    await take(store, command("4"), key="m")


async def test_a_store_of_the_schema_before_is_brought_up(tmp_path: Path, now: Ticking) -> None:
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        for script in (schema._LOG, schema._VIEWS):
            connection.executescript(script)
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    async with opened(tmp_path, now) as store:
        await send(store.log, Sender().batch(columns()))
        await take(store, command("1"))
        assert await stage_of(store, "1") == "issued"
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)


Said = tuple[str, Stage]


@settings(max_examples=many(25), deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["1", "2", "cloud"]), st.sampled_from(get_args(Stage))), max_size=12),
    st.booleans(),
)
def test_stages_only_move_forward_whatever_comes_in_whatever_order(said: Sequence[Said], sent: bool) -> None:
    """Also when another node claims to know, and when the aggregator has ended it in between."""

    async def scenario(directory: Path) -> None:
        now = Ticking()
        async with opened(directory, now) as store:
            await take(store, command("1"))
            if sent:
                await store.orders.sending([("1", False)], now())
            expected: OrderStage = "sent" if sent else "issued"
            senders = {"1": Sender("cab-1"), "2": Sender("cab-2")}
            for who, stage in said:
                if who == "cloud":
                    now.now_us = START_US + LIFE_US + WORD_US
                    ended = await store.orders.end_due(now())
                    assert ended == (expected not in FINAL)
                    if ended:
                        expected = "expired" if expected == "issued" else "failed"
                else:
                    await send(
                        store.log, senders[who].batch(Result(order="1", stage=stage, time_us=1), lane=Lane.URGENT)
                    )
                    expected = forward(expected, stage) if who == "1" else expected
                assert await stage_of(store, "1") == expected
            kept = await store.orders.one("1")
            assert kept is not None
            assert (kept.ended_us is not None) == (expected in FINAL)

    with TemporaryDirectory() as directory:
        asyncio.run(scenario(Path(directory)))
