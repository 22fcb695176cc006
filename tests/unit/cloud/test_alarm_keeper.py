"""The keeper: what has happened is taken once, over restarts, and a city that is silent is one alarm in the feed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from cloud import alarm_keeper
from cloud.findings import Notice
from cloud.own_alarms import OUTAGE
from cloud.store import Store, opened, rebuild
from support.cloud_batches import SECOND, Sender, Ticking, columns, send
from wire.batch import Lane
from wire.entries import Gap, Health


async def told(store: Store) -> list[tuple[str, str]]:
    """(id, state) of each alarm that the feed has."""
    records = await store.log.read(0, 1_000)
    notices = [msgspec.json.decode(r.body, type=Notice).told for r in records if r.notice]
    data: list[dict[str, Any]] = [n.data for n in notices if n is not None]
    return [(d["id"], d["state"]) for d in data]


async def test_what_happened_is_taken_once_over_restarts(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(alarm_keeper, "LOOKED", 3)
    now = Ticking()
    sender = Sender()
    async with opened(tmp_path, now) as store:
        for _ in range(8):
            await send(store.log, sender.batch(Gap(reason="full", lost=2), Gap(reason="full", lost=3)))
        assert await store.alarms.look(now(), 0)
        while await store.alarms.look(now(), 0):
            pass
        (alarm,) = store.alarms.standing()
        assert alarm.values == {"times": 8, "lost": 40}
    await rebuild(tmp_path, lambda _done, _of: None)
    async with opened(tmp_path, now) as store:
        before = await told(store)
        await store.look(now(), now())
        assert store.alarms.standing() == [alarm]
        assert await told(store) == before
        await send(store.log, sender.batch(Gap(reason="full", lost=1)))
        await store.look(now(), now())
        assert store.alarms.standing()[0].values == {"times": 9, "lost": 41}


async def test_a_city_that_is_silent_is_one_alarm_that_stands(tmp_path: Path) -> None:
    now = Ticking()
    senders = [Sender(f"cab-{i:02}") for i in range(12)]
    async with opened(tmp_path, now) as store:
        for sender in senders:
            await send(store.log, sender.batch(Health(time_us=now(), verdict="ok", interval_s=10), lane=Lane.URGENT))
        began = now()
        now.tick(31)
        await store.look(now(), began)
        standing = {a.id: a.state for a in store.alarms.standing()}
        assert standing.pop(OUTAGE) == "raised"
        assert (len(standing), set(standing.values())) == (12, {"suppressed"})
        assert [t for t in await told(store) if t[1] == "raised"] == [(OUTAGE, "raised")]
    async with opened(tmp_path, now) as store:
        now.tick(60)
        count = len(await told(store))
        await store.look(now(), now() - 60 * SECOND)
        assert len(await told(store)) == count
        for sender in senders:
            await send(store.log, sender.batch(columns(n=1)))
        await store.look(now(), now() - 60 * SECOND)
        assert [(a.id, a.state) for a in store.alarms.standing()] == [(OUTAGE, "returned")]


async def test_the_time_for_which_we_were_not_here_does_not_count(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        for i in range(12):
            health = Health(time_us=now(), verdict="ok", interval_s=10)
            await send(store.log, Sender(f"cab-{i:02}").batch(health, lane=Lane.URGENT))
    now.tick(5 * 3_600)
    async with opened(tmp_path, now) as store:
        began = now()
        now.tick(31)
        await store.look(now(), began)
        assert {a.state for a in store.alarms.standing() if a.id != OUTAGE} == {"suppressed"}
