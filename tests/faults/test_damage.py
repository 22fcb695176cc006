"""Pages of the aggregator's store that are damaged, in every table: it starts and serves what it can, or says that it
cannot; and `rebuild` makes a whole store again of all that can be read, and says what is missing."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloud.cli import EXIT_LOST
from cloud.crash import never
from cloud.feed.known import NodesKnown
from cloud.feed.slices import Slices
from cloud.log.contract import Unavailable
from cloud.sqlite import schema
from cloud.store import Store, opened, rebuild
from cloud.views.contract import AlarmsAsked, ReadingsAsked
from support.cloud_batches import SECOND, START_US, Sender, Ticking, columns, roster, send
from support.laboratory import draw
from wire.batch import Lane, Snapshot
from wire.entries import Alarm, ClockFix, Gap, Health, Result

pytestmark = pytest.mark.timeout(300)

FAULT = "the aggregator's store is damaged"
NODES, MINUTES, LAMPS = 3, 40, 3
PAGE = 4_096


def silent(_done: int, _of: int) -> None:
    """Show nothing."""


async def make(directory: Path, now: Ticking) -> None:
    """A store with something in every table, part of it compacted."""
    async with opened(directory, now) as store:
        senders = [Sender(f"cab-{i}") for i in range(NODES)]
        compaction = store.compaction(600 * SECOND, now, never, lambda _batches: None)
        for minute in range(MINUTES):
            now.tick(60)
            for i, sender in enumerate(senders):
                lamps = [columns(f"lamp-{i}-{k}", now(), n=3, text="x" * 40 + str(minute)) for k in range(LAMPS)]
                await send(store.log, sender.batch(*lamps))
                if minute % 20 == 0:
                    alarm = Alarm(id=f"a{minute}", device="d", rule="r", severity="high", state="raised", raised_us=1,
                                  time_us=now())  # fmt: skip
                    health = Health(time_us=now(), verdict="ok", interval_s=60)
                    result = Result(order=f"o{minute}", stage="verified", time_us=now())
                    others = [
                        roster(*(f"lamp-{i}-{k}" for k in range(LAMPS))),
                        alarm,
                        health,
                        result,
                        Gap(reason="full", lost=1),
                    ]
                    await send(
                        store.log, sender.batch(*others, ClockFix(boot=1, offset_us=1, error_us=1), lane=Lane.URGENT)
                    )
            await store.look(now(), START_US)
        while await compaction.step():
            pass
        await store.views.fresh(Snapshot(node="cab-1", columns=[columns("lamp-1-1", now(), n=1)]))
        rng = random.Random(1)
        rows = [(f"k{i}", b"d", 1, 200, zlib.compress(rng.randbytes(900))) for i in range(40)]
        await store.writer.do(lambda c: c.executemany("INSERT INTO requests VALUES (?, ?, ?, ?, ?)", rows).rowcount)


async def seen(store: Store) -> dict[str, Any]:
    """What the API would say; what cannot be said is left out."""
    found: dict[str, Any] = {}

    async def ask(name: str, what: Any) -> None:
        try:
            found[name] = msgspec.to_builtins(await what)
        except Unavailable:
            return

    await ask("nodes", store.views.nodes("", 100))
    await ask("alarms", store.views.alarms(AlarmsAsked(limit=100)))
    for i in range(NODES):
        await ask(f"cab-{i}", store.views.node(f"cab-{i}"))
        for k in range(LAMPS):
            device = f"lamp-{i}-{k}"
            await ask(device, store.views.device(device, None))
            await ask(f"{device}:rows", store.views.readings(
                ReadingsAsked(device=device, node=None, from_us=0, to_us=2**61, points=(), limit=5_000, cursor=None)
            ))  # fmt: skip
    return found


def tables() -> list[str]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        schema.bring_up(connection, 0)
        return [n for (n,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]


def pages_of(store: Path, name: str) -> list[int]:
    """The root of a table, and the pages below it (the file format of SQLite, section 1.6)."""
    with closing(sqlite3.connect(store)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
    content = store.read_bytes()
    found, waiting = [], [root]
    while waiting:
        page = waiting.pop()
        found.append(page)
        at = (page - 1) * PAGE
        if content[at] in (2, 5):  # interior
            cells = int.from_bytes(content[at + 3 : at + 5], "big")
            waiting.append(int.from_bytes(content[at + 8 : at + 12], "big"))
            for cell in range(cells):
                pointer = int.from_bytes(content[at + 12 + 2 * cell : at + 14 + 2 * cell], "big")
                waiting.append(int.from_bytes(content[at + pointer : at + pointer + 4], "big"))
    return found


def damage(store: Path, pages: list[int], rng: random.Random) -> None:
    with store.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * PAGE)
            file.write(rng.randbytes(PAGE))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
async def data(whole: Path, tmp_path: Path) -> Path:
    if not (whole / "data").exists():
        await make(whole / "data", Ticking())
    shutil.copytree(whole / "data", tmp_path / "data")
    return tmp_path / "data"


async def before(data: Path, now: Ticking) -> dict[str, Any]:
    async with opened(data, now) as store:
        return await seen(store)


def later() -> Ticking:
    return Ticking(START_US + (MINUTES * 60 + 5) * SECOND)


@pytest.mark.parametrize(("table", "seed"), draw(FAULT, tables(), each=True))
async def test_a_table_whose_pages_are_damaged(data: Path, table: str, seed: int) -> None:
    """The root, and with it the whole table, or some of its pages."""
    now, rng = later(), random.Random(f"{table} {seed}")
    expected = await before(data, now)
    pages = pages_of(data / "store.db", table)
    damage(data / "store.db", rng.choice([pages[:1], rng.sample(pages, min(len(pages), rng.choice((1, 2, 5))))]), rng)
    try:
        async with opened(data, now) as store:
            left = await seen(store)  # nothing but Unavailable may come
    except (sqlite3.DatabaseError, Unavailable):
        left = {}  # it cannot be opened: `cloud.waiting` says so, and goes on trying
    assert left or table in {"meta", "log", "nodes", "streams", "devices"}
    told = await rebuild(data, silent)
    async with opened(data, now) as store:
        again = await seen(store)
        assert await store.readers.ask(lambda c: c.execute("PRAGMA integrity_check").fetchall()) == [("ok",)]
        assert (await send(store.log, Sender("cab-new").batch(columns("new")))).position is not None
        reach = store.log.reach()
        held = [record.position for record in await store.log.read(reach.floor, 10_000)]
        assert held == list(range(reach.floor + 1, reach.head + 1)), "the feed finds no hole"
        assert await Slices(store.log, NodesKnown(store.views), 1).get(reach.floor + 1, 0) is not None, (
            reach,
            held[:3],
            told,
        )
    if table in schema.VIEW_NAMES or table in {
        "silence",
        "texts",
        "requests",
        "orders",
        "own_alarms",
        "nodes",
        "devices",
    }:
        assert again == expected
    if table in schema.VIEW_NAMES:
        assert told.told() == []
    else:
        assert any(table in line for line in told.told()) or table in {"texts", "orders"}, told.told()


@pytest.mark.parametrize("seed", draw(FAULT))
async def test_pages_anywhere(data: Path, seed: int) -> None:
    now, rng = later(), random.Random(seed)
    count = (data / "store.db").stat().st_size // PAGE
    damage(data / "store.db", rng.sample(range(2, count + 1), rng.choice([1, 3, 10])), rng)
    try:
        async with opened(data, now) as store:
            await seen(store)
            await store.look(now(), START_US)
    except (sqlite3.DatabaseError, Unavailable):
        pass
    await rebuild(data, silent)
    async with opened(data, now) as store:
        assert await store.readers.ask(lambda c: c.execute("PRAGMA integrity_check").fetchall()) == [("ok",)]
        again = await seen(store)
        assert set(again) >= {"nodes", "alarms"}
        assert (await send(store.log, Sender("cab-new").batch(columns("new")))).position is not None
    assert (data / "replaced" / "store.db").exists()


def rebuilt(data: Path) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "cloud.cli", "rebuild", "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_verb_says_what_is_lost_and_so_does_its_exit_code(data: Path) -> None:
    damage(data / "store.db", pages_of(data / "store.db", "log")[-1:], random.Random(1))
    code, out, err = rebuilt(data)
    assert code == EXIT_LOST == 3, (out, err)
    assert re.search(r"^log: \d+ rows could not be read$", out, re.MULTILINE)
    assert "seqs are missing, and stand as gaps" in out
    assert "something is lost" in err
    code, out, err = rebuilt(data)
    assert (code, out) == (0, ""), "the store that was built is whole"
    assert "lost" not in err
    shutil.rmtree(data)
    assert rebuilt(data)[0] == 1, "nothing was built"


async def test_what_the_log_has_lost_stands_in_the_ledger(data: Path) -> None:
    now = later()
    expected = await before(data, now)
    leaves = [p for p in pages_of(data / "store.db", "log") if p != pages_of(data / "store.db", "log")[0]]
    assert len(leaves) >= 3
    damage(data / "store.db", leaves[-1:], random.Random(1))  # the newest
    told = await rebuild(data, silent)
    assert told.seqs
    async with opened(data, now) as store:
        again = await seen(store)
        for i in range(NODES):
            was, now_is = expected[f"cab-{i}"]["ledger"], again[f"cab-{i}"]["ledger"]
            lost = now_is["missing"]["samples"] - was["missing"]["samples"]
            rows = [sum(len(x[f"lamp-{i}-{k}:rows"]["rows"]) for k in range(LAMPS)) for x in (expected, again)]
            assert rows[0] - rows[1] == lost, "what is gone is told, and nothing else is"
            assert [p["through_seq"] for p in now_is["lanes"]] == [p["through_seq"] for p in was["lanes"]]
        assert sum(told.seqs.values()) > 0
    again_told = await rebuild(data, silent)
    assert again_told.told() == [], "it is whole now"
    async with opened(data, now) as store:
        assert (await seen(store))["cab-1"]["ledger"]["missing"] == again["cab-1"]["ledger"]["missing"]
