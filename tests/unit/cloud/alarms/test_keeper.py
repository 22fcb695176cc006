"""The keeper: what has happened is taken once, over restarts, and a city that is silent is one alarm in the feed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloud.alarms import keeper
from cloud.alarms.own_alarms import OUTAGE, id_of
from cloud.log.notices import Notice
from cloud.problem import Problem
from cloud.records.keys import Answered, Keyed
from cloud.sqlite import own_alarms as kept_alarms
from cloud.store import Store, opened, rebuild
from cloud.views.answers import AlarmSeen
from cloud.views.contract import AlarmsAsked
from cloud.views.silence import RETRY_US
from support.cloud_batches import SECOND, Sender, Ticking, columns, send
from wire.batch import Lane
from wire.entries import Alarm, Gap, Health


async def told(store: Store) -> list[tuple[str, str]]:
    """(id, state) of each alarm that the feed has."""
    records = await store.log.read(0, 1_000)
    notices = [msgspec.json.decode(r.body, type=Notice).told for r in records if r.notice]
    data: list[dict[str, Any]] = [n.data for n in notices if n is not None]
    return [(d["id"], d["state"]) for d in data]


async def test_what_happened_is_taken_once_over_restarts(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(keeper, "LOOKED", 3)
    monkeypatch.setattr(kept_alarms, "LOOKED", 3)
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
        now.now_us += RETRY_US
        now.tick(31)
        await store.look(now(), began)
        assert {a.state for a in store.alarms.standing() if a.id != OUTAGE} == {"suppressed"}


async def test_a_clock_that_is_set_is_no_outage(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        began = now()
        for i in range(12):
            health = Health(time_us=now(), verdict="ok", interval_s=10)
            await send(store.log, Sender(f"cab-{i:02}").batch(health, lane=Lane.URGENT))
        for jumped_us in (7_200 * SECOND, -7_200 * SECOND):
            now.now_us += jumped_us
            began += jumped_us
            await store.look(now(), began, jumped_us)
            assert store.alarms.standing() == []
        now.tick(31)
        await store.look(now(), began)
        assert len(store.alarms.standing()) == 13


async def test_an_alarm_that_has_cleared_meanwhile_does_not_stand_up_again(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        await send(store.log, Sender().batch(Gap(reason="full", lost=2)))
        await store.look(now(), 0)
        alarm = store.alarms.get(store.alarms.names()[0])
        assert alarm is not None

        async def act(key: str, digest: bytes = b"") -> Answered | None:
            return await store.alarms.act(alarm, "acknowledge", "room", now(), None, "", Keyed(key, digest))

        first, again, other = await asyncio.gather(act("1"), act("1"), act("2"))
        assert first is not None
        assert (again, other) == (first, None)
        with pytest.raises(Problem) as refused:
            await act("1", b"another request")
        assert refused.value.status == 422
        assert store.alarms.standing() == []
        assert [state for _, state in await told(store)] == ["raised", "cleared"]


async def test_a_page_is_made_of_what_is_asked_for_and_no_more(tmp_path: Path, monkeypatch: Any) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        for i in range(9):
            await send(store.log, Sender(f"cab-{i}").batch(Gap(reason="full", lost=2)))
        await store.look(now(), 0)
        made: list[Alarm] = []
        seen = keeper.own_seen

        def counted(alarm: Alarm) -> AlarmSeen:
            made.append(alarm)
            return seen(alarm)

        monkeypatch.setattr(keeper, "own_seen", counted)
        asked = AlarmsAsked(limit=2, after=("", id_of("missing", "cab-3")))
        found = [a.node for a in store.alarms.standing(asked)]
        assert (found, len(made)) == (["cab-4", "cab-5", "cab-6"], 3)
        assert [a.node for a in store.alarms.standing(AlarmsAsked(limit=9, node="cab-7"))] == ["cab-7"]
        assert store.alarms.standing(AlarmsAsked(limit=9, severities=frozenset({"urgent"}))) == []
