"""What goes when the card is full or old, and what never does."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from edge.outbox.contract import Cut, PositionQuery
from edge.outbox.database import MIN_LIMIT_BYTES
from support.cloud import SmallCloud
from support.outbox import box, columns, drain
from wire.batch import Lane
from wire.entries import Alarm, Gap, Health

DAY_US = 86_400_000_000


async def test_history_is_dropped_by_age_and_only_what_the_city_has(tmp_path: Path) -> None:
    now, cloud = [0], SmallCloud()
    async with box(tmp_path, now_us=lambda: now[0], history_us=7 * DAY_US) as outbox:
        for day in range(20):
            now[0] = day * DAY_US
            await outbox.append({Lane.BULK: [columns(range(1), at_us=now[0])]})
            if day < 15:
                await drain(outbox, cloud)
        held = [t async for c in outbox.history(0, 100 * DAY_US) for t in c.times]
        assert held == [d * DAY_US for d in range(12, 20)]
        now[0] = 60 * DAY_US
        await outbox.append({Lane.BULK: [columns(range(1), at_us=now[0])]})
        held = [t async for c in outbox.history(0, 100 * DAY_US) for t in c.times]
        assert held == [*(d * DAY_US for d in range(15, 20)), now[0]], "what is not acked does not age"
        await drain(outbox, cloud)
    assert len(cloud.numbers()) == 21


@pytest.mark.slow
async def test_at_its_cap_the_oldest_unsent_bulk_becomes_one_gap_and_alarms_stay(tmp_path: Path) -> None:
    cloud, total = SmallCloud(), 900
    async with box(tmp_path, limit_bytes=MIN_LIMIT_BYTES + (1 << 20)) as outbox:
        await drain(outbox, cloud)  # the cloud has told its place: nothing of what follows can be there
        for n in range(total):
            await outbox.append({Lane.BULK: [columns(range(n, n + 1), wide=3000)]})
            if n % 50 == 0:
                alarm = Alarm(id=f"a{n}", device="d", rule="r", severity="high", state="raised", raised_us=n, time_us=n)
                await outbox.append({Lane.URGENT: [alarm]})
                files = sum(f.stat().st_size for f in tmp_path.iterdir() if f.name.startswith("outbox.db"))
                assert files <= MIN_LIMIT_BYTES + (1 << 20), "the cap counts the write-ahead log"
        assert outbox.room.pruned_rows > 0
        await drain(outbox, cloud)
        await drain(outbox, cloud, lane=Lane.URGENT)
    numbers = [n for _, n in cloud.numbers()]
    gaps = [p.entry for _, p in cloud.entries() if isinstance(p.entry, Gap)]
    assert numbers == list(range(numbers[0], total)), "the newest, without a hole"
    assert sum(g.lost for g in gaps) == numbers[0] > 0
    assert all(g.devices == ("lamp",) for g in gaps)
    assert len(gaps) < 10
    assert len(cloud.entries(Lane.URGENT)) == total // 50


async def test_it_is_full_when_the_oldest_go_and_not_of_history(tmp_path: Path) -> None:
    cloud = SmallCloud()
    async with box(tmp_path, limit_bytes=MIN_LIMIT_BYTES) as outbox:
        await drain(outbox, cloud)
        seen: list[float] = []
        while not outbox.room.pruned_rows:
            n = 4 * len(seen)
            await outbox.append({Lane.BULK: [columns(range(n, n + 4), wide=3_000)]})
            seen.append((await outbox.depth()).full)
        assert seen[0] < 0.1
        assert max(seen) > 0.9, "it was told in time"
        assert all(later >= earlier - 0.01 for earlier, later in pairwise(seen[:-1]))
        await drain(outbox, cloud)
        assert (await outbox.depth()).full == 0, "what the city has goes before anything is lost"
        await outbox.append({Lane.BULK: [columns(range(1), wide=100)]})
        assert (await outbox.depth()).full < 0.1


@pytest.mark.slow
async def test_a_row_that_was_sent_keeps_its_end(tmp_path: Path) -> None:
    """The cloud may have taken a batch whose ack never came: its place must still be found."""
    cloud = SmallCloud()
    async with box(tmp_path, limit_bytes=MIN_LIMIT_BYTES + (1 << 20)) as outbox:
        place = await outbox.cut(Lane.BULK, 1)
        assert isinstance(place, PositionQuery)
        await outbox.confirm(cloud.ack(place.epoch, Lane.BULK))
        await outbox.append({Lane.BULK: [columns(range(1), wide=3000)]})
        sent = await outbox.cut(Lane.BULK, 1)
        assert isinstance(sent, Cut)
        lost_ack = cloud.take(sent.batch)
        for n in range(1, 900):
            await outbox.append({Lane.BULK: [columns(range(n, n + 1), wide=3000)]})
        assert outbox.room.pruned_rows > 0
        assert not await outbox.confirm(lost_ack), "no fork"
        await drain(outbox, cloud)
    numbers = [n for _, n in cloud.numbers()]
    assert numbers[0] == 0
    assert len(numbers) == len(set(numbers))


async def test_room_for_pruning_is_held_back(tmp_path: Path) -> None:
    async with box(tmp_path):
        assert (tmp_path / "reserve.bin").stat().st_blocks > 0


@pytest.mark.slow
async def test_new_alarms_are_not_refused_because_of_old_health(tmp_path: Path) -> None:
    """Alone for so long that Health entries alone would fill the smallest card."""
    alarm = Alarm(id="a", device="d", rule="r", severity="high", state="raised", raised_us=1, time_us=1)
    cloud = SmallCloud()
    async with box(tmp_path, limit_bytes=MIN_LIMIT_BYTES) as outbox:
        for n in range(1200):
            counters = {f"c{i}": (i * n * 7919) % 10**9 for i in range(300)}
            await outbox.append({Lane.URGENT: [Health(time_us=n, verdict="degraded", counters=counters)]})
            if n % 150 == 0:
                await outbox.append({Lane.URGENT: [alarm]})
        await drain(outbox, cloud, lane=Lane.URGENT)
    entries = [p.entry for _, p in cloud.entries(Lane.URGENT)]
    assert sum(isinstance(e, Alarm) for e in entries) == 8, "none went with the health entries around it"
    assert any(isinstance(e, Gap) for e in entries)


async def test_what_is_being_cut_is_not_pruned_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are opened without the lock: a commit that makes room must already know that they are on their way."""
    cloud = SmallCloud()
    async with box(tmp_path) as outbox:
        await drain(outbox, cloud)
        for n in range(6):
            await outbox.append({Lane.BULK: [columns(range(n, n + 1))]})
        run = next(r for r in outbox.card.runs if r.lane is Lane.BULK)
        aside = asyncio.to_thread

        async def while_a_commit_makes_room(*args: Any) -> Any:
            await outbox.room.drop_unsent(run)
            return await aside(*args)

        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "to_thread", while_a_commit_makes_room)
            cut = await outbox.cut(Lane.BULK, 1)
        assert isinstance(cut, Cut)
        assert not await outbox.confirm(cloud.take(cut.batch)), "no fork: the place is still there"
        await drain(outbox, cloud)
    told = sum(p.entry.lost for _, p in cloud.entries() if isinstance(p.entry, Gap))
    numbers = [n for _, n in cloud.numbers()]
    assert numbers[0] == 0
    assert len(numbers) == len(set(numbers)) == 6 - told, "what went up is not told as lost"
