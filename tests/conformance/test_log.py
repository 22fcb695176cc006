"""One suite for every log: a batch is taken whole and once, or nothing changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from cloud.log.contract import Log
from cloud.log.notices import Announcement, Finding, Notice
from cloud.log.outline import ALL_TYPES, AREA, NEWS, RANK_AT, UNKNOWN, Rank, bits
from cloud.memory.log import MemoryLog
from cloud.memory.views import MemoryViews
from cloud.store import opened as opened_store
from support.cloud_batches import START_US, Sender, Ticking, columns, opened, roster, send
from wire import codec
from wire.batch import ORIGIN, Lane
from wire.entries import Gap, Health


@pytest.fixture(params=["memory", "sqlite"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    now = Ticking()
    if request.param == "memory":
        yield MemoryLog(MemoryViews(now), now)
    else:
        async with opened_store(tmp_path, now) as store:
            yield store.log


async def test_takes_what_fits_and_stands_after_it(log: Log) -> None:
    sender = Sender()
    for n in (3, 1, 5):
        batch = sender.batch(columns(n=n))
        taken = await send(log, batch)
        assert taken.position is not None
        assert (taken.place.through_seq, taken.place.digest) == (batch.through_seq, batch.digest)
    assert await log.place("cab-1", 7, Lane.BULK) == taken.place
    assert taken.place.through_seq == 9


async def test_a_batch_sent_twice_is_held_once(log: Log) -> None:
    batch = Sender().batch(columns())
    first, second = await send(log, batch), await send(log, batch)
    assert first.place == second.place
    assert second.position is None
    assert len(await log.read(0, 10)) == 1


@pytest.mark.parametrize("change", ["first", "prev", "gap"])
async def test_what_does_not_fit_changes_nothing(log: Log, change: str) -> None:
    sender = Sender()
    await send(log, sender.batch(columns()))
    before = await log.place("cab-1", 7, Lane.BULK)
    batch = sender.batch(columns())
    if change == "first":
        batch = msgspec.structs.replace(batch, first_seq=batch.first_seq + 1, through_seq=batch.through_seq + 1)
    elif change == "prev":
        batch = msgspec.structs.replace(batch, prev=b"another digest!!")
    else:
        batch = sender.batch(columns())  # the one before it was never sent
    taken = await send(log, batch)
    assert taken.position is None
    assert taken.place == before == await log.place("cab-1", 7, Lane.BULK)
    assert log.reach().head == 1


async def test_an_unknown_epoch_stands_at_its_origin_and_begins_there(log: Log) -> None:
    sender = Sender()
    sender.batch(columns())
    taken = await send(log, sender.batch(columns()))
    assert (taken.position, taken.place.through_seq, taken.place.digest) == (None, 0, ORIGIN)
    place = await log.place("cab-1", 99, Lane.URGENT)
    assert (place.epoch, place.lane, place.through_seq, place.digest) == (99, Lane.URGENT, 0, ORIGIN)


async def test_nodes_epochs_and_lanes_stand_apart(log: Log) -> None:
    for node in ("cab-1", "cab-2"):
        for epoch in (7, 8):
            for lane in Lane:
                taken = await send(log, Sender(node, epoch).batch(columns(n=2), lane=lane))
                assert taken.position is not None
    assert log.reach().head >= 8


async def test_a_gap_takes_the_seqs_that_it_stands_for(log: Log) -> None:
    sender = Sender()
    taken = await send(log, sender.batch(columns(n=2), Gap(reason="full", lost=40, seqs=40)))
    assert taken.place.through_seq == 42
    assert (await send(log, sender.batch(columns(n=1)))).place.through_seq == 43


async def test_reads_bodies_as_they_came_in_order_and_within_bounds(log: Log) -> None:
    sender = Sender()
    bodies: list[bytes] = []
    for n in range(1, 8):
        batch, facts, body = opened(sender.batch(columns(n=n)))
        bodies.append(body)
        await log.append(batch, facts, body)
    records = await log.read(0, 100)
    assert [r.body for r in records] == bodies
    assert [r.position for r in records] == list(range(1, 8))
    assert [r.position for r in await log.read(3, 2)] == [4, 5]
    assert len(await log.read(0, 100, limit_bytes=1)) == 1
    assert len(await log.read(0, 100, limit_bytes=len(bodies[0]) + len(bodies[1]))) == 2
    assert await log.read(7, 10) == []
    assert log.reach().head == 7


async def test_many_nodes_at_once(log: Log) -> None:
    batches = [Sender(f"cab-{i}").batch(columns(f"lamp-{i}")) for i in range(60)]
    doubled = await asyncio.gather(*(send(log, b) for b in (*batches, *batches)))
    assert sorted(t.position for t in doubled if t.position is not None) == list(range(1, 61))


async def test_growth_wakes_who_waits(log: Log) -> None:
    waiting = asyncio.ensure_future(log.grown(0))
    await asyncio.sleep(0)
    assert not waiting.done()
    await send(log, Sender().batch(columns()))
    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(log.grown(0), 5)


async def _notices(log: Log) -> list[Notice]:
    return [msgspec.json.decode(r.body, type=Notice) for r in await log.read(0, 100) if r.notice]


async def test_an_epoch_that_ends_unfinished_is_told(log: Log) -> None:
    old = Sender(epoch=1)
    await send(log, old.batch(columns(n=3), ahead=10))
    await send(log, Sender(epoch=2).batch(columns(n=3, at_us=1_800_000_000_000_000)))
    (notice,) = await _notices(log)
    assert (notice.finding.kind, notice.finding.node) == ("unfinished", "cab-1")
    assert notice.finding.detail == {"epoch": 1, "lane": "bulk", "from_seq": 4, "to_seq_at_least": 13}
    assert notice.id == f"cab-1/cloud/{log.generation}/3"


LATER_US = 1_800_000_000_000_000


async def test_a_run_that_the_next_one_does_not_name_is_told_also_where_nothing_more_was_known(log: Log) -> None:
    old = Sender(epoch=1, after=None)
    await send(log, old.batch(columns(n=3)))
    await send(log, Sender(epoch=2, after=None).batch(columns(n=3, at_us=LATER_US)))
    (notice,) = await _notices(log)
    assert notice.finding.kind == "unfinished"
    assert notice.finding.detail == {"epoch": 1, "lane": "bulk", "from_seq": 4, "to_seq_at_least": 3}


async def test_a_new_card_is_told_in_both_lanes_with_the_first_word_that_it_says(log: Log) -> None:
    old = Sender(epoch=1, after=None)
    await send(log, old.batch(columns(n=3)))
    await send(log, old.batch(Health(time_us=1, verdict="ok"), lane=Lane.URGENT))
    new = Sender(epoch=2, after=None)
    await send(log, new.batch(Health(time_us=1, verdict="ok"), lane=Lane.URGENT))
    assert {n.finding.detail["lane"] for n in await _notices(log)} == {"bulk", "urgent"}
    await send(log, new.batch(columns(n=3, at_us=LATER_US)))
    assert len(await _notices(log)) == 2, "once"


async def test_a_new_card_is_told_also_when_the_clock_was_set_back(tmp_path: Path) -> None:
    now = Ticking()
    async with opened_store(tmp_path, now) as store:
        await send(store.log, Sender(epoch=1, after=None).batch(columns(n=3)))
        now.tick(-7200)
        await send(store.log, Sender(epoch=2, after=None).batch(columns(n=3, at_us=LATER_US)))
        (notice,) = await _notices(store.log)
        assert (notice.finding.kind, notice.finding.detail["epoch"]) == ("unfinished", 1)
        detail = await store.views.node("cab-1")
        assert detail is not None
        assert [p.state for p in detail.ledger.lanes] == ["unfinished", "current"]


async def test_a_run_that_the_next_one_names_at_its_end_is_no_news(log: Log) -> None:
    old = Sender(epoch=1, after=None)
    await send(log, old.batch(columns(n=3)))
    await send(log, Sender(epoch=2, after=old).batch(columns(n=3, at_us=LATER_US)))
    assert await _notices(log) == []


async def test_a_run_that_ended_before_nodes_could_say_so_is_no_news(log: Log) -> None:
    for epoch in (1, 2, 3):
        await send(log, Sender(epoch=epoch).batch(columns(n=3, at_us=LATER_US + epoch * 10**9)))
    assert await _notices(log) == []


async def test_a_place_names_what_was_told_of(log: Log) -> None:
    await send(log, Sender().batch(columns(n=3), ahead=40))
    assert (await log.place("cab-1", 7, Lane.BULK)).head_seq == 43
    assert (await log.place("cab-1", 7, Lane.URGENT)).head_seq == 0


async def test_an_epoch_that_goes_back_in_time_is_told_as_a_fork(log: Log) -> None:
    await send(log, Sender(epoch=1).batch(columns(n=10)))
    await send(log, Sender(epoch=2).batch(columns(n=10)))
    (notice,) = await _notices(log)
    assert notice.finding.kind == "fork"
    assert notice.finding.detail["into_epoch"] == 2


async def test_a_fork_that_shows_only_later_is_told_then_and_once(log: Log) -> None:
    await send(log, Sender(epoch=1).batch(columns(n=10)))
    new = Sender(epoch=2)
    await send(log, new.batch(Health(time_us=1, verdict="ok"), lane=Lane.BULK))
    await send(log, new.batch(columns(n=2, at_us=1_800_000_000_000_000)))
    assert await _notices(log) == []
    await send(log, new.batch(columns(n=10)))
    await send(log, new.batch(columns(n=10)))
    (notice,) = await _notices(log)
    assert (notice.finding.kind, notice.finding.detail["epoch"], notice.finding.detail["into_epoch"]) == ("fork", 1, 2)


async def test_a_run_that_measured_nothing_hides_no_fork(log: Log) -> None:
    await send(log, Sender(epoch=1).batch(columns(n=10)))
    await send(log, Sender(epoch=2).batch(Gap(reason="full", lost=3, seqs=3)))
    await send(log, Sender(epoch=3).batch(columns(n=10)))
    (notice,) = await _notices(log)
    assert (notice.finding.kind, notice.finding.detail["epoch"], notice.finding.detail["into_epoch"]) == ("fork", 1, 3)


async def test_a_fork_that_the_older_epoch_brings_is_told(log: Log) -> None:
    old = Sender(epoch=1)
    await send(log, old.batch(columns(n=2)))
    await send(log, Sender(epoch=2).batch(columns(n=2, at_us=1_800_000_000_000_000)))
    assert await _notices(log) == []
    await send(log, old.batch(columns(n=2, at_us=1_800_000_000_000_000)))
    (notice,) = await _notices(log)
    assert (notice.finding.kind, notice.finding.detail["into_epoch"]) == ("fork", 2)


async def test_a_second_claim_to_a_device_is_told_once(log: Log) -> None:
    first, second = Sender("cab-1"), Sender("cab-2")
    await send(log, first.batch(roster("lamp-001"), lane=Lane.URGENT))
    await send(log, second.batch(columns("lamp-001")))
    await send(log, second.batch(columns("lamp-001")))
    (notice,) = await _notices(log)
    assert notice.finding.kind == "conflict"
    assert notice.finding.detail == {"device": "lamp-001", "nodes": ["cab-1", "cab-2"]}


async def test_the_answer_is_the_same_for_what_the_codec_gives_back(log: Log) -> None:
    batch = Sender().batch(columns())
    _, _, body = opened(batch)
    await send(log, batch)
    (record,) = await log.read(0, 1)
    assert codec.decode_batch(record.body).digest == batch.digest
    assert record.body == body


async def test_single_records_are_picked_in_order_and_within_bounds(log: Log) -> None:
    sender = Sender()
    for n in range(1, 6):
        await send(log, sender.batch(columns(n=n)))
    records = await log.read(0, 10)
    assert list(await log.pick([4, 2, 9, 2, 0])) == [records[1], records[3]]
    assert list(await log.pick([3, 5], limit_bytes=1)) == [records[2]]
    assert list(await log.pick([9])) == list(await log.pick([])) == []


async def test_outlines_stand_at_their_positions(log: Log) -> None:
    sender = Sender()
    await send(log, sender.batch(columns(), roster("lamp-001")))
    await log.note([Finding(node="cab-9", kind="silent", time_us=1, detail={})])
    await log.note([Announcement(node="", type="area", time_us=1, data={})])
    await send(log, sender.batch(columns(at_us=START_US - 10**10)))
    head = log.reach().head
    outlines = await log.outlines(0, head)
    assert len(outlines) == head
    found = [(o.node, o.holds & ALL_TYPES, o.holds >> RANK_AT) for o in outlines if o.node or o.holds & AREA]
    assert found == [
        ("cab-1", bits("reading", "roster"), Rank.LIVE),
        ("cab-9", bits("ledger"), Rank.URGENT),
        ("", bits("area"), Rank.URGENT),
        ("cab-1", bits("reading"), Rank.LATE),
    ]
    assert outlines[0].holds & NEWS
    assert list(await log.outlines(1, head)) == list(outlines[1:])
    assert list(await log.outlines(head, head + 2)) == [UNKNOWN, UNKNOWN]
    assert list(await log.outlines(3, 3)) == []
