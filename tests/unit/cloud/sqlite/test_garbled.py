"""Bodies that read well and are others than were written: told as damage, gone around, and gone after a rebuild."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from cloud.crash import never
from cloud.feed.known import NodesKnown
from cloud.feed.slices import Slices
from cloud.log.contract import Unavailable
from cloud.log.notices import Notice
from cloud.records.keys import Answered, Keyed
from cloud.records.orders import Draft
from cloud.sqlite import schema
from cloud.store import Store, opened, rebuild, silent
from cloud.views.contract import AlarmsAsked, ReadingsAsked, TargetsAsked
from support.cloud_batches import SECOND, START_US, Sender, Ticking, columns, roster, send
from wire.batch import Lane, Snapshot
from wire.entries import Alarm, Gap, Health, Result
from wire.orders import Command

GARBLED = b"\xc1\x00"  # neither JSON nor MessagePack, and not compressed by any of ours
LIFE_US = 60 * SECOND
KEYED, ANSWER = Keyed("token key", b"digest"), Answered(202, b"{}")


def alarm(name: str, state: str = "raised") -> Alarm:
    return Alarm(
        id=name, device="lamp-001", rule="r", severity="high", state=state, raised_us=START_US, time_us=START_US
    )


def command(name: str) -> Draft:
    order = Command(
        id=name, group="g", by="room", issued_us=START_US, expires_us=START_US + LIFE_US, device="a", point="p", value=1
    )
    return Draft(order, "cab-1")


async def fill(store: Store, node: Sender) -> None:
    """Something with a body in every table but chunks and residue."""
    await send(store.log, node.batch(roster("lamp-001"), lane=Lane.URGENT))
    await send(store.log, node.batch(columns()))
    await send(
        store.log,
        node.batch(
            alarm("a"),
            Health(time_us=START_US, verdict="ok"),
            Result(order="o1", stage="accepted", time_us=START_US),
            Gap(reason="full", lost=3),
            lane=Lane.URGENT,
        ),
    )
    await store.views.fresh(Snapshot(node="cab-1", columns=[columns(n=1)]))
    await store.own_alarms.keep([alarm("own")], [], None)
    await store.orders.take([command("o1"), command("o2")], KEYED, ANSWER, START_US, lambda: None)


async def make(directory: Path, now: Ticking) -> Sender:
    node = Sender()
    async with opened(directory, now) as store:
        await fill(store, node)
    return node


def garble(directory: Path, table: str, where: str = "1") -> None:
    with closing(sqlite3.connect(directory / "store.db")) as connection, connection:
        column = "profiles" if table == "rosters" else "body"
        assert connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (GARBLED,)).rowcount


def tells(store: Store, table: str = "") -> bool:
    """Whether it says that it is damaged, and where."""
    trouble = store.trouble()
    damage = store.writer.damage or store.readers.damage
    return trouble is not None and trouble.damaged and "rebuild" in trouble.words["en"] and table in str(damage)


@pytest.mark.parametrize("table", ["own_alarms", "latest", "fresh"])
async def test_a_store_is_opened_around_it_and_a_rebuild_leaves_it_out(tmp_path: Path, table: str) -> None:
    now = Ticking()
    await make(tmp_path, now)
    garble(tmp_path, table)
    async with opened(tmp_path, now) as store:
        assert tells(store, table)
        assert (await store.views.nodes("", 10)).nodes
    told = await rebuild(tmp_path, silent)
    assert told.told() == ([] if table == "latest" else [f"{table}: 1 rows could not be read"])
    async with opened(tmp_path, now) as store:
        assert store.trouble() is None
        detail = await store.views.device("lamp-001", None)
        assert detail is not None
        assert detail.latest["n"].value == 2


Ask = Callable[[Store], Awaitable[object]]
READ: dict[str, Ask] = {
    "rosters": lambda store: store.views.device("lamp-001", None),
    "rostered": lambda store: store.views.targets(TargetsAsked(devices=("lamp-001",)), 10),
    "gaps": lambda store: store.views.node("cab-1"),
    "alarms": lambda store: store.views.alarms(AlarmsAsked(limit=10)),
    "health": lambda store: store.views.nodes("", 10),
    "results": lambda store: store.views.results(["o1"]),
    "log": lambda store: store.views.readings(ReadingsAsked(device="lamp-001", from_us=0, to_us=2**60, limit=10)),
    "orders": lambda store: store.orders.one("o1"),
    "requests": lambda store: store.orders.answered(KEYED),
}


@pytest.mark.parametrize("table", READ)
async def test_what_cannot_be_answered_without_it_is_not_available_and_a_rebuild_mends_it(
    tmp_path: Path, table: str
) -> None:
    now = Ticking()
    await make(tmp_path, now)
    async with opened(tmp_path, now) as store:
        await READ[table](store)
        garble(tmp_path, table, "stream_no = 2" if table == "log" else "1")
        with pytest.raises(Unavailable):
            await READ[table](store)
        assert tells(store)
    told = await rebuild(tmp_path, silent)
    assert bool(told.told()) == (table not in schema.VIEW_NAMES)
    async with opened(tmp_path, now) as store:
        await READ[table](store)
        assert store.trouble() is None


async def test_in_a_transaction_it_is_the_store_that_is_wrong_and_not_the_request(tmp_path: Path) -> None:
    now = Ticking()
    await make(tmp_path, now)
    async with opened(tmp_path, now) as store:
        garble(tmp_path, "requests")
        with pytest.raises(Unavailable):
            await store.orders.take([command("o3")], KEYED, ANSWER, START_US, lambda: None)
        assert tells(store)
        await store.own_alarms.keep([alarm("other")], [], None)
        assert store.own_alarms.stood is not None


async def test_one_order_holds_up_no_other(tmp_path: Path) -> None:
    now = Ticking()
    await make(tmp_path, now)
    async with opened(tmp_path, now) as store:
        garble(tmp_path, "orders", "id = 'o1'")
        names = [("o1", False), ("o2", False)]
        assert [o.id for o in await store.orders.sending(names, START_US)] == ["o2"]
        assert tells(store, "orders")
        assert [o.id for o in await store.orders.sending([("o1", True), ("o2", True)], START_US)] == ["o2"]
        assert list(await store.orders.of_node("cab-1", ["o1", "o2"])) == ["o2"]
        now.tick(2 * 86_400)  # what was sent is given WORD_US beyond its expiry
        assert await store.orders.end_due(now()) == 1
        assert await store.orders.end_due(now()) == 0
        ended = await store.orders.one("o2")
        assert ended is not None
        assert ended.ended_us == now()
    assert (await rebuild(tmp_path, silent)).tables == {"orders": 1}
    async with opened(tmp_path, now) as store:
        assert [k.order.id for k in await store.orders.newest(None, 2**60, 10, open_=False)] == ["o2"]


async def test_orders_that_cannot_be_read_take_no_room_of_those_that_are_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = Ticking()
    monkeypatch.setattr("cloud.sqlite.orders.STEP", 2)
    async with opened(tmp_path, now) as store:
        drafts = [command(f"o{i}") for i in range(8)]
        await store.orders.take(drafts, KEYED, ANSWER, START_US, lambda: None)
        garble(tmp_path, "orders", "id < 'o5'")
        now.tick(86_400)
        assert [await store.orders.end_due(now()) for _ in range(3)] == [2, 1, 0]


async def test_own_alarms_follow_what_else_has_happened(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        await send(store.log, Sender().batch(Gap(reason="full", lost=3)))
        await send(store.log, Sender("cab-2").batch(Gap(reason="full", lost=4)))
        for epoch in (7, 8):  # of which the second does not name the first: notices
            await send(store.log, Sender("cab-3", epoch, after=None).batch(columns("c")))
        garble(tmp_path, "gaps", "node_no = 1")
        told = await notices(store)
        assert len(told) > 1
        garble(tmp_path, "log", f"position = {store.log.reach().head}")
        happened = await store.own_alarms.happened()
        assert [(x.node, x.readings) for x in happened.lost] == [("cab-1", 3), ("cab-2", 4)], "lost is lost"
        assert [f.node for f in happened.findings] == ["cab-3"] * (len(told) - 1)
        assert happened.through == store.log.reach().head
        assert tells(store, "log")
        assert "gaps" in str(store.readers.damage)


async def notices(store: Store) -> list[Notice]:
    return [msgspec.json.decode(r.body, type=Notice) for r in await store.log.read(0, 100) if r.notice]


async def test_a_node_whose_alarms_or_orders_cannot_be_read_is_taken(tmp_path: Path) -> None:
    now = Ticking()
    node = await make(tmp_path, now)
    async with opened(tmp_path, now) as store:
        await send(store.log, node.batch(alarm("b"), Result(order="o2", stage="accepted", time_us=1), lane=Lane.URGENT))
        garble(tmp_path, "alarms", "id = 'a'")
        garble(tmp_path, "orders", "id = 'o1'")
        garble(tmp_path, "fresh")
        assert (await send(store.log, Sender(epoch=9, after=None).batch(columns()))).position is not None
        assert tells(store, "alarms")
        lost = await store.orders.one("o2")
        assert lost is not None
        assert lost.stage == "failed"
        await store.views.fresh(Snapshot(node="cab-1", columns=[columns(n=1, at_us=START_US + SECOND)]))
    async with opened(tmp_path, now) as store:
        detail = await store.views.device("lamp-001", None)
        assert detail is not None
        assert store.trouble() is None, "what a snapshot brings anew is whole"


async def test_the_feed_goes_over_a_notice_and_a_rebuild_puts_another_in_its_place(tmp_path: Path) -> None:
    now = Ticking()
    await make(tmp_path, now)
    async with opened(tmp_path, now) as store:
        taken = next(r.position for r in await store.log.read(0, 100) if r.notice)
        garble(tmp_path, "log", f"position = {taken}")
        made = await Slices(store.log, NodesKnown(store.views), 1).get(taken, 0)
        assert made is not None
        assert made.next is None
    told = await rebuild(tmp_path, silent)
    assert told.positions == [(taken, taken)]
    async with opened(tmp_path, now) as store:
        assert [n.finding.kind for n in await notices(store) if n.finding is not None] == ["damaged"]
        assert store.log.reach().head > taken
    assert (await rebuild(tmp_path, silent)).told() == []


async def test_a_batch_in_the_log_is_replaced_by_a_gap_that_is_told(tmp_path: Path) -> None:
    now = Ticking()
    node = await make(tmp_path, now)
    async with opened(tmp_path, now) as store:
        lost = await send(store.log, node.batch(columns(at_us=START_US + 60 * SECOND)))
        await send(store.log, node.batch(columns(at_us=START_US + 90 * SECOND)))
        garble(tmp_path, "log", f"position = {lost.position}")
    told = await rebuild(tmp_path, silent)
    assert (told.positions, told.seqs) == ([(lost.position, lost.position)], {"cab-1": 3})
    async with opened(tmp_path, now) as store:
        page = await READ["log"](store)
        assert len(page.rows) == 6  # type: ignore[attr-defined]
        assert (await send(store.log, node.batch(columns(at_us=START_US + 120 * SECOND)))).position is not None
    assert (await rebuild(tmp_path, silent)).told() == []


async def test_compaction_that_meets_one_says_so_and_what_it_has_made_is_looked_through(tmp_path: Path) -> None:
    now = Ticking()
    node = await make(tmp_path, now)
    async with opened(tmp_path, now) as store:
        compaction = store.compaction(600 * SECOND, now, never, lambda _batches: None)
        now.tick(3_600)
        await send(store.log, node.batch(columns(at_us=now())))
        now.tick(3_600)
        await send(store.log, node.batch(columns("lamp-002", at_us=now())))
        while await compaction.step():
            pass
        await send(store.log, node.batch(columns("lamp-002", at_us=now())))
        now.tick(3_600)
        await send(store.log, node.batch(columns("lamp-002", at_us=now())))
        garble(tmp_path, "log", f"position = {store.log.reach().head - 1}")
        with pytest.raises(Unavailable):
            while await compaction.step():
                pass
        assert tells(store)
        garble(tmp_path, "chunks", "chunk_no = 1")
        with pytest.raises(Unavailable):
            await READ["log"](store)
        garble(tmp_path, "residue", "position = 1")
    told = await rebuild(tmp_path, silent)
    assert {"chunks": 1, "residue": 1}.items() <= told.tables.items()
    async with opened(tmp_path, now) as store:
        await READ["log"](store)
        assert store.trouble() is None
