"""What people did, told from a card: all of it, and only as far back as was asked."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from edge.outbox import recounting
from edge.outbox.reading import CardError
from edge.outbox.recounting import recount
from edge.outbox.sqlite import SqliteOutbox
from wire.batch import Lane
from wire.entries import Health, Result, Visit

START_US = 1_795_000_000_000_000
MINUTE_US = 60_000_000


def visit(n: int) -> Visit:
    return Visit(visit="v", by="Léa", act="acted", time_us=START_US + n * MINUTE_US + 1, detail=f"{n}")


async def fill(directory: Path, minutes: int, *, lane: Lane = Lane.URGENT) -> Path:
    """A report of health every minute, and something done in every fifth."""
    async with SqliteOutbox(directory, node="cab", limit_bytes=32 << 20, now_us=lambda: START_US) as outbox:
        for n in range(minutes):
            await outbox.append({lane: [Health(time_us=START_US + n * MINUTE_US, verdict="ok")]})
            if n % 5 == 0:
                result = Result(order="site-1", stage="accepted", time_us=START_US + n * MINUTE_US + 2)
                await outbox.append({lane: [visit(n), result]})
    return directory / "outbox.db"


def details(path: Path, from_us: int) -> list[str]:
    return [e.detail for e in recount(path, from_us).entries if isinstance(e, Visit)]


async def test_all_of_it_is_told_oldest_first(tmp_path: Path) -> None:
    card = await fill(tmp_path, 20)
    found = recount(card, START_US - 1)
    assert [type(e) for e in found.entries] == [Visit, Result] * 4
    assert details(card, START_US - 1) == ["0", "5", "10", "15"]
    assert (found.since_us, found.more) == (START_US, False), "the card goes back no further"


async def test_what_is_older_is_neither_told_nor_gone_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = await fill(tmp_path, 20)
    from_us = START_US + 10 * MINUTE_US
    opened: list[bytes] = []
    monkeypatch.setattr(recounting, "stretch", lambda body: opened.append(body) or b"")
    assert recount(card, from_us).since_us == from_us
    assert len(opened) == 12, "ten minutes of health, and two rows of what was done"
    monkeypatch.undo()
    assert details(card, from_us) == ["10", "15"]


async def test_a_run_of_before_goes_on_where_the_newer_one_begins(tmp_path: Path) -> None:
    card = await fill(tmp_path, 6)
    with sqlite3.connect(card) as file:  # as after a closed epoch: a later run of the same lane
        (run,) = file.execute("SELECT max(id) FROM runs WHERE lane = 'urgent'").fetchone()
        later = run + 10
        file.execute(
            "INSERT INTO runs SELECT ?, lane, epoch + 1, held_from, base, acked, told, closed, NULL FROM runs"
            " WHERE id = ?",
            (later, run),
        )
        (first,) = file.execute("SELECT min(id) FROM rows WHERE id > ?", (run << 44 | 3,)).fetchone()
        file.execute(
            "UPDATE rows SET id = id + ?, sum = NULL WHERE id >= ? AND id <= ?",
            (10 << 44, first, run << 44 | 2**44 - 1),
        )
    assert details(card, START_US - 1) == ["0", "5"]


async def test_bounds_keep_the_newest_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = await fill(tmp_path, 20)
    monkeypatch.setattr(recounting, "MAX_FOUND", 3)
    found = recount(card, START_US - 1)
    assert (found.more, [e.detail for e in found.entries if isinstance(e, Visit)]) == (True, ["10", "15"])
    monkeypatch.setattr(recounting, "MAX_FOUND", 100)
    monkeypatch.setattr(recounting, "MAX_ROWS", 6)
    found = recount(card, START_US - 1)
    assert (found.more, [e.detail for e in found.entries if isinstance(e, Visit)]) == (True, ["15"])


async def test_a_row_that_is_not_as_it_was_written_is_left_out(tmp_path: Path) -> None:
    card = await fill(tmp_path, 6)
    with sqlite3.connect(card) as file:
        (key,) = file.execute("SELECT max(id) FROM rows WHERE from_us IS NULL").fetchone()
        file.execute("UPDATE rows SET body = zeroblob(length(body)) WHERE id = ?", (key,))
    assert details(card, START_US - 1) == ["0"]


async def test_an_empty_card_has_nothing_and_none_is_an_error(tmp_path: Path) -> None:
    card = await fill(tmp_path, 0)
    assert (recount(card, 0).since_us, recount(card, 0).entries) == (None, ())
    with pytest.raises(CardError):
        recount(tmp_path / "nowhere.db", 0)
    (tmp_path / "noise").write_bytes(b"SQLite format 3\0" + b"x" * 4_000)
    with pytest.raises(CardError):
        recount(tmp_path / "noise", 0)
