"""A card that gives back other bytes than were written: whatever it damages, the node goes on, sends nothing twice and
nothing altered, and tells what it has lost. Each kind of damage is tried with its seeds.
"""

from __future__ import annotations

import asyncio
import copy
import os
import random
import shutil
import sqlite3
import string
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from drivers.contract import Receipt
from edge.outbox.contract import PositionQuery
from edge.outbox.sqlite import SqliteOutbox
from support.card_damage import flip_key
from support.cloud import SmallCloud
from support.laboratory import draw
from wire.batch import Lane, Predecessor
from wire.entries import Alarm, Gap
from wire.sample import Clock, Sample

FAULT = "the node's card is damaged"
RUNNING = ("rows, a leaf", "rows, a body", "rows, the root", "kept", "receipts", "anywhere")
CLOCK = Clock(1, synced=True)
HISTORY, SENT, WAITING = 60, 20, 120  # rows that the city has, that it has without the node knowing, that it has not
ALARMS = 12

pytestmark = pytest.mark.timeout(400)


def text(n: int) -> str:
    rng = random.Random(n)
    return "".join(rng.choices(string.printable, k=rng.choice((3, 60, 900))))


def sample(n: int) -> Sample:
    return Sample("lamp", 1000 + n, CLOCK, {"n": n, "t": text(n)})


def box(directory: Path) -> SqliteOutbox:
    return SqliteOutbox(directory, node="cab", limit_bytes=16 << 20, now_us=lambda: 0)


class Life:
    """What a node did before the damage."""

    def __init__(self) -> None:
        self.cloud = SmallCloud()
        self.accepted: list[int] = []
        self.kept: dict[str, bytes] = {}
        self.receipts: list[bytes] = []
        self.alarms: list[str] = []

    async def append(self, outbox: SqliteOutbox, count: int) -> None:
        for _ in range(count):
            n = len(self.accepted)
            key = f"alarm/{n % 40}"
            value = text(n).encode()
            await outbox.append({Lane.BULK: [sample(n)]}, [Receipt("mqtt", b"k%d" % n)], {key: value})
            self.accepted.append(n)
            self.receipts.append(b"k%d" % n)
            self.kept[key] = value

    async def live(self, directory: Path) -> None:
        """Live, and be killed: the files lie as they were in the directory `killed` beside."""
        async with box(directory) as outbox:
            await self.append(outbox, HISTORY)
            await drain(outbox, self.cloud)
            await self.append(outbox, SENT)
            while (cut := await outbox.cut(Lane.BULK, 4096)) is not None:
                assert not isinstance(cut, PositionQuery)
                self.cloud.take(cut.batch)  # the answer is lost: the node does not know how far the city is
                break
            await self.append(outbox, WAITING)
            for n in range(ALARMS):
                alarm = Alarm(id=f"a{n}", device="d", rule="r", severity="high", state="raised", raised_us=1, time_us=n)
                await outbox.append({Lane.URGENT: [alarm]})
                self.alarms.append(alarm.id)
            shutil.copytree(directory, directory.with_name("killed"))


async def drain(outbox: SqliteOutbox, cloud: SmallCloud, lane: Lane = Lane.BULK) -> None:
    for _ in range(1000):
        found = await outbox.cut(lane, 1 << 18)
        if found is None:
            return
        before = (
            cloud.ack(found.epoch, lane).through_seq if isinstance(found, PositionQuery) else found.batch.first_seq - 1
        )
        answer = cloud.ack(found.epoch, lane) if isinstance(found, PositionQuery) else cloud.take(found.batch)
        assert isinstance(found, PositionQuery) or answer.through_seq > before, "the city takes it"
        await outbox.confirm(answer)
    pytest.fail("it never ends")


# ---- damage ------------------------------------------------------------------------------------------------------


def pages(path: Path, table: str, kind: str = "") -> list[tuple[int, int]]:
    """Where the pages of a table lie in the file: (offset, size)."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = db.execute("PRAGMA page_size").fetchone()[0]
        if table == "free":
            used = {n for (n,) in db.execute("SELECT pageno FROM dbstat")}
            return [(size * (n - 1), size) for n in range(1, path.stat().st_size // size + 1) if n not in used]
        found = db.execute("SELECT pageno, pagetype, path FROM dbstat WHERE name = ?", (table,)).fetchall()
    match kind:
        case "root":
            return [(size * (n - 1), size) for n, _, where in found if where == "/"]
        case "":
            return [(size * (n - 1), size) for n, *_ in found]
        case _:
            return [(size * (n - 1), size) for n, of, where in found if of == kind and where != "/"]


def spoil(path: Path, offset: int, size: int, rng: random.Random) -> None:
    """One of the ways in which cards fail."""
    with path.open("r+b") as file:
        file.seek(offset)
        old = file.read(size)
        how = rng.randrange(5)
        if how == 0:
            new = bytes(size)
        elif how == 1:
            new = rng.randbytes(size)
        elif how == 2:
            new = b"\xff" * size
        elif how == 3:  # some bits
            changed = bytearray(old)
            for _ in range(rng.randint(1, 8)):
                changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            new = bytes(changed)
        else:  # another page of the same file, written to the wrong place
            file.seek(512 * rng.randrange(path.stat().st_size // 512))
            new = file.read(size).ljust(size, b"\0")
        file.seek(offset)
        file.write(new)


def in_table(table: str, kind: str = "") -> Callable[[Path, random.Random], None]:
    def damage(directory: Path, rng: random.Random) -> None:
        found = pages(directory / "outbox.db", table, kind)
        for offset, size in rng.sample(found, k=min(len(found), rng.choice((1, 1, 2, 5)))):
            spoil(directory / "outbox.db", offset, size, rng)

    return damage


def key_in(table: str) -> Callable[[Path, random.Random], None]:
    def damage(directory: Path, rng: random.Random) -> None:
        path = directory / "outbox.db"
        offset, size = rng.choice(pages(path, table, "leaf") or pages(path, table))
        flip_key(path, offset, size, cell=rng.randrange(1000), bit=rng.randrange(7))

    return damage


def anywhere(directory: Path, rng: random.Random) -> None:
    path = directory / "outbox.db"
    pages(path, "free")  # folds the log back
    size = rng.choice((512, 1024, 4096))
    for _ in range(rng.choice((1, 3, 10))):
        spoil(path, size * rng.randrange(max(1, path.stat().st_size // size)), size, rng)


def header(directory: Path, rng: random.Random) -> None:
    spoil(directory / "outbox.db", 0, 100, rng)


def in_the_log(directory: Path, rng: random.Random) -> None:
    path = directory / "outbox.db-wal"
    for _ in range(rng.choice((1, 3))):
        spoil(path, 512 * rng.randrange(path.stat().st_size // 512), 512, rng)


def no_log(directory: Path, _rng: random.Random) -> None:
    (directory / "outbox.db-wal").unlink()


def short_log(directory: Path, rng: random.Random) -> None:
    path = directory / "outbox.db-wal"
    os.truncate(path, rng.randrange(path.stat().st_size))


def index_of_log(directory: Path, rng: random.Random) -> None:
    (directory / "outbox.db-shm").write_bytes(rng.randbytes(32768))


def empty(directory: Path, _rng: random.Random) -> None:
    (directory / "outbox.db").write_bytes(b"")


def short(directory: Path, rng: random.Random) -> None:
    path = directory / "outbox.db"
    pages(path, "free")
    os.truncate(path, rng.randrange(path.stat().st_size))


def noise(directory: Path, rng: random.Random) -> None:
    (directory / "outbox.db").write_bytes(rng.randbytes(20_000))


def a_directory(directory: Path, _rng: random.Random) -> None:
    (directory / "outbox.db").unlink()
    (directory / "outbox.db").mkdir()
    (directory / "outbox.db" / "something").write_text("else")


def gone(directory: Path, _rng: random.Random) -> None:
    (directory / "outbox.db").unlink()
    (directory / "outbox.db-wal").unlink()


def the_mark(directory: Path, rng: random.Random) -> None:
    spoil(directory / "outbox.mark", 0, 512, rng)


DAMAGE: Mapping[str, Callable[[Path, random.Random], None]] = {
    "rows, a leaf": in_table("rows", "leaf"),
    "rows, a body": in_table("rows", "overflow"),
    "rows, an interior page": in_table("rows", "internal"),
    "rows, the root": in_table("rows", "root"),
    "rows, a key": key_in("rows"),
    "kept": in_table("kept"),
    "kept, the root": in_table("kept", "root"),
    "receipts": in_table("receipts"),
    "runs": in_table("runs"),
    "runs, a key": key_in("runs"),
    "quarantine": in_table("quarantine"),
    "the schema": in_table("sqlite_schema"),
    "free pages": in_table("free"),
    "the header": header,
    "anywhere": anywhere,
    "the log": in_the_log,
    "no log": no_log,
    "a log cut short": short_log,
    "the index of the log": index_of_log,
    "an empty file": empty,
    "a file cut short": short,
    "noise": noise,
    "a directory": a_directory,
    "no file": gone,
    "the mark": the_mark,
}


# ---- what must hold ----------------------------------------------------------------------------------------------


def unknown(end: Predecessor | None) -> bool:
    """Whether the ledger says that the run before is unfinished."""
    return end is None or not end.whole


def lost_by_gaps(cloud: SmallCloud, lane: Lane) -> int:
    return sum(p.entry.lost for _, p in cloud.entries(lane) if isinstance(p.entry, Gap))


async def check(life: Life, directory: Path, told_before: str | None = None) -> None:
    """Start, keep, send; then ask whether everything is there, or told."""
    cloud = life.cloud
    async with box(directory) as outbox:
        kept, receipts = await outbox.kept(""), list(await outbox.recent("mqtt"))
        told = outbox.card.damaged or told_before
        assert set(kept.items()) <= set(life.kept.items()) or told, "nothing has changed unseen"
        older = {(f"alarm/{n % 40}", text(n).encode()) for n in life.accepted}
        assert set(kept.items()) <= older, "never a value that was not kept"
        if kept != life.kept:
            assert told, "what has gone is told"
        assert set(receipts) <= set(life.receipts)
        if receipts != life.receipts:
            assert told, "what has gone is told"
        await outbox.newest()
        _ = [c async for c in outbox.history(0, 2**62)]
        before = len(life.accepted)
        await life.append(outbox, 10)
        await drain(outbox, cloud)
        await drain(outbox, cloud, Lane.URGENT)
        told = outbox.card.damaged or told_before
        aside = (await outbox.depth()).quarantined
        ends = {
            lane: outbox.card.runs.predecessor(next(r for r in outbox.card.runs if r.lane is lane and not r.closed))
            for lane in Lane
        }
        epochs = {r.epoch for r in outbox.card.runs}
        assert (await outbox.depth()).pending[Lane.BULK] == 0

    numbers = [n for _, n in cloud.numbers()]
    assert len(numbers) == len(set(numbers)), "nothing is doubled"
    assert set(numbers) <= set(life.accepted)
    texts = {n: t for (_, n), (_, t) in zip(cloud.numbers(), cloud.numbers("t"), strict=True)}
    assert all(t == text(n) for n, t in texts.items()), "nothing is altered"
    assert set(life.accepted[before:]) <= set(numbers), "what came afterwards is there"
    missing = len(life.accepted) - len(numbers)
    assert missing == lost_by_gaps(cloud, Lane.BULK) or (unknown(ends[Lane.BULK]) and told), (
        f"{missing} are missing, {lost_by_gaps(cloud, Lane.BULK)} told, in {len(epochs)} epochs; {told}"
    )
    alarms = [p.entry.id for _, p in cloud.entries(Lane.URGENT) if isinstance(p.entry, Alarm)]
    assert len(alarms) == len(set(alarms))
    missing = len(life.alarms) - len(alarms)
    assert missing == lost_by_gaps(cloud, Lane.URGENT) or (unknown(ends[Lane.URGENT]) and told), (missing, told)
    if lost_by_gaps(cloud, Lane.BULK):
        assert told or aside

    async with box(directory) as outbox:  # and once more: now it is sound
        assert outbox.card.damaged is None, outbox.card.damaged
        await drain(outbox, cloud)
        assert [n for _, n in cloud.numbers()] == numbers
    assert_bounded(directory)


def assert_bounded(directory: Path) -> None:
    aside = [p for p in directory.iterdir() if ".damaged" in p.name and p.name[-4:] not in ("-wal", "-shm")]
    assert len(aside) <= 2
    assert not list(directory.glob("*.new*")) + list(directory.glob("*.saved*"))


@pytest.fixture(scope="module")
def one_life(tmp_path_factory: pytest.TempPathFactory) -> tuple[Life, Path]:
    """Lived once, for it takes a while; and where its files lie."""
    directory, life = tmp_path_factory.mktemp("life") / "data", Life()
    asyncio.run(life.live(directory))
    return life, directory.with_name("killed")


@pytest.fixture
def life(one_life: tuple[Life, Path], tmp_path: Path) -> Life:
    shutil.copytree(one_life[1], tmp_path / "data")
    return copy.deepcopy(one_life[0])


@pytest.mark.parametrize(("kind", "seed"), draw(FAULT, tuple(DAMAGE), each=True))
async def test_whatever_is_damaged_it_goes_on_and_tells(life: Life, tmp_path: Path, kind: str, seed: int) -> None:
    DAMAGE[kind](tmp_path / "data", random.Random(f"{kind} {seed}"))
    await check(life, tmp_path / "data")


@pytest.mark.parametrize(("kind", "seed"), draw(FAULT, RUNNING, each=True))
async def test_what_is_damaged_while_the_node_runs_is_no_different(
    life: Life, tmp_path: Path, kind: str, seed: int
) -> None:
    """SQLite meets it on some later read or write."""
    directory = tmp_path / "data"
    rng = random.Random(f"{kind} {seed} running")
    async with box(directory) as outbox:
        await outbox.card.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        await outbox.card.db.execute("PRAGMA cache_size=1")
        DAMAGE[kind](directory, rng)
        await life.append(outbox, 5)
        await drain(outbox, life.cloud)
        await outbox.depth()
        numbers = [n for _, n in life.cloud.numbers()]
        assert len(numbers) == len(set(numbers)), "nothing is doubled"
        told = outbox.card.damaged
    await check(life, directory, told)
