"""What is read of a damaged card: everything but what is damaged."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edge.outbox.records import row_key
from edge.outbox.salvage import SalvageReport, salvage
from edge.outbox.sqlite import SqliteOutbox
from support.card_damage import flip_key
from wire.batch import Lane
from wire.sample import Clock, Sample

ROWS = 100
CLOCK = Clock(1, synced=True)


@pytest.fixture(scope="module")
def whole_card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A card with ROWS rows of the lane bulk, one sample each, of which the city has none."""
    directory = tmp_path_factory.mktemp("card")

    async def live() -> None:
        async with SqliteOutbox(directory, node="cab", limit_bytes=16 << 20, now_us=lambda: 0) as outbox:
            for n in range(ROWS):
                await outbox.append({Lane.BULK: [Sample("lamp", 1000 + n, CLOCK, {"n": n})]})

    asyncio.run(live())
    with closing(sqlite3.connect(directory / "outbox.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return directory / "outbox.db"


@pytest.fixture
def card(whole_card: Path, tmp_path: Path) -> Path:
    """One of its own."""
    return Path(shutil.copy(whole_card, tmp_path))


def leaf(card: Path, table: str) -> tuple[int, int]:
    """Where a leaf page of a table lies, not the last one: (offset, size)."""
    with closing(sqlite3.connect(card)) as db:
        query = "SELECT pageno, pgsize FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path LIMIT 1"
        number, size = db.execute(query, (table,)).fetchone()
    return (number - 1) * size, size


def saved(card: Path) -> tuple[SalvageReport, list[int]]:
    """What a salvage says, and the last seqs of the rows that it has saved."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as into:
        found = salvage(card, into, mark=None, boot=0, limit_bytes=16 << 20, history_bytes=0)
        query = "SELECT id FROM rows WHERE id NOT IN (SELECT id FROM holes) AND id > ?"
        return found, [id_ & 0xFFFFFFFF for (id_,) in into.execute(query, (row_key(2, 0),))]


@pytest.mark.parametrize("bit", range(7))
def test_of_a_row_whose_key_is_another_only_that_row_is_lost(card: Path, bit: int) -> None:
    offset, size = leaf(card, "rows")
    flip_key(card, offset, size, cell=5, bit=bit)
    found, rows = saved(card)
    assert len(rows) == ROWS - 1
    assert found.rows == ROWS - 1
    assert found.seqs_lost == 1


@pytest.mark.parametrize("bit", range(7))
def test_keys_of_runs_that_do_not_rise_are_no_endless_road(card: Path, bit: int) -> None:
    offset, size = leaf(card, "runs")
    flip_key(card, offset, size, cell=1, bit=bit)
    saved(card)
