"""A store that is followed answers as the one that is written, whatever comes and however far behind it was."""

from __future__ import annotations

import random
from pathlib import Path

from cloud.crash import never
from cloud.log.contract import Reach
from cloud.sqlite.followed import FollowedStore, followed
from cloud.store import Store, opened
from cloud.views.answers import LatestRow
from cloud.views.contract import LatestAsked, ReadViews
from support.cloud_batches import SECOND, Sender, Ticking, columns, roster, send
from wire.batch import Lane, Snapshot
from wire.entries import Alarm, ClockFix, Health
from wire.sample import Clock

DEVICES = [f"lamp-{n:03}" for n in range(6)]


async def rows(views: ReadViews) -> list[LatestRow]:
    found = await views.latest(LatestAsked())
    return [row async for chunk in found.chunks for row in chunk]


async def same(store: Store, there: FollowedStore) -> None:
    assert await rows(there.views) == await rows(store.views)
    assert await there.views.nodes("", 100) == await store.views.nodes("", 100)
    for device in DEVICES:
        assert await there.views.device(device, None) == await store.views.device(device, None)


async def test_it_answers_the_same_whatever_comes(tmp_path: Path) -> None:
    draw, now = random.Random(12), Ticking()
    async with opened(tmp_path, now) as store:
        senders = {node: Sender(node) for node in ("cab-1", "cab-2", "cab-3")}
        fresh: dict[str, int] = {}
        store.latest.on_fresh = fresh.__setitem__
        async with followed(tmp_path, now) as there:
            for turn in range(60):
                now.tick(draw.choice([1, 60, 400]))
                node, sender = draw.choice(list(senders.items()))
                named = draw.sample(DEVICES, 2)
                clock = draw.choice([Clock(1, synced=True), Clock(2, synced=False)])
                at_us = now() - draw.choice([0, 5, 900]) * SECOND
                match draw.randrange(6):
                    case 0:
                        await send(store.log, sender.batch(roster(*named), lane=Lane.URGENT))
                    case 1:
                        await send(store.log, sender.batch(ClockFix(boot=2, offset_us=7 * SECOND, error_us=1)))
                    case 2:
                        await store.views.fresh(Snapshot(node=node, columns=(columns(named[0], at_us, v=turn),)))
                    case 3:
                        await send(store.log, sender.batch(Health(time_us=now(), verdict="ok"), lane=Lane.URGENT))
                    case _:
                        await send(store.log, sender.batch(*(columns(d, at_us, clock=clock, v=turn) for d in named)))
                if draw.random() < 0.3:
                    await there.follow(store.log.reach())
                    await there.refresh(sorted(fresh), store.latest.mark)
                    for node, heard_us in fresh.items():
                        there.heard.hear(node, heard_us)
                    fresh.clear()
                    await same(store, there)
                    assert there.log.reach() == store.log.reach()
        async with followed(tmp_path, now) as later:
            for node, heard_us in store.heard.all.items():  # as the first word of the one that writes says
                later.heard.hear(node, heard_us)
            await same(store, later)


async def test_after_a_long_stop_it_loads_anew_what_the_log_does_not_hold_any_more(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        sender = Sender()
        await send(store.log, sender.batch(roster(*DEVICES), lane=Lane.URGENT))
        async with followed(tmp_path, now) as there:
            for turn in range(8):
                now.tick(3_600)
                await send(store.log, sender.batch(*(columns(d, now(), v=turn) for d in DEVICES)))
            compaction = store.compaction(600 * SECOND, now, never, lambda _batches: None)
            while await compaction.step():
                pass
            assert store.log.reach().floor > there.latest.through, "nothing was compacted: it shows nothing"
            await there.follow(store.log.reach())
            await same(store, there)
            assert there.log.reach() == store.log.reach()


async def test_the_log_says_no_more_than_the_latest_has(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        sender = Sender()
        async with followed(tmp_path, now) as there:
            for _ in range(3):
                await send(store.log, sender.batch(columns()))
            await there.follow(Reach(0, 2))
            assert there.log.reach().head == there.latest.through == store.log.reach().head, "what there is, is read"


async def test_alarms_that_stand_are_the_same(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        sender = Sender()
        alarm = Alarm(
            id="a1", device="lamp-001", rule="r", severity="high", state="raised", raised_us=now(), time_us=now()
        )
        async with followed(tmp_path, now) as there:
            await send(store.log, sender.batch(roster("lamp-001"), columns()))
            await send(store.log, sender.batch(alarm, lane=Lane.URGENT))
            await there.follow(store.log.reach())
            found = [row.now.alarms for row in await rows(there.views) if row.now is not None]
            assert found == [row.now.alarms for row in await rows(store.views) if row.now is not None]
            assert found == [1]
