"""A disk that is full to the last byte, and one that cannot sync: told, survived, and nothing accepted is lost."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import string
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from drivers.contract import Receipt
from drivers.errors import NotStored
from edge.outbox.contract import PositionQuery
from edge.outbox.group_commit import GroupCommit
from edge.outbox.sqlite import SqliteOutbox
from stage import ROOT, Stage
from support.cloud import SmallCloud
from support.disk import Ballast, build_shim, small_disk
from wire.batch import Lane
from wire.columns import Columns
from wire.entries import Alarm, Gap
from wire.sample import Clock, Sample

HERE = Path(__file__).parent
CLOCK = Clock(1, synced=True)
DAY_US = 86_400_000_000

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    with small_disk(tmp_path / "node") as path:
        yield path


@pytest.fixture
def ballast(disk: Path) -> Iterator[Ballast]:
    with Ballast(disk) as found:
        yield found


@pytest.fixture
async def outbox(disk: Path, now: list[int]) -> AsyncIterator[SqliteOutbox]:
    async with SqliteOutbox(disk, node="cab", limit_bytes=64 << 20, now_us=lambda: now[0]) as found:
        yield found


@pytest.fixture
def now() -> list[int]:
    return [0]


def sample(n: int, *, wide: int = 3000) -> Sample:
    rng = random.Random(n)
    return Sample("lamp", n, CLOCK, {"n": n, "t": "".join(rng.choices(string.printable, k=wide))})


async def drain(outbox: SqliteOutbox, cloud: SmallCloud, lane: Lane = Lane.BULK) -> None:
    while (found := await outbox.cut(lane, 1 << 18)) is not None:
        await outbox.confirm(
            cloud.ack(found.epoch, lane) if isinstance(found, PositionQuery) else cloud.take(found.batch)
        )


def accounted(cloud: SmallCloud, accepted: Sequence[int]) -> None:
    """Every accepted number is there once, or in a gap."""
    numbers = [n for _, n in cloud.numbers()]
    assert len(numbers) == len(set(numbers)), "nothing is doubled"
    lost = sum(p.entry.lost for _, p in cloud.entries() if isinstance(p.entry, Gap))
    assert set(numbers) <= set(accepted)
    assert len(accepted) - len(numbers) == lost, "what is missing is told, and nothing else"


async def until_refused(outbox: SqliteOutbox, ballast: Ballast, accepted: list[int]) -> NotStored:
    ballast.keep_full()
    for n in range(len(accepted), len(accepted) + 3000):
        try:
            await outbox.append({Lane.BULK: [Columns.of([sample(n)])]})
        except NotStored as error:
            return error
        accepted.append(n)
    pytest.fail("the disk was never full")


async def test_a_disk_that_fills_up_by_itself_prunes_and_tells(outbox: SqliteOutbox) -> None:
    """4 MB of disk and a cap of 64: the disk is the bound, and the oldest unsent readings go."""
    cloud, accepted = SmallCloud(), list(range(1500))
    await drain(outbox, cloud)  # the cloud has told its place: nothing of what follows can be there
    for n in accepted:
        await outbox.append({Lane.BULK: [Columns.of([sample(n)])]})
    alarm = Alarm(id="a", device="d", rule="r", severity="high", state="raised", raised_us=1, time_us=1)
    await outbox.append({Lane.URGENT: [alarm]})
    await drain(outbox, cloud)
    await drain(outbox, cloud, Lane.URGENT)
    assert [p.entry for _, p in cloud.entries(Lane.URGENT)] == [alarm]
    accounted(cloud, accepted)
    numbers = [n for _, n in cloud.numbers()]
    assert numbers == list(range(numbers[0], 1500)), "the newest, without a hole"


async def test_when_even_pruning_fails_it_says_so_and_recovers(outbox: SqliteOutbox, ballast: Ballast) -> None:
    cloud, accepted = SmallCloud(), list(range(20))
    for n in accepted:
        await outbox.append({Lane.BULK: [Columns.of([sample(n)])]})
    error = await until_refused(outbox, ballast, accepted)
    assert "full" in str(error)
    with pytest.raises(NotStored):
        await outbox.append({Lane.BULK: [Columns.of([sample(9999)])]})
    assert (await outbox.depth()).pending[Lane.BULK] == len(accepted), "it can still be asked"
    await drain(outbox, cloud)
    accounted(cloud, accepted)
    ballast.drop()
    accepted += range(5000, 5020)
    for n in accepted[-20:]:
        await outbox.append({Lane.BULK: [Columns.of([sample(n)])]})
    await drain(outbox, cloud)
    accounted(cloud, accepted)
    assert (outbox.card.path.parent / "reserve.bin").stat().st_blocks > 0, "the reserve is held again"


async def test_history_that_is_due_to_go_on_a_full_disk_is_no_crash(
    outbox: SqliteOutbox, ballast: Ballast, now: list[int]
) -> None:
    """Pruning by age comes before the commit and needs room as well."""
    cloud, accepted = SmallCloud(), list(range(200))
    for n in accepted:
        await outbox.append({Lane.BULK: [Columns.of([sample(n)])]})
    await drain(outbox, cloud)
    now[0] = 30 * DAY_US
    await until_refused(outbox, ballast, accepted)
    ballast.drop()
    await outbox.append({Lane.BULK: [Columns.of([sample(len(accepted))])]})
    await drain(outbox, cloud)
    accounted(cloud, [*accepted, len(accepted)])


async def test_answers_of_the_cloud_on_a_full_disk_are_no_crash(outbox: SqliteOutbox, ballast: Ballast) -> None:
    """A fork and a quarantine write; on a full disk they say so and leave everything as it was."""
    cloud, accepted = SmallCloud(), list(range(300))
    for n in accepted:
        await outbox.append({Lane.BULK: [Columns.of([sample(n)])]})
    place = await outbox.cut(Lane.BULK, 1 << 18)
    assert isinstance(place, PositionQuery)
    await outbox.confirm(cloud.ack(place.epoch, Lane.BULK))
    cut = await outbox.cut(Lane.BULK, 1 << 19)
    assert cut is not None
    assert not isinstance(cut, PositionQuery)
    other = cloud.take(cut.batch)
    await until_refused(outbox, ballast, accepted)
    elsewhere = type(other)(**{f: getattr(other, f) for f in other.__struct_fields__} | {"digest": b"x" * 16})
    with pytest.raises(NotStored):
        await outbox.confirm(elsewhere)
    with pytest.raises(NotStored):
        await outbox.quarantine(cut.batch, "unreadable")
    ballast.drop()
    # The fork begins with one small write. Where the last bytes of the disk were enough for it, it stands, and what
    # that answer denied goes up once more under the new epoch; else nothing of it is left.
    forked = any(run.closed for run in outbox.card.runs)
    again = {s.values["n"] for p in cut.batch.entries if isinstance(p.entry, Columns) for s in p.entry.samples()}
    assert not await outbox.confirm(other), "nothing more follows from it"
    await drain(outbox, cloud)
    numbers = [n for _, n in cloud.numbers()]
    assert {n for n in numbers if numbers.count(n) > 1} == (again if forked else set())
    lost = sum(p.entry.lost for _, p in cloud.entries() if isinstance(p.entry, Gap))
    assert len(accepted) - len(set(numbers)) == lost


async def test_publishes_stay_with_their_sender_and_polls_become_one_gap(
    outbox: SqliteOutbox, ballast: Ballast
) -> None:
    cloud, accepted = SmallCloud(), list(range(20))
    for n in accepted:
        await outbox.append({Lane.BULK: [Columns.of([sample(n)])]})
    await until_refused(outbox, ballast, accepted)
    commit = GroupCommit(outbox, interval_s=5, committed=lambda _urgent, _live: None)
    publish = commit.add([sample(7000)], Receipt("mqtt", b"k"), live=False)
    polls = range(8000, 8050)
    for n in polls:
        commit.add([sample(n)], None, live=False)
    await commit.flush()
    assert isinstance(publish.exception(), NotStored), "not acknowledged"
    assert commit.refused
    assert "full" in commit.refused
    assert await outbox.recent("mqtt") == []
    ballast.drop()
    again = commit.add([sample(7000)], Receipt("mqtt", b"k"), live=False)
    await commit.flush()
    assert again.exception() is None
    assert await outbox.recent("mqtt") == [b"k"]
    await drain(outbox, cloud)
    accounted(cloud, [*accepted, 7000, *polls])
    gaps = [
        p.entry for _, p in cloud.entries() if isinstance(p.entry, Gap) and p.entry.reason == "the card took nothing"
    ]
    assert [(g.lost, g.from_us, g.to_us, g.devices) for g in gaps] == [(50, 8000, 8049, ("lamp",))]


HISTORY = 300


async def with_history(directory: Path) -> None:
    """A node that has been there for a while: without acked history, the oldest unsent readings would have to go."""
    async with SqliteOutbox(directory, node="cab-faults", limit_bytes=64 << 20) as outbox:
        for n in range(HISTORY):
            old = sample(n)
            await outbox.append({Lane.BULK: [Columns.of([Sample("old", n, CLOCK, {"t": old.values["t"]})])]})


def test_the_node_on_a_disk_that_somebody_else_fills(
    tmp_path: Path, disk: Path, ballast: Ballast, need: Callable[[str], str]
) -> None:
    """The whole node: MQTT is held back and comes again, polls are counted, everything drains afterwards."""
    need("mosquitto")
    stage = Stage(tmp_path, HERE / "scene.toml", HERE / "node.toml", "cab-faults")
    try:
        stage.make_tokens()
        stage.start_cloud()
        stage.start_street()
        asyncio.run(with_history(disk))
        stage.start_node()
        wait_for(lambda: stage.health()["outbox_entries"] < HISTORY, "the history is history")
        time.sleep(1)
        ballast.keep_full()
        began = time.time()
        wait_for(lambda: stage.health()["verdict"] == "failed", "the node says that it keeps nothing")
        answer = stage.http.get(stage.health_url)
        assert answer.status_code == 503
        assert "nothing can be kept" in answer.json()["reasons"][0]
        time.sleep(1.5)
        ballast.drop()
        wait_for(lambda: stage.health()["verdict"] != "failed", "the node is well again")
        ended = time.time()
        time.sleep(1)
        stage.hush()
        found = stage.settle(lambda c: not any(d.startswith("bin") for d, *_ in c.lost))
        assert (found.doubled, found.wrong, found.unknown) == (0, 0, 0), found.examples
        assert [lost for lost in found.lost if lost[0].startswith("bin")] == [], "no publish is lost"
        assert all(began - 1 <= us / 1e6 <= ended + 1 for *_, us in found.lost), "polls only while it was full"
        missing = stage.get("/v1/nodes/cab-faults")["ledger"]["missing"]
        assert missing["samples"] == len(found.lost) > 0, "and the city knows exactly how many"
        assert stage.health()["counters"]["line_restarts"] == 0
    finally:
        ballast.drop()
        stage.close()


def test_the_node_starts_on_a_full_disk(
    tmp_path: Path, disk: Path, ballast: Ballast, need: Callable[[str], str]
) -> None:
    """Killed and started again while there is no room: it runs, says what is wrong, and goes on when there is room."""
    need("mosquitto")
    stage = Stage(tmp_path, HERE / "scene.toml", HERE / "node.toml", "cab-faults")
    try:
        stage.make_tokens()
        stage.start_cloud()
        stage.start_street()
        stage.start_node().kill()
        ballast.fill()
        assert (disk / "reserve.bin").exists()
        stage.start_node()
        wait_for(lambda: stage.health()["last_ack_s"] is not None, "it talks to the city")
        ballast.drop()
        wait_for(lambda: stage.health()["counters"]["samples_committed"] > 0, "it keeps readings again")
    finally:
        ballast.drop()
        stage.close()


def wait_for(what: Callable[[], object], words: str, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {words}"
        time.sleep(0.05)


# ---- a disk that cannot sync -------------------------------------------------------------------------------------

WRITER = """
import asyncio, sys
from pathlib import Path
from drivers.errors import NotStored
from edge.outbox.sqlite import SqliteOutbox
from wire.batch import Lane
from wire.columns import Columns
from wire.sample import Clock, Sample

async def main():
    async with SqliteOutbox(Path(sys.argv[1]), node="cab", limit_bytes=64 << 20, now_us=lambda: 0) as outbox:
        print("open", flush=True)
        for line in sys.stdin:
            n = int(line)
            try:
                await outbox.append({Lane.BULK: [Columns.of([Sample("lamp", n, Clock(1, synced=True), {"n": n})])]})
                print("kept", flush=True)
            except NotStored as error:
                print("refused", error, flush=True)

asyncio.run(main())
"""


class Writer:
    """A process that appends what it is told to."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        assert self.answer() == "open"

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def append(self, n: int) -> str:
        assert self.process.stdin is not None
        print(n, file=self.process.stdin, flush=True)
        return self.answer()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


async def held(directory: Path) -> list[Any]:
    cloud = SmallCloud()
    async with SqliteOutbox(directory, node="cab", limit_bytes=64 << 20, now_us=lambda: 0) as outbox:
        await drain(outbox, cloud)
    return [n for _, n in cloud.numbers()]


@pytest.mark.parametrize("killed", ["while it fails", "after it recovered"])
async def test_a_disk_that_cannot_sync(tmp_path: Path, need: Callable[[str], str], killed: str) -> None:
    broken = tmp_path / "broken"
    shim = build_shim(tmp_path, need("gcc"))
    writer = Writer(tmp_path / "node", {"LD_PRELOAD": str(shim), "FAIL_SYNC": str(broken)})
    try:
        kept = [n for n in range(10) if writer.append(n) == "kept"]
        assert kept == list(range(10))
        broken.touch()
        answers = [writer.append(n) for n in range(100, 105)]
        assert all(a.startswith("refused the card refuses") for a in answers), answers
        if killed == "after it recovered":
            broken.unlink()
            kept += [n for n in range(10, 20) if writer.append(n) == "kept"]
            assert kept == list(range(20))
    finally:
        writer.kill()
    found = await held(tmp_path / "node")
    # A commit whose sync failed was refused, and may be there all the same after a crash: never half, never twice.
    assert [n for n in found if n < 100] == kept
    assert len(found) == len(set(found))
    if killed == "after it recovered":
        assert found == kept
