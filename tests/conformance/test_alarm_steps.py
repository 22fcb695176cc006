"""One suite for every store of alarm steps: each once, by corrected time, whatever became of the log meanwhile."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cloud.crash import never
from cloud.log.batch_facts import facts_of
from cloud.log.contract import Record
from cloud.memory.alarm_steps import MemoryAlarmSteps
from cloud.memory.views import MemoryViews
from cloud.records.alarm_steps import AlarmStep, AlarmSteps, StepsAsked
from cloud.records.ended_alarms import told_of
from cloud.records.keys import Keyed
from cloud.store import Store, rebuild
from cloud.store import opened as opened_store
from cloud.times import DAY_US, TIME_BOUND_US
from support.cloud_batches import SECOND, START_US, Sender, Ticking, Weather, columns, opened, send
from support.cloud_records import KINDS, Records, records_of
from wire import codec
from wire.batch import Lane
from wire.entries import Alarm, ClockFix, Health

ALARM = Alarm(id="a", device="lamp-1", rule="r", severity="high", state="raised", raised_us=START_US, time_us=START_US)
ALL = StepsAsked(from_us=-TIME_BOUND_US, to_us=TIME_BOUND_US, limit=5_000)


@pytest.fixture
def now() -> Ticking:
    return Ticking()


@pytest.fixture(params=KINDS)
async def kept(request: pytest.FixtureRequest, tmp_path: Path, now: Ticking) -> AsyncIterator[Records]:
    async with records_of(request.param, tmp_path, now) as records:
        yield records


async def steps(store: AlarmSteps, asked: StepsAsked = ALL) -> list[AlarmStep]:
    """All pages of an answer."""
    found: list[AlarmStep] = []
    cursor = None
    while True:
        page, cursor = await store.page(replace(asked, cursor=cursor))
        assert len(page) <= asked.limit
        found += page
        if cursor is None:
            return found


def brief(found: Sequence[AlarmStep]) -> list[tuple[Any, ...]]:
    return [(s.id, s.before, s.state, (s.time_us - START_US) // SECOND) for s in found]


async def tell(kept: Records, sender: Sender, *said: Alarm) -> None:
    await send(kept.log, sender.batch(*said, lane=Lane.URGENT))


async def test_each_step_says_what_it_found_who_did_it_and_where_it_is_in_the_feed(kept: Records) -> None:
    node = Sender()
    await tell(kept, node, ALARM, replace(ALARM, id="b", severity="low", time_us=START_US + SECOND))
    seen = replace(ALARM, state="acknowledged", acknowledged=True, by="anna", detail="on my way")
    await tell(kept, node, replace(seen, time_us=START_US + 9 * SECOND))
    own = replace(ALARM, id="aggregator:silent:cab-1", device="cab-1", time_us=START_US + 5 * SECOND)
    await kept.own_alarms.keep([own], [told_of("cab-1", own)], None)
    found = await steps(kept.alarm_steps)
    assert brief(found) == [
        ("a", None, "raised", 0), ("b", None, "raised", 1), ("aggregator:silent:cab-1", None, "raised", 5),
        ("a", "raised", "acknowledged", 9),
    ]  # fmt: skip
    assert (found[3].by, found[3].note, found[3].acknowledged) == ("anna", "on my way", True)
    assert (found[3].event, found[3].source) == (f"cab-1/{node.epoch}/urgent/3", "/nodes/cab-1")
    (notice,) = [n.id for n in await kept.notices() if n.told is not None]
    assert found[2].event == notice


async def test_it_is_asked_by_time_node_device_severity_and_what_came_since(kept: Records) -> None:
    one, two = Sender("cab-1"), Sender("cab-2")
    for i in range(6):
        said = replace(ALARM, id=f"a{i}", device=f"d{i % 2}", severity=("low", "high", "urgent")[i % 3])
        await tell(kept, (one, two)[i // 3], replace(said, time_us=START_US + i * SECOND))
    head = kept.log.reach().head

    async def ids(**asked: Any) -> str:
        return " ".join(s.id[1:] for s in await steps(kept.alarm_steps, replace(ALL, **asked)))

    assert await ids(from_us=START_US + SECOND, to_us=START_US + 4 * SECOND) == "1 2 3"
    assert await ids(node="cab-2") == "3 4 5"
    assert await ids(device="d1") == "1 3 5"
    assert await ids(severities=frozenset({"low", "urgent"})) == "0 2 3 5"
    assert await ids(id="a4") == "4"
    assert await ids(after=head - 2) == "4 5"
    assert await ids(after=head) == ""
    for limit in (1, 2, 5):
        assert await ids(limit=limit, severities=frozenset({"low", "high"})) == "0 1 3 4"


async def test_times_of_a_boot_move_with_its_clock_fix_whichever_comes_first(kept: Records) -> None:
    node = Sender()
    late = replace(ALARM, id="late", boot=9, time_us=START_US - 3_600 * SECOND)
    await tell(kept, node, late, replace(ALARM, id="right", time_us=START_US + 10 * SECOND))
    assert [(s.id, s.clock) for s in await steps(kept.alarm_steps)] == [("late", "estimated"), ("right", "synced")]
    fix = ClockFix(boot=9, offset_us=3_620 * SECOND, error_us=1)
    await send(kept.log, node.batch(fix, lane=Lane.URGENT))
    await tell(kept, node, replace(late, id="later", time_us=late.time_us + 5 * SECOND))
    found = await steps(kept.alarm_steps)
    assert [(s.id, s.clock, (s.time_us - START_US) // SECOND) for s in found] == [
        ("right", "synced", 10), ("late", "corrected", 20), ("later", "corrected", 25),
    ]  # fmt: skip


async def test_they_are_forgotten_when_they_were_taken_long_ago(kept: Records, now: Ticking) -> None:
    node = Sender()
    await tell(kept, node, replace(ALARM, id="old", time_us=START_US + 9_999 * DAY_US))
    now.now_us += 10 * DAY_US
    await tell(kept, node, replace(ALARM, id="new", time_us=START_US - 9_999 * DAY_US))
    assert await kept.alarm_steps.prune(now(), 11 * DAY_US) == 0
    assert await kept.alarm_steps.prune(now(), 5 * DAY_US) == 1
    assert await kept.alarm_steps.prune(now(), 5 * DAY_US) == 0
    assert [s.id for s in await steps(kept.alarm_steps)] == ["new"]


class Seen:
    """All that a store's log ever had, as it was seen when it came."""

    def __init__(self, now: Ticking) -> None:
        self.records: list[Record] = []
        self.views = MemoryViews(now)
        self.steps = MemoryAlarmSteps(self, self.views)  # type: ignore[arg-type]

    async def follow(self, store: Store) -> None:
        for record in await store.log.read(len(self.records), 1_000):
            self.records.append(record)
            if not record.notice:
                batch = codec.decode_batch(record.body)
                await self.views.apply(record.position, record.received_us, batch, facts_of(batch))

    async def read(self, _after: int, _limit: int, _bytes: int) -> Sequence[Record]:
        return self.records


@pytest.mark.parametrize("seed", range(2))
async def test_the_store_tells_what_was_seen_after_compaction_restarts_and_rebuilds(
    tmp_path: Path, seed: int, now: Ticking
) -> None:
    rng, weather, seen = random.Random(seed), Weather(seed, now), Seen(now)

    async def same(store: Store) -> None:
        await seen.follow(store)
        for _ in range(4):
            asked = question(rng, store.log.reach().head)
            expected = await steps(seen.steps, asked)
            assert await steps(store.alarm_steps, asked) == expected, asked

    for life in range(2):
        async with opened_store(tmp_path, now) as store:
            for _ in range(40):
                now.tick(rng.choice([1, 60, 3_600]))
                if rng.random() < 0.2:
                    own = replace(ALARM, id=f"own-{rng.randrange(3)}", device="cab-1", time_us=now())
                    state = rng.choice(["raised", "returned", "cleared"])
                    await store.log.note([told_of("cab-1", replace(own, state=state))])
                await store.log.append(*opened(weather.batch()))
            await same(store)
            compaction = store.compaction(3_600 * SECOND, now, never, lambda _n: None)
            while await compaction.step():
                pass
            await same(store)
        if life == seed:
            await rebuild(tmp_path, lambda _done, _of: None)
    async with opened_store(tmp_path, now) as store:
        await same(store)
        assert len(await steps(store.alarm_steps)) >= 20


def question(rng: random.Random, head: int) -> StepsAsked:
    from_us = START_US + rng.randrange(-40, 3) * DAY_US
    return StepsAsked(
        from_us=rng.choice([-TIME_BOUND_US, from_us]),
        to_us=rng.choice([TIME_BOUND_US, from_us + rng.randrange(1, 60) * DAY_US]),
        after=rng.choice([0, rng.randrange(head)]),
        node=rng.choice([None, None, "cab-1", "cab-2"]),
        device=rng.choice([None, None, "a", "b", "cab-1"]),
        severities=rng.choice([frozenset[str](), frozenset({"high"}), frozenset({"low", "urgent"})]),
        limit=rng.choice([3, 10, 100]),
    )


async def test_what_is_applied_again_is_one_step(tmp_path: Path, now: Ticking) -> None:
    async with opened_store(tmp_path, now) as store:
        batch, facts, body = opened(Sender().batch(ALARM, columns(n=1), lane=Lane.URGENT))
        taken = await store.log.append(batch, facts, body)
        assert taken.position is not None
        await store.views.apply(taken.position, now(), batch, facts)
        assert brief(await steps(store.alarm_steps)) == [("a", None, "raised", 0)]


async def test_a_step_that_a_lost_card_brings_and_its_acknowledgement_are_told(tmp_path: Path, now: Ticking) -> None:
    async with records_of("sqlite", tmp_path, now) as kept:
        await tell(kept, Sender(epoch=1, after=None), ALARM)
        now.tick(60)
        health = Health(time_us=1, verdict="ok")
        await send(kept.log, Sender(epoch=2, after=None).batch(health, lane=Lane.URGENT))
        await kept.ended_alarms.acknowledge("cab-1", "a", "anna", START_US + 90 * SECOND, "seen", Keyed("t k", b"d"))
        found = await steps(kept.alarm_steps)
        assert brief(found) == [
            ("a", None, "raised", 0), ("a", "raised", "returned", 60), ("a", "returned", "cleared", 90),
        ]  # fmt: skip
        assert (found[2].by, found[2].note, found[1].source) == ("anna", "seen", "/nodes/cab-1")
    await rebuild(tmp_path, lambda _done, _of: None)
    async with records_of("sqlite", tmp_path, now) as kept:
        assert await steps(kept.alarm_steps) == found


async def test_a_store_of_before_gets_what_is_left_by_a_rebuild(tmp_path: Path, now: Ticking) -> None:
    """As one that was brought up from schema 5: no step was ever taken."""
    async with opened_store(tmp_path, now) as store:
        await store.log.append(*opened(Sender().batch(ALARM, lane=Lane.URGENT)))
        await store.log.note([told_of("cab-1", replace(ALARM, id="own", device="cab-1"))])
        await store.writer.do(lambda connection: connection.execute("DELETE FROM alarm_steps"))
        assert await steps(store.alarm_steps) == []
    await rebuild(tmp_path, lambda _done, _of: None)
    async with opened_store(tmp_path, now) as store:
        assert [s.id for s in await steps(store.alarm_steps)] == ["a", "own"]


async def test_there_is_a_bound_on_how_many_are_kept(
    tmp_path: Path, now: Ticking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud.sqlite.alarm_steps.MAX_STEPS", 3)
    monkeypatch.setattr("cloud.sqlite.alarm_steps.SCANNED", 2)
    async with opened_store(tmp_path, now) as store:
        node = Sender()
        for i in range(5):
            said = replace(ALARM, id=f"a{i}", time_us=START_US + i, severity="low" if i < 4 else "high")
            await store.log.append(*opened(node.batch(said, lane=Lane.URGENT)))
        page, cursor = await store.alarm_steps.page(replace(ALL, severities=frozenset({"high"})))
        assert (page, cursor is None) == ([], False), "so many were looked at, and there is more"
        assert [s.id for s in await steps(store.alarm_steps, replace(ALL, severities=frozenset({"high"})))] == ["a4"]
        while await store.alarm_steps.prune(now(), 99 * DAY_US):
            pass
        assert [s.id for s in await steps(store.alarm_steps)] == ["a2", "a3", "a4"]
