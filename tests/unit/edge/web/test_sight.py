"""What pages see of the card: they wait for it a moment, and one thread at a time looks."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from edge.outbox.reading import CardError
from edge.outbox.sqlite import SqliteOutbox
from edge.sampling.quality_history import BAD, GOOD, QualityHistory
from edge.web import sight
from edge.web.sight import MAX_KEPT, Days, recall
from wire.batch import Lane
from wire.columns import Columns
from wire.sample import Clock, Sample, bad

NOW_US = 1_795_000_000_000_000
CLOCK = Clock(1, synced=True)


class Card:
    """One that hangs until it is let go."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.looks: list[str] = []
        self.broken = False

    def glance(self, _path: Path, device: str, _from_us: int, _to_us: int) -> list[Columns]:
        self.looks.append(device)
        assert self.free.wait(20)
        if self.broken:
            raise CardError("it is gone")
        return [Columns.of([Sample(device, NOW_US, CLOCK, {"a": 1}, {})])]


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    found = Card()
    monkeypatch.setattr(sight, "glance", found.glance)
    monkeypatch.setattr(sight, "ANSWER_S", 0.001)
    return found


async def settled(days: Days) -> None:
    while days._asked:
        await asyncio.wait(list(days._asked.values()))


async def test_a_page_does_not_wait_for_a_card_that_hangs(card: Card) -> None:
    days = Days(lambda: Path("x"), lambda: NOW_US)
    try:
        assert [await days.of(f"lamp-{n % 3}") for n in range(30)] == [None] * 30
        assert len(card.looks) == 1, "one thread, however many ask"
    finally:
        card.free.set()
    await settled(days)
    assert sorted(card.looks) == ["lamp-0", "lamp-1", "lamp-2"]
    found = await days.of("lamp-1")
    assert found is not None
    assert found[0].device == "lamp-1"
    assert len(card.looks) == 3, "and it is kept"


async def test_who_asks_for_many_devices_is_bounded(card: Card) -> None:
    days = Days(lambda: Path("x"), lambda: NOW_US)
    for n in range(50):
        await days.of(f"lamp-{n}")
    assert len(days._asked) == MAX_KEPT
    card.free.set()
    await settled(days)
    assert len(days._kept) == MAX_KEPT


async def test_a_card_that_cannot_be_read_or_is_not_there_has_no_day(card: Card) -> None:
    card.free.set()
    card.broken = True
    for path in (Path("x"), None):
        days = Days(lambda path=path: path, lambda: NOW_US)
        await days.of("lamp")
        await settled(days)
        assert await days.of("lamp") == ()


async def test_after_a_start_the_last_day_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sight, "SHARE", 1.0)
    async with SqliteOutbox(tmp_path, node="cab", limit_bytes=32 << 20, now_us=lambda: NOW_US) as outbox:
        for hours, quality in ((2, {}), (1, {"a": bad("no answer")})):
            sample = Sample("lamp", NOW_US - hours * 3_600_000_000, CLOCK, {"a": None if quality else 1}, quality)
            await outbox.append({Lane.BULK: [sample]})
    history = QualityHistory(lambda: NOW_US)
    history.expect(["lamp"])
    await recall(history, tmp_path / "outbox.db", [], NOW_US)
    found = history.slots("lamp", 10)
    assert (found[-9], found[-5]) == (GOOD, BAD)
    await recall(history, tmp_path / "none.db", [], NOW_US)
    assert history.slots("lamp", 10) == found
