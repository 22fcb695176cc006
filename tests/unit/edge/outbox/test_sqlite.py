"""The outbox on a card: what only it can get wrong. The contract itself is tested in tests/conformance."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
import sqlite3
import string
import tempfile
from collections.abc import Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from drivers.contract import Receipt
from drivers.errors import NotStored
from edge.outbox.card import MIN_LIMIT_BYTES, PAGE_BYTES, WAL_PAGES
from edge.outbox.contract import Cut, Place
from edge.outbox.joiner import ROWS_APART
from edge.outbox.sealing import ROW_BYTES
from edge.outbox.sqlite import SqliteOutbox
from support.cloud import SmallCloud
from support.examples import many
from wire import codec, frame
from wire.batch import Ack, Lane, Placed
from wire.columns import Columns
from wire.entries import Alarm, Gap, Health
from wire.sample import Clock, Sample

CLOCK = Clock(1, synced=True)
T = TypeVar("T")
DAY_US = 86_400_000_000


def columns(numbers: range, *, wide: int = 0, at_us: int = 0) -> Columns:
    rng = random.Random(numbers[0])
    text = "".join(rng.choices(string.printable, k=wide))  # what zstd cannot make small
    return Columns.of([Sample("lamp", at_us + n, CLOCK, {"n": n, "t": f"{n}{text}"}) for n in numbers])


async def drain(outbox: SqliteOutbox, cloud: SmallCloud, limit: int = 1 << 20, lane: Lane = Lane.BULK) -> None:
    while (found := await outbox.cut(lane, limit)) is not None:
        answer = cloud.ack(found.epoch, lane) if isinstance(found, Place) else cloud.take(found.batch)
        await outbox.confirm(answer)


def box(path: Path, **more: Any) -> SqliteOutbox:
    return SqliteOutbox(path, **{"node": "cab", "limit_bytes": 64 << 20, "now_us": lambda: 0, **more})


async def test_two_processes_cannot_share_it(tmp_path: Path) -> None:
    async with box(tmp_path):
        with pytest.raises(RuntimeError, match="another node"):
            await box(tmp_path).__aenter__()
    async with box(tmp_path):
        pass


async def test_what_was_accepted_is_there_after_opening_again(tmp_path: Path) -> None:
    cloud = SmallCloud()
    async with box(tmp_path) as outbox:
        await outbox.append({Lane.BULK: [columns(range(3))]})
        await drain(outbox, cloud)
        await outbox.append({Lane.BULK: [columns(range(3, 5))]})
    async with box(tmp_path) as outbox:
        assert (await outbox.depth()).pending[Lane.BULK] == 2, "the ack was written down on closing"
        assert outbox.card.last_known_us == 4
        await drain(outbox, cloud)
    assert [n for _, n in cloud.numbers()] == [0, 1, 2, 3, 4]
    assert len({epoch for epoch, _ in cloud.numbers()}) == 1


async def test_a_card_that_went_back_is_found_out_also_after_a_second_start_without_an_answer(tmp_path: Path) -> None:
    cloud = SmallCloud()
    async with box(tmp_path / "card") as outbox:
        await outbox.append({Lane.BULK: [columns(range(11))]})
        shutil.copytree(tmp_path / "card", tmp_path / "older")
        await outbox.append({Lane.BULK: [columns(range(11, 15))]})
        for run in outbox.card.runs:
            await outbox.confirm(cloud.ack(run.epoch, run.lane))
        found = await outbox.cut(Lane.BULK, 1)
        assert isinstance(found, Cut)
        assert found.batch.head_seq == 15
        cloud.take(found.batch)
    for numbers in (range(20, 24), range(24, 27)):  # beyond all that the cloud was told of
        async with box(tmp_path / "older") as outbox:
            await outbox.append({Lane.BULK: [columns(numbers)]})
    async with box(tmp_path / "older") as outbox:
        await drain(outbox, cloud)
        await drain(outbox, cloud)
        old, new = (r for r in outbox.card.runs if r.lane is Lane.BULK)
        assert (old.closed, old.whole, new.closed) == (True, False, False)
        assert [n for epoch, n in cloud.numbers() if epoch == new.epoch] == list(range(20, 27))


@pytest.mark.parametrize("answered", [False, True], ids=["the city is far", "the city has answered"])
async def test_a_card_that_is_pulled_out_of_a_running_node_has_not_gone_back(tmp_path: Path, answered: bool) -> None:
    cloud = SmallCloud()
    async with box(tmp_path / "0") as outbox:
        await outbox.append({Lane.BULK: [columns(range(3))]})
        await drain(outbox, cloud)
    for at in range(3):
        async with box(tmp_path / f"{at}") as outbox:
            await outbox.append({Lane.BULK: [columns(range(3 + at, 4 + at))]})
            if answered:
                while isinstance(found := await outbox.cut(Lane.BULK, 1000), Place):
                    await outbox.confirm(cloud.ack(found.epoch, Lane.BULK))
                assert found is not None
                cloud.take(found.batch)  # its answer never comes
            shutil.copytree(tmp_path / f"{at}", tmp_path / f"{at + 1}")
    async with box(tmp_path / "3") as outbox:
        await drain(outbox, cloud)
        assert [n for _, n in cloud.numbers()] == list(range(6))
        assert len({epoch for epoch, _ in cloud.numbers()}) == 1


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


async def test_a_row_that_was_sent_keeps_its_end(tmp_path: Path) -> None:
    """The cloud may have taken a batch whose ack never came: its place must still be found."""
    cloud = SmallCloud()
    async with box(tmp_path, limit_bytes=MIN_LIMIT_BYTES + (1 << 20)) as outbox:
        place = await outbox.cut(Lane.BULK, 1)
        assert isinstance(place, Place)
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


async def test_a_card_that_refuses_everything_says_so_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with box(tmp_path) as outbox:
        await outbox.append({Lane.BULK: [columns(range(2))]})

        async def refuse(*_: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        with monkeypatch.context() as patched:
            patched.setattr(outbox.card, "save_runs", refuse)
            with pytest.raises(NotStored, match="disk I/O error"):
                await outbox.append({Lane.BULK: [columns(range(2, 4))]})
        assert (await outbox.depth()).pending[Lane.BULK] == 2, "nothing of it is believed"
        await outbox.append({Lane.BULK: [columns(range(2, 4))]})
        cloud = SmallCloud()
        await drain(outbox, cloud)
    assert [n for _, n in cloud.numbers()] == [0, 1, 2, 3]


async def test_room_for_pruning_is_held_back(tmp_path: Path) -> None:
    async with box(tmp_path):
        assert (tmp_path / "reserve.bin").stat().st_blocks > 0


def test_a_cap_that_is_too_small_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=str(MIN_LIMIT_BYTES)):
        box(tmp_path, limit_bytes=MIN_LIMIT_BYTES - 1)
    assert 2 * WAL_PAGES * PAGE_BYTES <= MIN_LIMIT_BYTES


async def test_rows_are_split_before_they_outgrow_a_body(tmp_path: Path) -> None:
    """400 publishes of 4 KiB in one commit."""
    cloud, rng = SmallCloud(), random.Random(1)
    samples = [
        Sample("bin", n, CLOCK, {"n": n, "t": "".join(rng.choices(string.printable, k=4096))}) for n in range(400)
    ]
    async with box(tmp_path) as outbox:
        await outbox.append({Lane.BULK: [Columns.of(samples)]})
        sizes = [len(body) for (body,) in await outbox.card.all("SELECT body FROM rows")]
        assert len(sizes) > 4
        assert max(sizes) <= ROW_BYTES
        await drain(outbox, cloud, 64 << 10)
    assert [n for _, n in cloud.numbers()] == list(range(400))


def table_of(ticks: object, order: object = (0, 0)) -> bytes:
    """A whole frame with a row of two samples in it, but for what is given."""
    table = [0, ["n"], ["lamp-001"], [0, 2], list(order), [1, ticks], [[[0, 7]]]]  # type: ignore[call-overload]
    body = {"v": 1, "clocks": [[1, True]], "seated": False, "tables": [table], "entries": []}
    return frame.squeeze(frame.dumps(body))


@pytest.mark.parametrize(
    "body",
    [
        bytes(50),
        table_of([1, "no array"]),
        table_of([2, [0, 5]]),
        table_of([0, 5], order=(0, 3)),
        table_of(None),
        codec.encode_row([Placed((1, 0), columns(range(2)))]),
    ],
    ids=["no frame", "no array", "a short vector", "another row's order", "no vector", "seated"],
)
async def test_a_damaged_row_is_set_aside_and_the_rest_goes_on(tmp_path: Path, body: bytes) -> None:
    cloud = SmallCloud()
    async with box(tmp_path) as outbox:
        for n in range(4):
            await outbox.append({Lane.BULK: [columns(range(2 * n, 2 * n + 2))]})
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as db, db:
        db.execute("UPDATE rows SET body = ? WHERE id = (SELECT min(id) + 2 FROM rows)", (body,))
    async with box(tmp_path) as outbox:
        await drain(outbox, cloud)
        assert (await outbox.depth()).quarantined == 1
    assert [n for _, n in cloud.numbers()] == [0, 1, 4, 5, 6, 7]
    (gap,) = [p.entry for _, p in cloud.entries() if isinstance(p.entry, Gap)]
    assert (gap.lost, gap.seqs, "damaged" in gap.reason) == (2, 2, True)


async def test_a_file_that_cannot_be_read_is_kept_beside_and_the_node_goes_on(tmp_path: Path) -> None:
    async with box(tmp_path) as outbox:
        await outbox.append({Lane.BULK: [columns(range(3))]})
    (tmp_path / "outbox.db").write_bytes(b"no database at all" * 1000)
    cloud = SmallCloud()
    async with box(tmp_path) as outbox:
        assert outbox.card.damaged is not None
        await outbox.append({Lane.BULK: [columns(range(3, 5))]})
        await drain(outbox, cloud)
    assert [n for _, n in cloud.numbers()] == [3, 4]
    assert (tmp_path / "outbox.db.damaged").exists()


async def test_receipts_of_a_quiet_source_outlive_a_busy_one(tmp_path: Path) -> None:
    async with box(tmp_path) as outbox:
        await outbox.append({}, [Receipt("quiet", b"%d" % i) for i in range(10)])
        for batch in range(6):
            await outbox.append({}, [Receipt("busy", b"%d" % (batch * 1500 + i)) for i in range(1500)])
        assert len(await outbox.recent("quiet")) == 10
        assert (await outbox.recent("busy"))[-1] == b"8999"
        held = (await outbox.card.all("SELECT count(*) FROM receipts"))[0][0]
        assert held <= 10 + 4096 + 1500


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


@pytest.mark.slow
async def test_a_fork_stays_within_the_cap_and_survives_a_crash_half_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = SmallCloud()
    limit = 12 << 20
    async with box(tmp_path, limit_bytes=limit) as outbox:
        for n in range(1500):
            await outbox.append({Lane.BULK: [columns(range(n, n + 1), wide=3000)]})
        place = await outbox.cut(Lane.BULK, 1)
        assert isinstance(place, Place)
        elsewhere = Ack(
            generation=1, epoch=place.epoch, lane=Lane.BULK, through_seq=7, digest=b"x" * 16, accepts=(1,), server_us=0
        )
        moves = 0
        move = outbox._move_some

        async def die_soon(run_id: int) -> None:
            nonlocal moves
            moves += 1
            if moves > 3:
                raise sqlite3.OperationalError("the power went")
            await move(run_id)

        monkeypatch.setattr(outbox, "_move_some", die_soon)
        with pytest.raises(NotStored):
            await outbox.confirm(elsewhere)
        files = sum(f.stat().st_size for f in tmp_path.iterdir() if f.name.startswith("outbox.db"))
        assert files <= limit
    async with box(tmp_path, limit_bytes=limit) as outbox:
        await outbox.append({Lane.BULK: [columns(range(1500, 1501))]})
        await drain(outbox, cloud)
    numbers = sorted(n for _, n in cloud.numbers())
    assert numbers == list(range(1501)), "nothing is lost, and nothing is twice"


async def test_a_backlog_is_opened_in_a_process_that_does_not_hold_the_card(tmp_path: Path) -> None:
    cloud = SmallCloud()
    async with box(tmp_path) as outbox:
        await drain(outbox, cloud)
        for n in range(ROWS_APART + 5):
            await outbox.append({Lane.BULK: [columns(range(n, n + 1))]})
        cut = await outbox.cut(Lane.BULK, 1 << 20)
        assert isinstance(cut, Cut)
        pid = outbox.opener.pid
        assert pid is not None
        held = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        assert not any(name.startswith(str(tmp_path)) for name in held)
        await drain(outbox, cloud)
    assert not Path(f"/proc/{pid}").exists()
    assert [n for _, n in cloud.numbers()] == list(range(ROWS_APART + 5))


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


class OutboxMachine(RuleBasedStateMachine):
    """The outbox against a plain list: whatever happens, the cloud ends with the list, in order, once."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = uvloop.new_event_loop()
        self.accepted: list[int] = []
        self.kept: dict[str, bytes] = {}
        self.cloud = SmallCloud()
        self.epochs = itertools.count(1)
        self.late: list[Any] = []

    def do(self, what: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(what)

    @initialize(data=st.data())
    def start(self, data: st.DataObject) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="outbox"))
        self.open()

    def open(self) -> None:
        self.outbox = box(self.path, epoch=lambda: next(self.epochs))
        self.do(self.outbox.__aenter__())

    @rule(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3))
    def append(self, sizes: list[int]) -> None:
        entries = []
        for size in sizes:
            first = len(self.accepted)
            self.accepted.extend(range(first, first + size))
            entries.append(columns(range(first, first + size)))
        self.do(self.outbox.append({Lane.BULK: entries}))

    @rule(changes=st.dictionaries(st.sampled_from("abc"), st.none() | st.binary(max_size=3), min_size=1))
    def keep(self, changes: dict[str, bytes | None]) -> None:
        """State that goes with an entry."""
        first = len(self.accepted)
        self.accepted.append(first)
        self.do(self.outbox.append({Lane.BULK: [columns([first])]}, (), changes))
        for key, value in changes.items():
            self.kept.pop(key, None)
            if value is not None:
                self.kept[key] = value

    @invariant()
    def what_is_kept_is_known_again(self) -> None:
        if hasattr(self, "outbox"):
            assert self.do(self.outbox.kept("")) == self.kept

    @rule(limit=st.sampled_from([1, 200, 1 << 20]), heard=st.booleans(), later=st.booleans())
    def push(self, limit: int, heard: bool, later: bool) -> None:
        """A batch goes up; its answer may be lost, or be heard late."""
        found = self.do(self.outbox.cut(Lane.BULK, limit))
        if found is None:
            return
        ack = self.cloud.ack(found.epoch, Lane.BULK) if isinstance(found, Place) else self.cloud.take(found.batch)
        if later:
            self.late.append(ack)
        elif heard:
            assert not self.do(self.outbox.confirm(ack)), "no fork without a disaster"

    @precondition(lambda self: self.late)
    @rule(which=st.integers(0, 100))
    def hear_late(self, which: int) -> None:
        """An old answer: it may move the outbox back, never lose or double anything."""
        assert not self.do(self.outbox.confirm(self.late.pop(which % len(self.late))))

    @rule()
    def close_and_open(self) -> None:
        self.do(self.outbox.__aexit__())
        self.open()

    @rule()
    def crash(self) -> None:
        """The process dies: what counts is what lies on the card now."""
        for name in ("outbox.db", "outbox.db-wal"):
            if (self.path / name).exists():
                shutil.copy(self.path / name, self.path / f"{name}.copy")
        self.do(self.outbox.__aexit__())
        for name in ("outbox.db", "outbox.db-wal", "outbox.db-shm"):
            (self.path / name).unlink(missing_ok=True)
        for name in ("outbox.db", "outbox.db-wal"):
            if (self.path / f"{name}.copy").exists():
                (self.path / f"{name}.copy").rename(self.path / name)
        self.open()

    @rule()
    def restore_nothing(self) -> None:
        """The cloud's store is restored from a backup that is as new as itself: only the generation changes."""
        self.cloud.generation += 1
        self.late.clear()

    @invariant()
    def nothing_is_ever_doubled(self) -> None:
        numbers = [n for _, n in self.cloud.numbers()]
        assert numbers == self.accepted[: len(numbers)]

    def teardown(self) -> None:
        if not hasattr(self, "outbox"):
            return
        self.do(drain(self.outbox, self.cloud))
        assert [n for _, n in self.cloud.numbers()] == self.accepted
        assert len({epoch for epoch, _ in self.cloud.numbers()}) <= 1
        self.do(self.outbox.__aexit__())
        self.loop.close()
        shutil.rmtree(self.path)


OutboxMachine.TestCase.settings = settings(max_examples=many(25), stateful_step_count=30, deadline=None)
OutboxMachine.TestCase.pytestmark = pytest.mark.slow
TestOutboxMachine = OutboxMachine.TestCase
