"""A day of history, thinned out: enough for a picture, and never all of it."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest

from edge.outbox import skimming
from edge.outbox.reading import CardError
from edge.outbox.skimming import EVERY_US, MAX_STEPS, glance, survey
from edge.outbox.sqlite import SqliteOutbox
from wire.batch import Lane
from wire.sample import Clock, Sample, bad

CLOCK = Clock(1, synced=True)
DAY_US = 86_400_000_000
START_US = 1_795_000_000_000_000
ROW_US = 20_000_000
ROWS = 200


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("card")
    asyncio.run(fill(directory))
    return directory / "outbox.db"


@pytest.fixture
def card(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path))


async def fill(directory: Path) -> None:
    """A row of two lamps each ROW_US, a bin in every 97th, one row of another lamp's trouble, and an older day."""
    async with SqliteOutbox(directory, node="cab", limit_bytes=32 << 20, now_us=lambda: START_US) as outbox:
        await outbox.append({Lane.BULK: [Sample("lamp-1", START_US - 5 * DAY_US, CLOCK, {"a": -1}, {})]})
        for n in range(ROWS):
            time_us = START_US + n * ROW_US
            samples = [Sample(f"lamp-{i}", time_us, CLOCK, {"a": n}, {}) for i in (1, 2)]
            if n % 97 == 0:
                samples.append(Sample("bin-1", time_us, CLOCK, {"fill": n}, {"fill": bad("x")}))
            await outbox.append({Lane.BULK: samples})


def test_a_glance_has_one_row_in_each_step(card: Path) -> None:
    found = glance(card, "lamp-1", START_US, START_US + DAY_US)
    steps = ROWS * ROW_US // (DAY_US // MAX_STEPS) + 1
    assert len(found) == steps
    assert {c.device for c in found} == {"lamp-1"}
    times = [c.times[0] for c in found]
    assert times == sorted(times)
    assert times[0] == START_US, "what is older is not gone through"
    assert found[1].cells["a"].values(1) == [(times[1] - START_US) // ROW_US]


def test_a_device_that_speaks_seldom_is_found_wherever_it_spoke(card: Path) -> None:
    found = glance(card, "bin-1", START_US, START_US + DAY_US)
    assert [c.cells["fill"].values(1) for c in found] == [[n] for n in range(0, ROWS, 97)]
    assert glance(card, "nobody", START_US, START_US + DAY_US) == []


def test_a_survey_looks_at_some_rows_and_at_all_of_the_seldom(card: Path) -> None:
    def devices(seldom: list[str]) -> list[str]:
        return [d for t in survey(card, START_US, START_US + DAY_US, seldom) for d in t.devices]

    some = devices([])
    assert some.count("lamp-1") == ROWS * ROW_US // EVERY_US + 1
    assert some.count("bin-1") < len(range(0, ROWS, 97))
    assert devices(["bin-1"]).count("bin-1") == len(range(0, ROWS, 97))


def test_what_is_damaged_is_left_out(card: Path) -> None:
    with sqlite3.connect(card) as file:
        (key,) = file.execute("SELECT id FROM rows WHERE from_us >= ? ORDER BY id LIMIT 1", (START_US,)).fetchone()
        file.execute("UPDATE rows SET body = zeroblob(length(body)) WHERE id = ?", (key,))
    found = glance(card, "lamp-1", START_US, START_US + DAY_US)
    assert found[0].times[0] == START_US + ROW_US


def test_a_card_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="cannot be read"):
        glance(tmp_path / "none.db", "lamp-1", 0, 1)
    with pytest.raises(CardError):
        next(survey(tmp_path / "none.db", 0, 1, []))


def test_keys_come_page_by_page(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [c.times for c in glance(card, "lamp-1", START_US, START_US + DAY_US)]
    monkeypatch.setattr(skimming, "PAGE", 7)
    assert [c.times for c in glance(card, "lamp-1", START_US, START_US + DAY_US)] == whole
