"""One suite for every outbox: what it accepts is cut in order, exactly once, whatever the cloud answers."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drivers.contract import Keeps, Receipt
from edge.outbox.contract import Cut, Outbox, PositionQuery
from edge.outbox.memory import MemoryOutbox
from edge.outbox.sqlite import SqliteOutbox
from wire.batch import ORIGIN, Ack, Lane
from wire.columns import Columns
from wire.entries import ClockFix, Gap
from wire.sample import Clock, Sample

CLOCK = Clock(1, synced=True)
BIG = 1 << 20


def columns(n: int, at: int = 0, device: str = "lamp-001") -> Columns:
    return Columns.of([Sample(device, at + i, CLOCK, {"n": at + i}) for i in range(n)])


def ack(epoch: int, through: int, digest: bytes, *, generation: int = 1, lane: Lane = Lane.BULK) -> Ack:
    return Ack(
        generation=generation, epoch=epoch, lane=lane, through_seq=through, digest=digest, accepts=(1,), server_us=0
    )


@pytest.fixture(params=["memory", "sqlite"])
async def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Outbox]:
    epochs = itertools.count(100)
    if request.param == "memory":
        yield MemoryOutbox(node="cab-1", epoch=lambda: next(epochs))
    else:
        async with SqliteOutbox(
            tmp_path, node="cab-1", limit_bytes=16 << 20, epoch=lambda: next(epochs), now_us=lambda: 0
        ) as found:
            yield found


async def placed_at_zero(outbox: Outbox, lane: Lane = Lane.BULK) -> int:
    """Answer the first question: the cloud knows nothing. The epoch."""
    place = await outbox.cut(lane, BIG)
    assert isinstance(place, PositionQuery)
    await outbox.confirm(ack(place.epoch, 0, ORIGIN, lane=lane))
    return place.epoch


async def cut(outbox: Outbox, limit: int = BIG) -> Cut:
    found = await outbox.cut(Lane.BULK, limit)
    assert isinstance(found, Cut)
    return found


def numbers(found: Cut) -> list[object]:
    """Values in the order of their places."""
    at: dict[int, object] = {}
    for item in found.batch.entries:
        if isinstance(item.entry, Columns):
            at.update(zip(item.places, (s.values["n"] for s in item.entry.samples()), strict=True))
        else:
            at[item.places[0]] = type(item.entry).__name__
    return [at[place] for place in sorted(at)]


async def test_it_asks_for_its_place_first_then_has_nothing(outbox: Outbox) -> None:
    await placed_at_zero(outbox)
    assert await outbox.cut(Lane.BULK, BIG) is None


async def test_rows_are_joined_and_keep_their_order(outbox: Outbox) -> None:
    await placed_at_zero(outbox)
    await outbox.append({Lane.BULK: [columns(2), columns(1, 10, "bin-1")]})
    await outbox.append({Lane.BULK: [columns(3, 2), columns(1, 11, "bin-1"), Gap(reason="x", lost=1)]})
    found = await cut(outbox)
    assert found.rows == 2
    assert (found.batch.first_seq, found.batch.through_seq, found.batch.head_seq) == (1, 8, 8)
    assert found.batch.prev == ORIGIN
    assert numbers(found) == [10, 0, 1, "Gap", 11, 2, 3, 4]
    assert sum(isinstance(p.entry, Columns) for p in found.batch.entries) == 2, "one run a device"


async def test_a_batch_ends_where_a_row_ends_and_has_at_least_one(outbox: Outbox) -> None:
    await placed_at_zero(outbox)
    for at in range(5):
        await outbox.append({Lane.BULK: [columns(2, 2 * at)]})
    found = await cut(outbox, 1)
    assert (found.rows, found.batch.through_seq) == (1, 2)


async def test_an_ack_moves_on_and_the_same_ack_changes_nothing(outbox: Outbox) -> None:
    epoch = await placed_at_zero(outbox)
    await outbox.append({Lane.BULK: [columns(2)]})
    first = await cut(outbox)
    await outbox.append({Lane.BULK: [columns(1, 2)]})
    for _ in range(2):
        assert not await outbox.confirm(ack(epoch, 2, first.batch.digest))
        second = await cut(outbox)
        assert (second.batch.first_seq, second.batch.prev) == (3, first.batch.digest)
        assert numbers(second) == [2]


async def test_it_goes_back_where_the_cloud_went_back(outbox: Outbox) -> None:
    epoch = await placed_at_zero(outbox)
    await outbox.append({Lane.BULK: [columns(2)]})
    first = await cut(outbox)
    await outbox.append({Lane.BULK: [columns(1, 2)]})
    await outbox.confirm(ack(epoch, 2, first.batch.digest))
    second = await cut(outbox)
    await outbox.confirm(ack(epoch, 3, second.batch.digest))
    assert await outbox.cut(Lane.BULK, BIG) is None
    await outbox.confirm(ack(epoch, 2, first.batch.digest, generation=2))
    assert await outbox.cut(Lane.BULK, BIG) == PositionQuery(epoch, Lane.BULK), "asked again before it is believed"
    await outbox.confirm(ack(epoch, 2, first.batch.digest, generation=2))
    again = await cut(outbox)
    assert numbers(again) == [2]


async def test_an_answer_from_before_a_restore_is_ignored_and_after_it_every_place_is_asked(outbox: Outbox) -> None:
    epoch = await placed_at_zero(outbox)
    await outbox.append({Lane.BULK: [columns(1)]})
    found = await cut(outbox)
    for _ in range(2):
        await outbox.confirm(ack(epoch, 1, found.batch.digest, generation=5))
    await outbox.confirm(ack(epoch, 0, ORIGIN, generation=4))
    assert await outbox.cut(Lane.BULK, BIG) is None
    for _ in range(2):
        await outbox.confirm(ack(epoch, 0, ORIGIN, generation=6, lane=Lane.URGENT))
    assert await outbox.cut(Lane.BULK, BIG) == PositionQuery(epoch, Lane.BULK)


@pytest.mark.parametrize("forged", [2**62, 3])
async def test_one_answer_with_a_greater_generation_makes_it_deaf_to_nobody(outbox: Outbox, forged: int) -> None:
    epoch = await placed_at_zero(outbox)
    await outbox.append({Lane.BULK: [columns(1)]})
    found = await cut(outbox)
    for _ in range(2):
        await outbox.confirm(ack(epoch, 1, found.batch.digest, generation=2))
    await outbox.confirm(ack(epoch, 0, ORIGIN, generation=forged))
    assert outbox.generations.known == 2
    await outbox.append({Lane.BULK: [columns(1, 1)]})
    if forged == 3:  # it could be true, and is asked again
        assert await outbox.cut(Lane.BULK, BIG) == PositionQuery(epoch, Lane.BULK)
        await outbox.confirm(ack(epoch, 1, found.batch.digest, generation=2))
    assert numbers(await cut(outbox)) == [1]


async def test_where_the_first_answer_was_forged_the_places_are_asked_for_again(outbox: Outbox) -> None:
    place = await outbox.cut(Lane.BULK, BIG)
    assert isinstance(place, PositionQuery)
    await outbox.confirm(ack(place.epoch, 0, ORIGIN, generation=9))
    assert await outbox.cut(Lane.BULK, BIG) is None
    urgent = ack(place.epoch, 0, ORIGIN, generation=2, lane=Lane.URGENT)
    await outbox.confirm(urgent)
    assert await outbox.cut(Lane.BULK, BIG) == place
    await outbox.confirm(urgent)
    assert outbox.generations.known == 2


@pytest.mark.parametrize(("through", "digest"), [(1, bytes(15) + b"x"), (9, bytes(15) + b"x")])
async def test_a_place_that_is_not_its_past_begins_a_new_epoch(outbox: Outbox, through: int, digest: bytes) -> None:
    epoch = await placed_at_zero(outbox)
    await outbox.append({Lane.BULK: [columns(1)]})
    await outbox.append({Lane.BULK: [columns(2, 1)]})
    assert await outbox.confirm(ack(epoch, through, digest))
    found = await cut(outbox)
    assert found.batch.epoch != epoch
    assert (found.batch.first_seq, found.batch.prev) == (1, ORIGIN)
    assert numbers(found) == [0, 1, 2]
    await outbox.append({Lane.BULK: [columns(1, 3)]})
    assert numbers(await cut(outbox)) == [0, 1, 2, 3]


async def test_lanes_do_not_wait_for_each_other(outbox: Outbox) -> None:
    await placed_at_zero(outbox, Lane.URGENT)
    await outbox.append({Lane.BULK: [columns(1)], Lane.URGENT: [ClockFix(boot=1, offset_us=2, error_us=3)]})
    found = await outbox.cut(Lane.URGENT, BIG)
    assert isinstance(found, Cut)
    assert [p.entry for p in found.batch.entries] == [ClockFix(boot=1, offset_us=2, error_us=3)]
    assert isinstance(await outbox.cut(Lane.BULK, BIG), PositionQuery)
    assert (await outbox.depth()).pending == {Lane.URGENT: 1, Lane.BULK: 1}


async def test_what_cannot_be_read_is_set_aside_and_a_gap_says_so(outbox: Outbox) -> None:
    epoch = await placed_at_zero(outbox)
    await outbox.append({Lane.BULK: [columns(2)]})
    await outbox.append({Lane.BULK: [columns(1, 2)]})
    one = await cut(outbox, 1)
    await outbox.quarantine(one.batch, "unreadable")
    instead = await cut(outbox, 1)
    (placed,) = instead.batch.entries
    assert isinstance(placed.entry, Gap)
    assert (placed.entry.seqs, placed.entry.lost, list(placed.places)) == (2, 2, [0, 1])
    assert (instead.batch.through_seq, instead.batch.digest) == (2, one.batch.digest)
    await outbox.confirm(ack(epoch, 2, instead.batch.digest))
    assert numbers(await cut(outbox)) == [2]
    assert (await outbox.depth()).quarantined == 1


async def test_receipts_are_known_again_oldest_first(outbox: Outbox) -> None:
    await outbox.append({Lane.BULK: [columns(1)]}, [Receipt("mqtt", b"1"), Receipt("other", b"x")])
    await outbox.append({}, [Receipt("mqtt", b"2")])
    assert await outbox.recent("mqtt") == [b"1", b"2"]
    assert await outbox.recent("nobody") == []


async def test_depth_tells_how_much_waits_and_how_old(outbox: Outbox) -> None:
    epoch = await placed_at_zero(outbox)
    await outbox.append({Lane.BULK: [columns(3, 50)]})
    depth = await outbox.depth()
    assert (depth.pending[Lane.BULK], depth.oldest_us) == (3, 50)
    assert 0 < depth.used_bytes < depth.limit_bytes
    found = await cut(outbox)
    await outbox.confirm(ack(epoch, 3, found.batch.digest))
    depth = await outbox.depth()
    assert (depth.pending[Lane.BULK], depth.oldest_us) == (0, None)


async def test_what_the_city_has_stays_as_history(outbox: Outbox) -> None:
    epoch = await placed_at_zero(outbox)
    for at in range(0, 300, 3):
        await outbox.append({Lane.BULK: [columns(2, at), columns(1, at, "bin-1")]})
    found = await cut(outbox)
    await outbox.confirm(ack(epoch, found.batch.through_seq, found.batch.digest))
    times = [t async for c in outbox.history(30, 60, "lamp-001") for t in c.times]
    assert times == sorted(times)
    assert {30, 31, 60} <= set(times)
    assert not set(times) & {26, 70}


async def test_what_is_kept_by_key_changes_with_its_entries(outbox: Outbox) -> None:
    await outbox.append({Lane.URGENT: [ClockFix(boot=1, offset_us=2, error_us=3)]}, (), {"a/1": b"x", "a/2": b"y"})
    await outbox.append({}, (), {"a/1": b"z", "b/1": b"", "a/2": None, "a/3": None})
    assert await outbox.kept("a/") == {"a/1": b"z"}
    assert await outbox.kept("b/") == {"b/1": b""}
    assert await outbox.kept("") == {"a/1": b"z", "b/1": b""}
    assert await outbox.kept("%") == {}


async def test_what_a_driver_must_know_again_is_kept(outbox: Outbox) -> None:
    assert isinstance(outbox, Keeps)
    await outbox.keep({"mqtt/a": b"1", "mqtt/b": b"2"})
    await outbox.keep({"mqtt/a": b"3", "mqtt/b": None})
    assert await outbox.kept("mqtt/") == {"mqtt/a": b"3"}


async def test_what_was_set_aside_can_be_sent_again_and_is_there_once(outbox: Outbox) -> None:
    epoch = await placed_at_zero(outbox)
    for at in range(3):
        await outbox.append({Lane.BULK: [columns(2, 2 * at)]})
    for _ in range(2):
        one = await cut(outbox, 1)
        assert await outbox.quarantine(one.batch, "no")
        await outbox.confirm(ack(epoch, one.batch.through_seq, one.batch.digest))
    aside = await outbox.set_aside()
    assert [(a.lane, a.through_seq, a.sendable, "no" in a.reason) for a in aside] == [
        (Lane.BULK, 2, True, True),
        (Lane.BULK, 4, True, True),
    ]
    assert await outbox.send_again([aside[1].id]) == (1, 0)
    assert await outbox.send_again([aside[1].id]) == (0, 0), "it is there no more"
    assert [a.id for a in await outbox.set_aside()] == [aside[0].id]
    assert await outbox.send_again() == (1, 0)
    assert (await outbox.depth()).quarantined == 0
    found = await cut(outbox)
    assert numbers(found) == [4, 5, 2, 3, 0, 1]
    assert (found.batch.first_seq, found.batch.through_seq) == (5, 10)
