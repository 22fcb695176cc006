from __future__ import annotations

import asyncio
import random
import string
from pathlib import Path

import msgspec
import pytest

from edge.outbox import memory
from edge.outbox.contract import Cut
from edge.outbox.memory import MemoryOutbox
from edge.outbox.sqlite import SqliteOutbox
from edge.sync import uplink
from edge.sync.http import AckAnswer, LinkDown
from edge.sync.refusals import BURST
from edge.sync.uplink import MIN_BODY_BYTES, UNSUPPORTED_WAIT_S, Uplink
from support.cloud import SmallCloud
from wire import codec
from wire.batch import Batch, Lane
from wire.columns import Columns
from wire.entries import Alarm, ClockFix, Entry, Gap
from wire.errors import Malformed, TooLarge, Unsupported
from wire.sample import Clock, Sample

CLOCK = Clock(1, synced=True)
START_US = 10**15


def columns(*numbers: int, at_us: int = START_US) -> Columns:
    return Columns.of([Sample("lamp", at_us + n, CLOCK, {"n": n}) for n in numbers])


class Scene:
    """An uplink on a clock that only moves when the uplink waits."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []
        self.cloud, self.outbox = SmallCloud(), MemoryOutbox(node="cab")
        self.put: list[Entry] = []
        self.heard: list[tuple[int, int]] = []
        self.uplink = Uplink(
            self.outbox,
            self.cloud,
            node="cab",
            push_interval_s=60,
            latest=lambda: [columns(99)],
            put=self.put.append,
            hear=self.hear,
            now_us=lambda: START_US + round((self.time - 1000) * 1e6),
            monotonic=lambda: self.time,
            sleep=self.sleep,
            jitter=lambda most: most,
        )

    def hear(self, server_us: int, took_us: int) -> ClockFix | None:
        self.heard.append((server_us, took_us))
        return None

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    async def push(self) -> None:
        """One round, as `run` makes them, and those that lanes that were held for a while need."""
        self.uplink._bulk = True  # what _wait sets when it is time
        await self.uplink._until_up(self.uplink._push)
        while self.uplink._held:
            await self.sleep(max(0.0, min(self.uplink._held.values()) - self.time))
            self.uplink._let_go()
            await self.uplink._until_up(self.uplink._push)

    async def go_on(self, seconds: float) -> None:
        """`run`, for so long."""
        until = self.time + seconds
        while self.time < until:
            await self.uplink._until_up(self.uplink._push)
            due = min([*self.uplink._held.values(), self.uplink._next_push])
            await self.sleep(max(0.001, due - self.time))
            self.uplink._let_go()
            self.uplink._bulk |= self.time >= self.uplink._next_push


@pytest.fixture
async def scene() -> Scene:
    return Scene()


async def test_urgent_goes_ahead_of_each_bulk_body(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uplink, "MIN_BODY_BYTES", 1)
    monkeypatch.setattr(uplink, "MAX_CUT_BYTES", 1)
    for n in range(3):
        await scene.outbox.append({Lane.BULK: [columns(n)]})
    await scene.outbox.append({Lane.URGENT: [ClockFix(boot=1, offset_us=1, error_us=1)]})
    scene.uplink._body_bytes = 1
    await scene.push()
    assert scene.cloud.requests == ["place", "urgent", "place", "bulk", "bulk", "bulk"]
    assert [n for _, n in scene.cloud.numbers()] == [0, 1, 2]
    assert scene.uplink.down is None


async def test_nothing_to_send_is_no_request(scene: Scene) -> None:
    await scene.push()
    scene.cloud.requests.clear()
    await scene.push()
    assert scene.cloud.requests == []


async def test_a_failing_link_is_left_alone_for_doubling_times_and_nothing_is_lost(scene: Scene) -> None:
    await scene.outbox.append({Lane.BULK: [columns(1)]})
    scene.cloud.fail = [LinkDown("no route")] * 12
    await scene.push()
    assert scene.slept == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert [n for _, n in scene.cloud.numbers()] == [1]


async def test_what_the_cloud_asks_for_is_waited(scene: Scene) -> None:
    await scene.outbox.append({Lane.BULK: [columns(1)]})
    scene.cloud.fail = [LinkDown("503", retry_s=120)]
    scene.cloud.pause_s = 40
    await scene.push()
    assert scene.slept[0] == 121
    scene.cloud.pause_s = 0
    await scene.outbox.append({Lane.BULK: [columns(2)]})
    scene.slept.clear()
    await scene.push()
    assert sum(scene.slept) == pytest.approx(40)


async def test_after_an_outage_it_is_fresh_before_it_is_complete(scene: Scene) -> None:
    await scene.push()
    scene.cloud.fail = [LinkDown("gone")] * 9
    await scene.outbox.append({Lane.BULK: [columns(1, at_us=START_US)]})
    scene.cloud.requests.clear()
    await scene.push()
    assert scene.cloud.requests[9:] == ["snapshot", "bulk"]
    assert scene.cloud.snapshots[0].columns[0].samples()[0].values == {"n": 99}
    scene.cloud.requests.clear()
    await scene.outbox.append({Lane.BULK: [columns(2)]})
    await scene.push()
    assert scene.cloud.requests == ["bulk"], "once"


async def test_an_unreadable_row_is_halved_down_to_and_set_aside(scene: Scene) -> None:
    for n in range(8):
        await scene.outbox.append({Lane.BULK: [columns(n)]})
    take = scene.cloud.take

    def picky(batch):  # type: ignore[no-untyped-def]
        for placed in batch.entries:
            if isinstance(placed.entry, Columns) and 5 in [s.values["n"] for s in placed.entry.samples()]:
                raise Malformed("no fives")
        return take(batch)

    scene.cloud.take = picky  # type: ignore[method-assign]
    await scene.push()
    assert sorted(n for _, n in scene.cloud.numbers()) == [0, 1, 2, 3, 4, 6, 7]
    gaps = [p.entry for _, p in scene.cloud.entries() if isinstance(p.entry, Gap)]
    assert [g.lost for g in gaps] == [1]
    assert "no fives" in gaps[0].reason
    assert (await scene.outbox.depth()).quarantined == 1


async def test_too_large_is_sent_in_halves(scene: Scene) -> None:
    for n in range(4):
        await scene.outbox.append({Lane.BULK: [columns(n)]})
    await scene.push()
    for n in range(4, 8):
        await scene.outbox.append({Lane.BULK: [columns(n)]})
    scene.cloud.fail = [TooLarge("over")]
    await scene.push()
    assert [n for _, n in scene.cloud.numbers()] == list(range(8))
    assert scene.cloud.requests.count("bulk") >= 3


async def test_an_unsupported_version_is_held_with_one_alarm(scene: Scene) -> None:
    await scene.outbox.append({Lane.BULK: [columns(1)]})
    scene.cloud.fail = [Unsupported("v1", (2, 3))] * 3
    await scene.push()
    raised, cleared = scene.put
    assert isinstance(raised, Alarm)
    assert isinstance(cleared, Alarm)
    assert (raised.state, "[2, 3]" in raised.detail, cleared.state) == ("raised", True, "cleared")
    assert raised.id == cleared.id
    assert all(s >= UNSUPPORTED_WAIT_S for s in scene.slept)
    assert [n for _, n in scene.cloud.numbers()] == [1]


async def test_bodies_follow_the_rate_last_seen(scene: Scene) -> None:
    await scene.push()
    scene.cloud.took_s = 100.0
    for n in range(20):
        await scene.outbox.append({Lane.BULK: [columns(n)]})
        await scene.push()
    assert scene.uplink._body_bytes == MIN_BODY_BYTES
    scene.cloud.took_s = 0.001
    for n in range(20):
        await scene.outbox.append({Lane.BULK: [columns(n)]})
        await scene.push()
    assert scene.uplink._body_bytes > 10 * MIN_BODY_BYTES


async def test_a_watched_node_pushes_every_two_seconds(scene: Scene) -> None:
    scene.cloud.live_s = 30
    await scene.push()
    await scene.outbox.append({Lane.BULK: [columns(1)]})
    await scene.push()
    watched: list[bool] = []
    scene.uplink._watched = watched.append
    scene.uplink._urgent = scene.uplink._bulk = False
    waiting = asyncio.ensure_future(scene.uplink._wait())
    await asyncio.sleep(0)
    assert watched == [True]
    scene.uplink.kick(urgent=False, live=True)
    await waiting
    assert scene.uplink._bulk


async def test_the_cloud_tells_the_time(scene: Scene) -> None:
    scene.cloud.server_us = 123
    await scene.push()
    assert scene.heard[0] == (123, 10_000)


async def test_snapshot_goes_before_urgent_too(scene: Scene) -> None:
    old = START_US - 10**10
    await scene.outbox.append(
        {Lane.BULK: [columns(1, at_us=old)], Lane.URGENT: [ClockFix(boot=1, offset_us=1, error_us=1)]}
    )
    await scene.push()
    assert [r for r in scene.cloud.requests if r != "place"] == ["snapshot", "urgent", "bulk"]


async def test_a_live_change_does_not_wait_behind_a_backlog(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uplink, "MIN_BODY_BYTES", 1)
    monkeypatch.setattr(uplink, "MAX_CUT_BYTES", 1)
    scene.uplink._body_bytes = 1
    await scene.push()
    for n in range(4):
        await scene.outbox.append({Lane.BULK: [columns(n)]})
    take = scene.cloud.take

    def change_meanwhile(batch):  # type: ignore[no-untyped-def]
        if len(scene.cloud.numbers()) == 1:
            scene.uplink.kick(urgent=False, live=True)
        return take(batch)

    scene.cloud.take = change_meanwhile  # type: ignore[method-assign]
    scene.cloud.requests.clear()
    await scene.push()
    assert scene.cloud.requests == ["bulk", "bulk", "snapshot", "bulk", "bulk"]


@pytest.mark.parametrize("what", ["older generation", "another epoch"])
async def test_an_answer_that_moves_nothing_is_waited_after(scene: Scene, what: str) -> None:
    scene.cloud.generation = 5
    await scene.push()
    await scene.outbox.append({Lane.BULK: [columns(1)]})
    send, wrong = scene.cloud.send, 3

    async def stuck(batch):  # type: ignore[no-untyped-def]
        nonlocal wrong
        wrong -= 1
        if wrong < 0:
            return await send(batch)
        scene.cloud.requests.append("bulk")
        ack = scene.cloud.ack(batch.epoch + (what == "another epoch"), batch.lane)
        return AckAnswer(msgspec.structs.replace(ack, generation=4) if what == "older generation" else ack, 0.01, 100)

    scene.cloud.send = stuck  # type: ignore[method-assign]
    await scene.push()
    assert len(scene.slept) >= 2
    assert [n for _, n in scene.cloud.numbers()] == [1]


async def test_a_body_that_does_not_get_through_shrinks_and_back_off_begins_anew_with_each_ack(scene: Scene) -> None:
    rng = random.Random(3)
    for n in range(60):
        text = "".join(rng.choices(string.printable, k=2000))
        await scene.outbox.append({Lane.BULK: [Columns.of([Sample("lamp", START_US + n, CLOCK, {"n": n, "t": text})])]})
    send = scene.cloud.send

    async def slow(batch):  # type: ignore[no-untyped-def]
        if len(codec.encode_batch(batch)) > 20_000:
            raise LinkDown("no whole answer within 60 s")
        return await send(batch)

    scene.cloud.send = slow  # type: ignore[method-assign]
    await scene.push()
    assert [n for _, n in scene.cloud.numbers()] == list(range(60))
    assert max(scene.slept) <= 8


async def test_a_slower_link_gets_smaller_bodies_at_once(scene: Scene) -> None:
    await scene.push()
    scene.uplink._body_bytes = 512 * 1024
    scene.cloud.took_s = 0.01
    await scene.outbox.append({Lane.BULK: [columns(1)]})
    scene.cloud.took_s = 10.0
    await scene.push()
    assert scene.uplink._body_bytes == MIN_BODY_BYTES


async def test_a_busy_city_does_not_get_smaller_bodies(scene: Scene) -> None:
    await scene.push()
    scene.uplink._body_bytes = before = 256 * 1024
    scene.cloud.took_s, scene.cloud.held_s = 10.0, 9.9
    for n in range(5):
        await scene.outbox.append({Lane.BULK: [columns(n)]})
        await scene.push()
    assert scene.uplink._body_bytes >= before


async def test_a_gap_that_is_refused_is_kept(scene: Scene) -> None:
    await scene.push()
    gap = Cut(batch=(await made_gap(scene)), rows=0, row_bytes=0)
    with pytest.raises(LinkDown):
        await scene.uplink._smaller(gap, Malformed("no"))


async def made_gap(scene: Scene) -> Batch:
    await scene.outbox.append({Lane.BULK: [columns(1)]})
    cut = await scene.outbox.cut(Lane.BULK, 1)
    assert isinstance(cut, Cut)
    return cut.batch


async def test_a_restored_cloud_asks_an_idle_lane_again_without_alarm(scene: Scene) -> None:
    await scene.push()
    scene.cloud.generation += 1
    await scene.outbox.append({Lane.URGENT: [ClockFix(boot=1, offset_us=1, error_us=1)]})
    scene.uplink.kick(urgent=True, live=False)
    await scene.push()
    assert scene.cloud.requests == ["place", "place", "urgent", "place", "place"]
    assert scene.slept == []


async def test_a_cloud_of_an_older_generation_is_not_believed_and_that_is_said(scene: Scene) -> None:
    """Its store was lost, and its clock is behind. Once it has drawn a greater one, all goes on by itself."""
    scene.cloud.generation = 7
    await scene.push()
    await scene.outbox.append({Lane.BULK: [columns(1)]})
    scene.cloud.generation, waits = 6, 0

    async def sleep(_seconds: float) -> None:
        nonlocal waits
        waits += 1
        assert "generation 6, and 7 was known before" in (scene.uplink.down or "")
        if waits == 3:
            scene.cloud.lanes.clear()
            scene.cloud.generation = 8

    scene.uplink._sleep = sleep
    await scene.push()
    assert (waits, scene.uplink.down, scene.outbox.generations.known) == (3, None, 8)
    assert [n for _, n in scene.cloud.numbers()] == [1]


class Refusing:
    """A cloud that refuses what `wrong` says, whatever it was before."""

    def __init__(self, scene: Scene, wrong=lambda batch: True, error: type[Exception] = Malformed) -> None:  # type: ignore[no-untyped-def]
        self.scene, self.wrong, self.error, self.times = scene, wrong, error, 0
        self.take = scene.cloud.take
        scene.cloud.take = self  # type: ignore[method-assign]

    def __call__(self, batch: Batch):  # type: ignore[no-untyped-def]
        if self.wrong(batch):
            self.times += 1
            raise self.error("no")
        return self.take(batch)

    def mend(self) -> None:
        self.wrong = lambda _batch: False


async def lost(scene: Scene) -> int:
    return sum(p.entry.lost for _, p in scene.cloud.entries() if isinstance(p.entry, Gap))


@pytest.mark.parametrize("error", [Malformed, TooLarge])
async def test_a_cloud_that_refuses_everything_costs_one_row_and_a_request_now_and_then(
    scene: Scene, error: type[Exception]
) -> None:
    for n in range(500):
        await scene.outbox.append({Lane.BULK: [columns(n)]})
    refusing = Refusing(scene, error=error)
    await scene.go_on(6 * 3600)
    assert (await scene.outbox.depth()).quarantined == 1, "its gap is refused as well"
    assert scene.uplink.held is not None
    assert refusing.times < 6 * 6 * 4, "every ten minutes at most, after the first ones"
    refusing.mend()
    await scene.push()
    assert scene.uplink.held is None
    assert sorted(n for _, n in scene.cloud.numbers()) == list(range(1, 500)), "all but that are there"
    assert await lost(scene) == 1
    await scene.outbox.send_again()
    await scene.push()
    assert sorted(n for _, n in scene.cloud.numbers()) == list(range(500)), "and that when it is sent again"
    assert (await scene.outbox.depth()).quarantined == 0


async def test_taking_gaps_alone_proves_nothing(scene: Scene) -> None:
    for n in range(50):
        await scene.outbox.append({Lane.BULK: [columns(n)]})
    Refusing(scene, lambda batch: any(isinstance(p.entry, Columns) for p in batch.entries))
    await scene.go_on(20 * 3600)
    assert (await scene.outbox.depth()).quarantined == BURST
    await scene.go_on(5 * 86_400)
    assert (await scene.outbox.depth()).quarantined <= BURST + 6, "one more a day"


async def test_a_body_whose_bytes_were_changed_on_the_way_is_sent_once_more(scene: Scene) -> None:
    await scene.push()
    for n in range(60):
        await scene.outbox.append({Lane.BULK: [columns(n)]})
        flips = iter([True] * (n % 3))
        Refusing(scene, lambda _batch, flips=flips: next(flips, False))
        await scene.push()
    assert [n for _, n in scene.cloud.numbers()] == list(range(60))
    assert await lost(scene) == 0


async def test_while_readings_are_refused_alarms_go_on(scene: Scene) -> None:
    for n in range(5):
        await scene.outbox.append({Lane.BULK: [columns(n)]})
    Refusing(scene, lambda batch: batch.lane is Lane.BULK)
    await scene.go_on(3600)
    await scene.outbox.append({Lane.URGENT: [ClockFix(boot=1, offset_us=7, error_us=1)]})
    scene.uplink.kick(urgent=True, live=False)
    began = scene.time
    await scene.uplink._until_up(scene.uplink._push)
    assert scene.time == began, "without a wait"
    assert [p.entry for _, p in scene.cloud.entries(Lane.URGENT)] == [ClockFix(boot=1, offset_us=7, error_us=1)]


async def test_rows_that_are_wrong_here_and_there_are_set_aside_but_no_more_than_three_an_hour(scene: Scene) -> None:
    for n in range(200):
        await scene.outbox.append({Lane.BULK: [columns(n)]})
    numbers = {n for n in range(200) if n % 20 == 7}

    def wrong(batch: Batch) -> bool:
        found = (s.values["n"] for p in batch.entries if isinstance(p.entry, Columns) for s in p.entry.samples())
        return not numbers.isdisjoint(found)  # type: ignore[arg-type]

    Refusing(scene, wrong)
    hours = 0
    while (aside := (await scene.outbox.depth()).quarantined) < len(numbers):
        assert aside <= BURST * (hours + 1)
        await scene.go_on(3600)
        hours += 1
    await scene.push()
    assert sorted(n for _, n in scene.cloud.numbers()) == sorted(set(range(200)) - numbers)
    assert scene.uplink.set_aside == len(numbers)


async def test_a_gap_is_never_given_up_for_a_gap(scene: Scene) -> None:
    await scene.outbox.append({Lane.BULK: [Gap(reason="the card was full", lost=3, seqs=3)]})
    refusing = Refusing(scene)
    await scene.go_on(86_400)
    assert (await scene.outbox.depth()).quarantined == 0
    refusing.mend()
    await scene.push()
    assert await lost(scene) == 3


async def test_when_the_quarantine_is_full_nothing_more_is_given_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "MAX_ROWS", 1)
    for n in range(5):
        await scene.outbox.append({Lane.BULK: [columns(n)]})
    refusing = Refusing(scene, lambda batch: any(isinstance(p.entry, Columns) for p in batch.entries))
    await scene.go_on(6 * 3600)
    assert (await scene.outbox.depth()).quarantined == 1
    assert "quarantine list" in (scene.uplink.held or "")
    refusing.mend()
    await scene.push()
    assert sorted(n for _, n in scene.cloud.numbers()) == [1, 2, 3, 4]


async def test_a_node_that_starts_again_and_again_gives_up_no_more_for_it(scene: Scene, tmp_path: Path) -> None:
    now_us = [START_US]
    async with SqliteOutbox(tmp_path, node="cab", limit_bytes=16 << 20, now_us=lambda: now_us[0]) as outbox:
        for n in range(40):
            await outbox.append({Lane.BULK: [columns(n)]})
        for _ in range(10):
            again = Scene()
            again.cloud, again.outbox = scene.cloud, outbox  # type: ignore[assignment]
            again.uplink._outbox, again.uplink._link = outbox, scene.cloud
            if scene.cloud.take.__class__ is not Refusing:
                Refusing(scene, lambda batch: any(isinstance(p.entry, Columns) for p in batch.entries))
            await again.uplink._remember()
            await again.go_on(120)
            now_us[0] += 120_000_000
        assert (await outbox.depth()).quarantined == BURST


@pytest.mark.parametrize("what", ["back and forth", "another past each time"])
async def test_places_that_take_nothing_are_no_reason_to_ask_without_end(scene: Scene, what: str) -> None:
    await scene.push()
    ends: list[tuple[int, bytes]] = [(0, bytes(16))]
    for n in range(6):
        await scene.outbox.append({Lane.BULK: [columns(n)]})
        await scene.push()
        held = next(h for (_, lane), h in scene.cloud.lanes.items() if lane is Lane.BULK)
        ends.append((held.through, held.digest))
    await scene.outbox.append({Lane.BULK: [columns(6)]})
    requests, rng = 0, random.Random(1)
    take = scene.cloud.take

    def elsewhere(batch: Batch):  # type: ignore[no-untyped-def]
        nonlocal requests
        requests += 1
        through, digest = (
            rng.choice(ends[1:-1]) if what == "back and forth" else (rng.randrange(1, 9), rng.randbytes(16))
        )
        return msgspec.structs.replace(scene.cloud.ack(batch.epoch, batch.lane), through_seq=through, digest=digest)

    scene.cloud.take = elsewhere  # type: ignore[method-assign]

    class Enough(Exception):
        pass

    sleep = scene.sleep

    async def patient(seconds: float) -> None:
        await sleep(seconds)
        if scene.time > 1000 + 3000:
            raise Enough

    scene.uplink._sleep = patient
    with pytest.raises(Enough):
        await scene.push()
    assert requests < 40
    assert scene.uplink.forks <= 4
    scene.cloud.take = take  # type: ignore[method-assign]
    scene.uplink._sleep = sleep
    await scene.push()
    assert {n for _, n in scene.cloud.numbers()} == set(range(7))


async def test_a_snapshot_that_is_refused_is_left_for_a_while(scene: Scene) -> None:
    refused = 0

    async def snapshot(_snapshot: object) -> None:
        nonlocal refused
        refused += 1
        raise Malformed("no")

    scene.cloud.snapshot = snapshot  # type: ignore[method-assign]
    for _ in range(20):
        await scene.uplink._send_snapshot()
    assert refused == 1


async def test_a_version_that_is_not_read_in_one_lane_does_not_hold_the_other(scene: Scene) -> None:
    await scene.outbox.append({Lane.BULK: [columns(1)]})
    send = scene.cloud.send

    async def old(batch: Batch):  # type: ignore[no-untyped-def]
        if batch.lane is Lane.BULK:
            raise Unsupported("v1", (2,))
        return await send(batch)

    scene.cloud.send = old  # type: ignore[method-assign]
    await scene.go_on(60)
    for n in range(5):
        await scene.outbox.append({Lane.URGENT: [ClockFix(boot=1, offset_us=n, error_us=1)]})
        scene.uplink.kick(urgent=True, live=False)
        await scene.uplink._until_up(scene.uplink._push)
    assert len(scene.cloud.entries(Lane.URGENT)) == 5
    assert len(scene.put) == 1, "one alarm, that stays"


async def test_a_week_without_any_network_is_never_late(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt that fails and each wait is over in time: whatever watches the uplink has no reason to act."""
    week_s = 7 * 86_400
    until = scene.time + week_s
    tries = 0

    async def attempt(*_: object) -> None:
        nonlocal tries
        tries += 1
        assert scene.uplink.alive.late() is None
        scene.time += 60.0  # as long as a whole time-out lasts
        assert scene.uplink.alive.late() is None
        if scene.time < until:
            raise LinkDown("no route")
        raise asyncio.CancelledError

    sleep = scene.sleep

    async def slept(seconds: float) -> None:
        await sleep(seconds)
        assert scene.uplink.alive.late() is None

    monkeypatch.setattr(scene.uplink, "_sleep", slept)
    monkeypatch.setattr(scene.cloud, "place", attempt)
    monkeypatch.setattr(scene.cloud, "snapshot", attempt)
    await scene.outbox.append({Lane.BULK: [columns(1)]})
    with pytest.raises(asyncio.CancelledError):
        await scene.push()
    assert tries > week_s / 400
    assert scene.uplink.alive.again == 0


async def test_an_attempt_that_never_returns_is_late(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> None:
        scene.time += uplink.ATTEMPT_S + 1
        assert str(scene.uplink.alive.late()) == "uplink: an attempt has taken 901 s"
        raise asyncio.CancelledError

    monkeypatch.setattr(scene.cloud, "place", never)
    await scene.outbox.append({Lane.BULK: [columns(1)]})
    with pytest.raises(asyncio.CancelledError):
        await scene.push()
    assert scene.uplink.alive.late() is None, "it is over"
