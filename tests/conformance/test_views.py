"""One suite for every views: random weather, and the same answers from all of them, however they came about.

MemoryViews goes over all batches for every question; it is the oracle for the real ones, which index, fold,
compact, save, and are dropped and built again.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloud.crash import never
from cloud.log.contract import Log
from cloud.log.notices import Finding, Notice
from cloud.memory.log import MemoryLog
from cloud.memory.views import MemoryViews
from cloud.store import opened as opened_store
from cloud.store import rebuild
from cloud.times import TIME_BOUND_US
from cloud.views.answers import LatestRow
from cloud.views.contract import AlarmsAsked, LatestAsked, ReadingsAsked, TargetsAsked, Views, inside
from support.cloud_batches import SECOND, START_US, Sender, Ticking, Weather, columns, opened, roster, send
from wire.batch import Lane, Snapshot
from wire.columns import Columns
from wire.device import Device, Point, Roster
from wire.entries import Alarm, ClockFix, Decision, Decisions, Gap, Health, Result
from wire.sample import Clock, Sample


class Both:
    """A log and its views."""

    def __init__(self, log: Log, views: Views) -> None:
        self.log, self.views = log, views


@pytest.fixture
def now() -> Ticking:
    return Ticking()


@pytest.fixture(params=["memory", "sqlite"])
async def cloud(request: pytest.FixtureRequest, tmp_path: Path, now: Ticking) -> AsyncIterator[Both]:
    if request.param == "memory":
        views = MemoryViews(now)
        yield Both(MemoryLog(views, now), views)
    else:
        async with opened_store(tmp_path, now) as store:
            yield Both(store.log, store.views)


async def readings(views: Views, device: str, limit: int = 5_000, **asked: Any) -> list[Any]:
    question = {"from_us": -TIME_BOUND_US, "to_us": TIME_BOUND_US, "limit": limit, **asked}
    rows: list[Any] = []
    cursor: str | None = None
    while True:
        page = await views.readings(ReadingsAsked(device=device, cursor=cursor, **question))
        if page is None:
            return ["nothing"]
        assert len(page.rows) <= limit
        rows += page.rows
        cursor = page.next
        if cursor is None:
            return rows


async def latest(views: Views, asked: LatestAsked) -> list[LatestRow]:
    found = await views.latest(asked)
    return [row async for chunk in found.chunks for row in chunk]


async def everything(views: Views, seed: int = 0) -> dict[str, Any]:
    """What views answer to all there is to ask."""
    rng = random.Random(seed)
    answers: dict[str, Any] = {}
    answers["names"] = await views.names()
    for node in (await views.nodes("", 1_000)).nodes:
        answers[node.node] = node
        answers[f"{node.node} detail"] = await views.node(node.node)
        answers[f"{node.node} kinds"] = await views.kinds(node.node)
        answers[f"{node.node} described"] = await views.described(node.node, {"a", "b", "x/1", "nobody"})
        answers[f"{node.node} fixes"] = await views.fixes(node.node)
        answers[f"{node.node} visits"] = visits = list(await views.visits(node.node, (2**62, 0), 1_000))
        comings = await views.visits(node.node, (2**62, 0), 1_000, acted=False)
        assert list(comings) == [v for v in visits if v.visit.act != "acted"]
        if visits:
            at = (visits[0].position, visits[0].seq)
            assert await views.visits(node.node, at, 1_000) == visits[1:], "goes on where it was told to"
    for kind in (None, "bin"):
        for node in (None, "cab-1", "cab-2"):
            answers[f"devices {kind} {node}"] = (await views.devices("", 1_000, kind, node)).devices
    for states in (frozenset[str](), frozenset({"cleared", "raised"})):
        asked = AlarmsAsked(states=states, limit=1_000)
        answers[f"alarms {states}"] = (await views.alarms(asked))[0]
        for limit in (1, 2):
            found: list[Any] = []
            after: tuple[str, str] | None = ("", "")
            while after is not None:
                page, after = await views.alarms(msgspec.structs.replace(asked, after=after, limit=limit))
                assert len(page) <= limit
                found += page
            assert found == list(answers[f"alarms {states}"][: len(found)])
            assert len(found) == len(answers[f"alarms {states}"])
    some = AlarmsAsked(node="cab-2", device="a", severities=frozenset({"high"}), id="al-2", limit=9)
    answers["some alarms"] = (await views.alarms(some))[0]
    answers["results"] = await views.results([f"o-{i}" for i in range(8)])
    for wanted in (
        TargetsAsked(devices=("a", "b", "nobody", "x/1")),
        TargetsAsked(),
        TargetsAsked(kind="bin"),
        TargetsAsked(node="cab-1", profile="p"),
        TargetsAsked(tag="none"),
    ):
        answers[f"{wanted}"] = await views.targets(wanted, 100)
        assert len(await views.targets(wanted, 0)) <= 1
    for part in (
        LatestAsked(),
        LatestAsked(kinds=frozenset({"bin", "lamp"}), points=frozenset({"n"})),
        LatestAsked(nodes=frozenset({"cab-2"}), alarm=True),
        LatestAsked(grades=frozenset({"bad", "uncertain"})),
        LatestAsked(alarm=False, grades=frozenset({"good"})),
        LatestAsked(box=(5.0, 47.0, 5.05, 47.5)),
        LatestAsked(tags=frozenset({"quay"}), profiles=frozenset({"p"})),
        LatestAsked(decided=True),
        LatestAsked(levels=frozenset({"technician"}), points=frozenset({"t"})),
    ):
        answers[f"{part}"] = await latest(views, part)
    for name in ("ab", "x-1", "zzz"):
        answers[f"near {name}"] = await views.near(name)
    for device in ("a", "b", "d", "x/1", "nobody"):
        for node in (None, "cab-2"):
            answers[f"{device} {node}"] = await views.device(device, node)
            answers[f"{device} {node} rows"] = await readings(views, device, node=node)
            points = rng.choice([("n",), ("t",), ("n", "t"), ("other",)])
            from_us = START_US - rng.randint(0, 100_000) * SECOND
            some = {"node": node, "points": points, "from_us": from_us, "to_us": from_us + 90_000 * SECOND}
            answers[f"{device} {node} some"] = await readings(views, device, limit=rng.choice([1, 7, 100]), **some)
    return answers


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for question, answer in expected.items():
        assert msgspec.to_builtins(found[question]) == msgspec.to_builtins(answer), question


@pytest.mark.parametrize("seed", range(2))
async def test_the_store_answers_as_memory_does(tmp_path: Path, seed: int) -> None:
    now = Ticking()
    weather = Weather(seed, now)
    oracle = MemoryViews(now)
    memory = MemoryLog(oracle, now)
    compacted = 0

    def count(batches: int) -> None:
        nonlocal compacted
        compacted += batches

    for life in range(3):
        async with opened_store(tmp_path, now) as store:
            for _ in range(45):
                now.tick(weather.rng.choice([1, 60, 3_600]))
                if weather.rng.random() < 0.05:
                    snapshot = weather.snapshot()
                    await oracle.fresh(snapshot)
                    await store.views.fresh(snapshot)
                batch = opened(weather.batch())
                one, two = await memory.append(*batch), await store.log.append(*batch)
                assert one == two
            assert_same(await everything(store.views, life), await everything(oracle, life))
            if life:
                compaction = store.compaction(6 * 3_600 * SECOND, now, never, count)
                while await compaction.step():
                    pass
                assert_same(await everything(store.views, life), await everything(oracle, life))
        await rebuild(tmp_path, lambda _done, _of: None)
    async with opened_store(tmp_path, now) as store:
        # Silence alone is not known to a process that was not there: the heard times of snapshots are gone.
        assert_same(_without_hearing(await everything(store.views)), _without_hearing(await everything(oracle)))
    assert compacted > 20


def _without_hearing(answers: dict[str, Any]) -> dict[str, Any]:
    return {
        q: msgspec.structs.replace(a, last_heard=None, silent_since=None, verdict=None)
        if hasattr(a, "last_heard")
        else a
        for q, a in answers.items()
    }


async def test_how_a_silent_node_is_nobody_knows(cloud: Both, now: Ticking) -> None:
    health = Health(time_us=now(), verdict="ok", interval_s=10)
    await cloud.log.append(*opened(Sender().batch(health, lane=Lane.URGENT)))
    for after_s, verdict in ((0, "ok"), (30, "ok"), (31, None)):
        start_us = now.now_us
        now.now_us += after_s * SECOND
        (summary,) = (await cloud.views.nodes("", 10)).nodes
        detail = await cloud.views.node("cab-1")
        assert detail is not None
        assert (summary.verdict, detail.verdict, summary.silent_since is None) == (verdict, verdict, verdict == "ok")
        assert detail.health == health  # what it said last, whenever that was
        now.now_us = start_us


async def test_applying_again_changes_nothing(cloud: Both, now: Ticking) -> None:
    weather = Weather(11, now)
    taken: list[Any] = []
    for _ in range(40):
        now.tick(60)
        batch, facts, body = opened(weather.batch())
        place = await cloud.log.append(batch, facts, body)
        taken.append((place.position, now(), batch, facts))
    before = await everything(cloud.views)
    for position, received_us, batch, facts in random.Random(1).sample(taken, len(taken)):
        await cloud.views.apply(position, received_us, batch, facts)
    assert_same(await everything(cloud.views), before)


async def test_what_cannot_be_meant_is_marked_and_no_reading_is_lost_for_it(cloud: Both, now: Ticking) -> None:
    sender = Sender()
    strange = "lamp\u202e1"
    devices = (
        Device(id=strange, kind="streetlight", profile="p", lon=200.0, lat=47.0, name=" Quai", tags=("a\n",)),
        Device(id="half", kind="streetlight", profile="p", lon=5.0),
        Device(id="nowhere", kind="streetlight", profile="p", lon=float("nan"), lat=float("nan")),
        Device(id="fine", kind="streetlight", profile="p", lon=5.0, lat=47.0),
    )
    profiles = {"p": (Point(name="n", type="int", unit="kWh"), Point(name="t", type="float", unit="Cel"))}
    said = Roster(devices=devices, profiles=profiles)
    await send(cloud.log, sender.batch(columns(strange), columns("odd\x07"), said))

    async def doubts() -> list[tuple[str, str]]:
        detail = await cloud.views.node("cab-1")
        assert detail is not None
        return [(d.whose, d.what) for d in detail.doubts]

    wrong = [
        ("device half", "lat"), (f"device {strange}", "id"), (f"device {strange}", "lon"),
        (f"device {strange}", "name"), (f"device {strange}", "tags[0]"), ("device nowhere", "lon"),
        ("device odd\x07", "id"), ("profile p", "point n unit"),
    ]  # fmt: skip
    assert await doubts() == sorted(wrong)
    assert [r.values["n"] for r in await readings(cloud.views, strange)] == [0, 1, 2]
    assert len(await readings(cloud.views, "odd\x07")) == 3
    seen = {d.id: (d.lon, d.lat) for d in (await cloud.views.devices("", 9, None, None)).devices}
    assert seen == {strange: (None, None), "half": (None, None), "nowhere": (None, None), "fine": (5.0, 47.0),
                    "odd\x07": (None, None)}  # fmt: skip
    (finding,) = await findings(cloud.log)
    assert (finding.kind, finding.node, finding.detail["doubts"]) == ("unfit", "cab-1", 8)
    assert finding.detail["first"][0]["why"].startswith("is missing: a place has both")
    await send(cloud.log, sender.batch(said, columns("odd\x07")))
    assert len(await findings(cloud.log)) == 1, "told once"
    right = Roster(devices=devices[3:], profiles={"p": profiles["p"][1:]})
    await send(cloud.log, sender.batch(right))
    assert await doubts() == [(f"device {strange}", "id"), ("device odd\x07", "id")], "their readings are still there"
    await send(cloud.log, sender.batch(msgspec.structs.replace(right, devices=(*devices[3:], devices[1]))))
    assert [f.detail["doubts"] for f in await findings(cloud.log)] == [8, 1]


async def findings(log: Log) -> list[Finding]:
    notices = [msgspec.json.decode(r.body, type=Notice) for r in await log.read(0, 1_000) if r.notice]
    return [n.finding for n in notices if n.finding is not None]


async def test_latest_is_the_greatest_time_and_not_the_last_arrival(cloud: Both, now: Ticking) -> None:
    sender = Sender()
    await send(cloud.log, sender.batch(columns(at_us=START_US, n=1, t="new")))
    await send(cloud.log, sender.batch(columns(at_us=START_US - 60 * SECOND, n=1, t="old", u="only here")))
    now.tick(90)
    detail = await cloud.views.device("lamp-001", None)
    assert detail is not None
    assert {p: v.value for p, v in detail.latest.items()} == {"n": 0, "t": "new", "u": "only here"}
    assert detail.latest["t"].age_s == 90
    assert detail.latest["u"].age_s == 150
    assert detail.latest["t"].stale is None


async def test_stale_is_what_the_profile_says(cloud: Both, now: Ticking) -> None:
    sender = Sender()
    await send(cloud.log, sender.batch(roster("lamp-001", stale_after_s=60), lane=Lane.URGENT))
    await send(cloud.log, sender.batch(columns(n=1)))
    for seconds, stale in ((59, False), (2, True)):
        now.tick(seconds)
        detail = await cloud.views.device("lamp-001", None)
        assert detail is not None
        assert (detail.latest["n"].stale, detail.latest["n"].unit) == (stale, "W")


async def test_a_clock_fix_corrects_and_reorders_what_was_estimated(cloud: Both) -> None:
    sender = Sender()
    estimated = Clock(9, synced=False)
    await send(cloud.log, sender.batch(columns(at_us=START_US - 3_600 * SECOND, n=1, clock=estimated, t="late")))
    await send(cloud.log, sender.batch(columns(at_us=START_US, n=1, t="synced")))
    detail = await cloud.views.device("lamp-001", None)
    assert detail is not None
    assert detail.latest["t"].value == "synced"
    rows = await readings(cloud.views, "lamp-001")
    assert [r.clock for r in rows] == ["estimated", "synced"]
    fix = ClockFix(boot=9, offset_us=7_200 * SECOND, error_us=1)
    await send(cloud.log, sender.batch(fix, lane=Lane.URGENT))
    detail = await cloud.views.device("lamp-001", None)
    assert detail is not None
    assert (detail.latest["t"].value, detail.latest["t"].clock) == ("late", "corrected")
    rows = await readings(cloud.views, "lamp-001", from_us=START_US)
    assert [(r.clock, r.time_us - START_US) for r in rows] == [("synced", 0), ("corrected", 3_600 * SECOND)]
    assert await readings(cloud.views, "lamp-001", to_us=START_US) == []


async def test_a_snapshot_touches_only_latest(cloud: Both, now: Ticking) -> None:
    sender = Sender()
    await send(cloud.log, sender.batch(columns(n=1, t="logged")))
    fresh = columns(at_us=START_US + 60 * SECOND, n=1, t="fresh")
    await cloud.views.fresh(Snapshot(node="cab-1", columns=[fresh]))
    detail = await cloud.views.device("lamp-001", None)
    assert detail is not None
    assert detail.latest["t"].value == "fresh"
    assert len(await readings(cloud.views, "lamp-001")) == 1
    await send(cloud.log, sender.batch(columns(at_us=START_US + 61 * SECOND, n=1, t="caught up")))
    detail = await cloud.views.device("lamp-001", None)
    assert detail is not None
    assert detail.latest["t"].value == "caught up"


async def test_a_device_moves_to_the_node_whose_roster_names_it(cloud: Both) -> None:
    one, two = Sender("cab-1"), Sender("cab-2")
    await send(cloud.log, one.batch(roster("lamp-001", "lamp-002"), lane=Lane.URGENT))
    await send(cloud.log, two.batch(roster("lamp-001"), lane=Lane.URGENT))
    seen = (await cloud.views.devices("", 10, None, None)).devices
    assert [(d.id, d.node, d.conflict) for d in seen] == [
        ("lamp-001", "cab-1", ("cab-1", "cab-2")),
        ("lamp-002", "cab-1", ()),
    ]
    for node in (await cloud.views.nodes("", 10)).nodes:
        assert [c.device for c in node.ledger.conflicts] == ["lamp-001"]
    await send(cloud.log, one.batch(roster("lamp-002"), lane=Lane.URGENT))
    seen = (await cloud.views.devices("", 10, None, None)).devices
    assert [(d.id, d.node, d.conflict) for d in seen] == [("lamp-001", "cab-2", ()), ("lamp-002", "cab-1", ())]


async def test_who_decides_is_the_last_that_was_said_of_each_point(cloud: Both, now: Ticking) -> None:
    sender = Sender()
    plan = Decision(point="dim", devices=("a", "b"), level="plan", value=40.0, by="street", until_us=now() + SECOND)
    await send(cloud.log, sender.batch(roster("a", "b"), Decisions(time_us=now(), decided=(plan,), plan="winter 7")))
    before = (await cloud.views.latest(LatestAsked())).position
    hand = Decision(point="dim", devices=("b",), level="technician", value=80.0, by="jean", order="site-1")
    await send(cloud.log, sender.batch(Decisions(time_us=now(), decided=(hand,), plan="winter 8", boot=3)))
    await send(cloud.log, sender.batch(ClockFix(boot=3, offset_us=5 * SECOND, error_us=1)))
    found = {d: await cloud.views.device(d, None) for d in ("a", "b")}
    a, b = found["a"], found["b"]
    assert a is not None
    assert b is not None
    assert (a.decided["dim"].level, a.decided["dim"].until_us) == ("plan", now() + SECOND)
    assert (b.decided["dim"].by, b.decided["dim"].clock, b.decided["dim"].time_us) == (
        "jean", "corrected", now() + 5 * SECOND,
    )  # fmt: skip
    assert a.lives_by is not None
    assert (a.lives_by.plan, a.lives_by.clock) == ("winter 8", "corrected")
    by_hand = await latest(cloud.views, LatestAsked(levels=frozenset({"technician"})))
    assert [row.device.id for row in by_hand] == ["b"]
    since = await latest(cloud.views, LatestAsked(decided=True, after=before))
    assert "b" in [row.device.id for row in since if row.now is not None and row.now.decided["dim"].by == "jean"]
    other = await cloud.views.device("nobody", None)
    assert other is None, "that a node decides something there is no claim to it"


async def test_both_claims_are_kept_under_their_nodes(cloud: Both) -> None:
    await send(cloud.log, Sender("cab-1").batch(columns(n=2, t="mine")))
    await send(cloud.log, Sender("cab-2").batch(columns(n=3, t="also mine")))
    for node, n in (("cab-1", 2), ("cab-2", 3), (None, 2)):
        rows = await readings(cloud.views, "lamp-001", node=node)
        assert len(rows) == n
        assert all(r.id.startswith(f"{node or 'cab-1'}/") for r in rows)


async def test_the_ledger_says_what_is_missing_and_pending(cloud: Both, now: Ticking) -> None:
    old = Sender(epoch=1)
    await send(cloud.log, old.batch(columns(n=3), Gap(reason="disk full", lost=17, seqs=5), ahead=4))
    now.tick(60)
    await send(cloud.log, Sender(epoch=2).batch(columns(n=2, at_us=START_US + SECOND), ahead=6))
    (node,) = (await cloud.views.nodes("", 10)).nodes
    ledger = node.ledger
    assert [(p.epoch, p.state, p.pending) for p in ledger.lanes] == [(1, "unfinished", 4), (2, "current", 6)]
    assert (ledger.pending, ledger.samples, ledger.readings) == (6, 5, 5)
    assert (ledger.missing.samples, ledger.missing.gaps, ledger.missing.unfinished_seqs) == (17, 1, 4)
    assert ledger.missing.certainty == "at_least"
    (gap,) = ledger.gaps
    assert (gap.first_seq, gap.last_seq, gap.reason) == (4, 8, "disk full")
    (unfinished,) = ledger.unfinished
    assert (unfinished.epoch, unfinished.from_seq, unfinished.to_seq_at_least) == (1, 9, 12)
    (fork,) = ledger.forks
    assert (fork.epoch, fork.into_epoch) == (1, 2)


async def test_a_node_is_silent_after_three_intervals(cloud: Both, now: Ticking) -> None:
    await send(cloud.log, Sender().batch(Health(time_us=now(), verdict="ok", interval_s=20), lane=Lane.URGENT))
    for seconds, silent in ((60, False), (1, True)):
        now.tick(seconds)
        (node,) = (await cloud.views.nodes("", 10)).nodes
        assert (node.silent_since is not None) is silent


async def test_alarms_stand_until_they_are_cleared(cloud: Both, now: Ticking) -> None:
    sender = Sender()
    for state, shown in (("raised", 1), ("acknowledged", 1), ("cleared", 0)):
        alarm = Alarm(id="a", device="lamp-001", rule="r", severity="high", state=state, raised_us=now(), time_us=now())
        await send(cloud.log, sender.batch(alarm, lane=Lane.URGENT))
        detail = await cloud.views.node("cab-1")
        assert detail is not None
        assert len(detail.alarms) == shown


async def test_times_of_a_boot_that_did_not_know_the_time_are_corrected(cloud: Both, now: Ticking) -> None:
    sender = Sender()
    alarm = Alarm(
        id="a", device="lamp-001", rule="r", severity="high", state="raised", raised_us=5, time_us=7, until_us=9, boot=3
    )
    await send(cloud.log, sender.batch(alarm, lane=Lane.URGENT))
    for clock, offset in (("estimated", 0), ("corrected", 1_000)):
        detail = await cloud.views.node("cab-1")
        assert detail is not None
        (seen,) = detail.alarms
        assert (seen.clock, seen.raised_us, seen.time_us, seen.until_us) == (clock, 5 + offset, 7 + offset, 9 + offset)
        await send(cloud.log, sender.batch(ClockFix(boot=3, offset_us=1_000, error_us=1), lane=Lane.URGENT))


async def test_each_stage_of_an_order_is_kept_as_it_was_first_said(cloud: Both, now: Ticking) -> None:
    sender, other = Sender(), Sender("cab-2")

    def result(stage: Any, detail: str) -> Result:
        return Result(order="o-1", stage=stage, time_us=now(), detail=detail)

    await send(cloud.log, sender.batch(result("accepted", "1"), result("accepted", "2"), lane=Lane.URGENT))
    await send(cloud.log, other.batch(result("verified", "not mine"), lane=Lane.URGENT))
    await send(cloud.log, sender.batch(result("failed", "3"), result("verified", "4"), lane=Lane.URGENT))
    await send(cloud.log, sender.batch(result("failed", "5"), lane=Lane.URGENT))
    said = (await cloud.views.results(["o-1", "o-2"]))["o-1"]
    assert [(node, r.stage, r.detail) for node, r in said] == [
        ("cab-1", "accepted", "1"),
        ("cab-2", "verified", "not mine"),
        ("cab-1", "failed", "3"),
        ("cab-1", "verified", "4"),
    ]


async def test_a_group_is_who_has_all_that_is_said_under_its_owner(cloud: Both) -> None:
    await send(cloud.log, Sender("cab-1").batch(roster("lamp-1", "lamp-2"), lane=Lane.URGENT))
    await send(cloud.log, Sender("cab-2").batch(roster("lamp-2", "bin-1", kind="bin"), lane=Lane.URGENT))
    for asked, expected in (
        (TargetsAsked(), [("bin-1", "cab-2"), ("lamp-1", "cab-1"), ("lamp-2", "cab-1")]),
        (TargetsAsked(kind="bin"), [("bin-1", "cab-2")]),
        (TargetsAsked(node="cab-1"), [("lamp-1", "cab-1"), ("lamp-2", "cab-1")]),
        (TargetsAsked(devices=("lamp-2", "lamp-9")), [("lamp-2", "cab-1")]),
    ):
        found = await cloud.views.targets(asked, 10)
        assert [(t.id, t.node) for t in found] == expected
        assert all(t.points[0].name == "n" for t in found)
    assert await cloud.views.near("lmap-1") == "lamp-1"
    assert await cloud.views.near("zebra") is None


async def test_pages_join_to_the_whole(cloud: Both) -> None:
    sender = Sender()
    for i in range(6):  # overlapping, out of order, two samples at the same time
        await send(cloud.log, sender.batch(columns(at_us=START_US + (i % 3) * 5 * SECOND, n=10)))
    whole = await readings(cloud.views, "lamp-001")
    assert len({r.id for r in whole}) == 60
    assert [r.time_us for r in whole] == sorted(r.time_us for r in whole)
    for limit in (1, 7, 59, 60):
        assert await readings(cloud.views, "lamp-001", limit=limit) == whole
    with pytest.raises(ValueError, match="cursor"):
        await cloud.views.readings(ReadingsAsked(device="lamp-001", cursor="12", from_us=0, to_us=1, limit=1))


async def test_devices_and_nodes_come_in_pages(cloud: Both) -> None:
    for i in range(7):
        await send(cloud.log, Sender(f"cab-{i}").batch(roster(f"lamp-{i}"), lane=Lane.URGENT))
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await cloud.views.nodes(after, 3)
        names += [n.node for n in page.nodes]
        after = page.next
    assert names == [f"cab-{i}" for i in range(7)]
    page = await cloud.views.devices("lamp-2", 2, "streetlight", None)
    assert ([d.id for d in page.devices], page.next) == (["lamp-3", "lamp-4"], "lamp-4")
    assert (await cloud.views.devices("", 9, "bin", None)).devices == ()


async def test_what_json_cannot_say_is_said_in_words(cloud: Both) -> None:
    sample = Sample("lamp-001", START_US, Clock(1, synced=True), {"x": float("nan"), "y": float("-inf"), "z": None})
    await send(cloud.log, Sender().batch(Columns.of([sample])))
    (row,) = await readings(cloud.views, "lamp-001")
    assert row.values == {"x": "NaN", "y": "-Infinity", "z": None}


async def test_what_was_never_heard_is_nobody(cloud: Both) -> None:
    assert await cloud.views.node("cab-9") is None
    assert await cloud.views.device("lamp-9", None) is None
    assert await readings(cloud.views, "lamp-9") == ["nothing"]


@pytest.mark.parametrize("seed", range(3))
async def test_what_has_changed_since_a_position_makes_the_old_answer_the_new_one(
    cloud: Both, now: Ticking, seed: int
) -> None:
    """Whatever came in between: late samples, rosters, alarms, clock fixes, snapshots."""
    weather = Weather(seed, now)
    known: dict[str, LatestRow] = {}
    position = 0
    for step in range(60):
        now.tick(60)
        if step % 7 == 3:
            samples = columns(device="a", at_us=now() - SECOND, n=1, t=f"fresh {step}")
            await cloud.views.fresh(Snapshot(node="cab-1", columns=[samples]))
        else:
            await cloud.log.append(*opened(weather.batch()))
        if step % 5:
            continue
        whole = await cloud.views.latest(LatestAsked())
        rows = {row.device.id: row for row in [r async for chunk in whole.chunks for r in chunk]}
        for row in await latest(cloud.views, LatestAsked(after=position)):
            known[row.device.id] = row
        known = {device: row for device, row in known.items() if device in rows}
        assert msgspec.to_builtins(known) == msgspec.to_builtins(rows)
        position = whole.position
    assert known


async def test_the_latest_of_all_is_the_latest_of_each(cloud: Both, now: Ticking) -> None:
    weather = Weather(5, now)
    for _ in range(80):
        now.tick(60)
        await cloud.log.append(*opened(weather.batch()))
    rows = await latest(cloud.views, LatestAsked())
    assert len(rows) >= 4
    for row in rows:
        detail = await cloud.views.device(row.device.id, None)
        assert detail is not None
        assert (row.device, row.points, row.now.values) == (
            detail.device,
            detail.points,
            {p: v.value for p, v in detail.latest.items()},
        )
        for point, value in detail.latest.items():
            assert row.now.quality.get(point, "good") == value.quality
            assert row.now.times.get(point, row.now.time) == value.time
            assert row.now.clocks.get(point, row.now.clock) == value.clock


def test_a_box_may_go_over_the_antimeridian() -> None:
    fiji, dijon = (178.0, -18.0), (5.04, 47.32)
    assert inside((170.0, -30.0, -170.0, 0.0), *fiji)
    assert inside((5.0, 47.3, 5.04, 47.4), *dijon)
    assert not inside((170.0, -30.0, -170.0, 60.0), *dijon)
    assert not inside((-180.0, -90.0, 180.0, 90.0), None, None)
