from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from drivers.contract import Receipt
from drivers.errors import NotStored
from edge.outbox import group_commit
from edge.outbox.contract import NOTHING
from edge.outbox.group_commit import GroupCommit
from edge.outbox.memory import MemoryOutbox
from edge.outbox.sqlite import SqliteOutbox
from wire.batch import Lane
from wire.entries import ClockFix, Entry, Gap, Health
from wire.sample import Clock, Sample

CLOCK = Clock(1, synced=True)
FIX = ClockFix(boot=1, offset_us=2, error_us=3)


class Card(MemoryOutbox):
    """A card that can refuse, and remembers what it was given."""

    def __init__(self) -> None:
        super().__init__(node="n")
        self.full = False
        self.given: list[tuple[list[Entry], list[Entry], list[Receipt]]] = []

    async def append(
        self,
        lanes: Mapping[Lane, Sequence[Entry]],
        receipts: Sequence[Receipt] = (),
        kept: Mapping[str, bytes | None] = NOTHING,
    ) -> None:
        if self.full:
            raise NotStored("no space left on device")
        await super().append({}, (), kept)
        self.given.append((list(lanes.get(Lane.URGENT, [])), list(lanes.get(Lane.BULK, [])), list(receipts)))


@pytest.fixture
def card() -> Card:
    return Card()


@pytest.fixture
def told() -> list[tuple[bool, bool]]:
    return []


@pytest.fixture
async def commit(card: Card, told: list[tuple[bool, bool]]) -> GroupCommit:
    return GroupCommit(card, interval_s=5, committed=lambda urgent, live: told.append((urgent, live)))


def samples(n: int, device: str = "d") -> list[Sample]:
    return [Sample(device, i, CLOCK, {"a": i}) for i in range(n)]


async def test_samples_wait_in_their_order_behind_one_future(commit: GroupCommit, card: Card) -> None:
    first = commit.add(samples(2), None, live=False)
    assert commit.add(samples(1, "e"), Receipt("m", b"1"), live=False) is first
    commit.add(samples(1), None, live=False)
    assert not first.done()
    await commit.flush()
    assert first.done()
    (_, bulk, receipts), = card.given  # fmt: skip
    assert [s.device for s in bulk if isinstance(s, Sample)] == ["d", "d", "e", "d"]
    assert receipts == [Receipt("m", b"1")]


async def test_urgent_entries_take_what_waits_along(commit: GroupCommit, card: Card, told: list[object]) -> None:
    commit.add(samples(1), None, live=True)
    commit.put(FIX)
    await commit.flush()
    assert card.given[0][0] == [FIX]
    assert len(card.given[0][1]) == 1
    assert told == [(True, True)]


async def test_state_goes_with_its_entry_and_waits_with_it_for_the_card(commit: GroupCommit, card: Card) -> None:
    card.full = True
    first = asyncio.ensure_future(commit.insist(FIX, kept={"slot/a": b"1", "slot/b": b"1"}))
    await commit.flush()
    await asyncio.sleep(0)
    assert not first.done(), "it is not durable"
    second = asyncio.ensure_future(commit.insist(kept={"slot/a": b"2", "slot/b": None}))
    await asyncio.sleep(0)
    await commit.flush()
    card.full = False
    await commit.flush()
    await asyncio.wait_for(asyncio.gather(first, second), 1)
    assert await card.kept("slot/") == {"slot/a": b"2"}, "what was said later goes last"
    assert [urgent for urgent, _, _ in card.given] == [[FIX]]


async def test_state_alone_does_not_hurry(commit: GroupCommit, card: Card) -> None:
    running = asyncio.ensure_future(commit.run())
    commit.put(kept={"slot/a": b"1"})
    for _ in range(5):
        await asyncio.sleep(0)
    assert await card.kept("") == {}
    commit.put(FIX)
    await commit.insist()
    assert await card.kept("") == {"slot/a": b"1"}
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_nothing_is_written_when_nothing_waits(commit: GroupCommit, card: Card) -> None:
    await commit.flush()
    assert card.given == []


async def test_a_refusing_card_leaves_samples_with_their_sender_and_tells_of_the_others(
    commit: GroupCommit, card: Card
) -> None:
    card.full = True
    brought = commit.add(samples(2, "bin"), Receipt("m", b"1"), live=False)
    commit.add([Sample("lamp", t, CLOCK, {"a": 1}) for t in (30, 10)], None, live=False)
    commit.put(FIX)
    await commit.flush()
    with pytest.raises(NotStored, match="no space"):
        await brought
    assert commit.refused
    commit.add([Sample("meter", 50, CLOCK, {"a": 1})], None, live=False)
    await commit.flush()
    card.full = False
    await commit.flush()
    (urgent, bulk, receipts), = card.given  # fmt: skip
    assert urgent == [FIX], "alarms wait for the card"
    assert bulk == [Gap(reason="the card took nothing", lost=3, from_us=10, to_us=50, devices=("lamp", "meter"))], (
        "one gap for all, and nothing of the bin, which will come again"
    )
    assert receipts == []
    assert commit.refused is None


async def test_more_than_it_may_hold_is_turned_away(
    commit: GroupCommit, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_READINGS", 3)
    commit.add(samples(3), None, live=False)
    refused = commit.add(samples(1), Receipt("m", b"1"), live=False)
    with pytest.raises(NotStored):
        await refused
    commit.add(samples(1, "lost"), None, live=False)
    await commit.flush()
    _, bulk, receipts = card.given[0]
    assert isinstance(bulk[0], Gap)
    assert (bulk[0].lost, bulk[0].devices) == (1, ("lost",))
    assert receipts == []


async def test_stopping_writes_what_waits(commit: GroupCommit, card: Card) -> None:
    running = asyncio.ensure_future(commit.run())
    await asyncio.sleep(0)
    waiting = commit.add(samples(1), None, live=False)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert waiting.done()
    assert len(card.given) == 1


async def test_enough_readings_do_not_wait_for_the_interval(
    commit: GroupCommit, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "FULL_READINGS", 4)
    running = asyncio.ensure_future(commit.run())
    commit.add(samples(3), None, live=False)
    await asyncio.sleep(0)
    assert card.given == []
    await commit.add(samples(1), None, live=False)
    assert len(card.given) == 1
    await commit.put(FIX)
    assert len(card.given) == 2
    running.cancel()


async def test_what_is_turned_away_while_a_gap_is_written_is_told_by_the_next(
    commit: GroupCommit, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_READINGS", 1)
    card.full = True
    commit.add(samples(1, "first"), None, live=False)
    await commit.flush()
    card.full = False
    append = card.append

    async def slow(*args: Any) -> None:
        commit.add(samples(2, "second"), None, live=False)
        await append(*args)

    monkeypatch.setattr(card, "append", slow)
    await commit.flush()
    monkeypatch.setattr(card, "append", append)
    await commit.flush()
    gaps = [e for _, bulk, _ in card.given for e in bulk if isinstance(e, Gap)]
    assert [(g.lost, g.devices) for g in gaps] == [(1, ("first",)), (2, ("second",))]


async def test_health_does_not_push_alarms_out_while_the_card_refuses(commit: GroupCommit, card: Card) -> None:
    card.full = True
    commit.put(FIX)
    for n in range(group_commit.MAX_URGENT + 1):
        commit.put(Health(time_us=n, verdict="failed"))
        await commit.flush()
    card.full = False
    await commit.flush()
    assert card.given[0][0] == [FIX]


async def test_a_receipt_whose_source_will_not_bring_it_again_is_counted(commit: GroupCommit, card: Card) -> None:
    card.full = True
    commit.add(samples(1, "tag"), Receipt("air", b"1", redelivered=False), live=False)
    commit.add(samples(1, "bin"), Receipt("mqtt", b"1", redelivered=True), live=False)
    await commit.flush()
    assert commit.lost_samples == 1


async def test_what_cannot_be_written_is_left_out_and_counted_and_the_rest_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[bool, bool]] = []
    async with SqliteOutbox(tmp_path, node="n", limit_bytes=64 << 20) as outbox:
        commit = GroupCommit(outbox, interval_s=5, committed=lambda u, b: told.append((u, b)))
        commit.add([Sample("bad", 2**70, CLOCK, {"a": 1})], Receipt("m", b"1"), live=False)
        done = commit.add(samples(2), None, live=False)
        await commit.flush()
        await done
        assert (await outbox.depth()).pending[Lane.BULK] == 2
        assert commit.lost_samples == 1
    assert "cannot be written" in caplog.text


async def test_many_publishes_do_not_wait_for_the_interval(
    commit: GroupCommit, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "FULL_RECEIPTS", 3)
    running = asyncio.ensure_future(commit.run())
    for key in (b"1", b"2"):
        commit.add(samples(1), Receipt("m", key), live=False)
    await asyncio.sleep(0)
    assert card.given == []
    await commit.add(samples(1), Receipt("m", b"3"), live=False)
    assert len(card.given) == 1
    running.cancel()


async def test_a_commit_under_way_is_told_to_its_end_when_the_node_stops(card: Card) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    append = card.append

    async def slow(*args: Any) -> None:
        begun.set()
        await go_on.wait()
        await append(*args)

    card.append = slow  # type: ignore[method-assign]
    commit = GroupCommit(card, interval_s=5, committed=lambda _u, _l: None)
    running = asyncio.ensure_future(commit.run())
    first = commit.put(FIX)
    await begun.wait()
    running.cancel()
    second = commit.add(samples(1), None, live=False)
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert first.done()
    assert second.done()
    assert len(card.given) == 2
