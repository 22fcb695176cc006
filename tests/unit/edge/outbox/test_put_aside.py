"""Damaged files are kept beside, and no more than that; a node killed half-way ends with the new file."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.outbox import put_aside


def names(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


def test_the_latest_two_are_kept_with_their_logs(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    for n in range(4):
        path.write_text(f"{n}")
        path.with_name("outbox.db-wal").write_text(f"log {n}")
        path.with_name("outbox.db-shm").write_text("index")
        put_aside.put_aside(path)
    kept = ["outbox.db.damaged", "outbox.db.damaged-wal", "outbox.db.damaged.1", "outbox.db.damaged.1-wal"]
    assert names(tmp_path) == kept
    assert (tmp_path / "outbox.db.damaged").read_text() == "3"
    assert (tmp_path / "outbox.db.damaged.1-wal").read_text() == "log 2"


def test_they_are_cut_to_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(put_aside, "MAX_BYTES", 100)
    (tmp_path / "outbox.db").write_bytes(bytes(1000))
    put_aside.put_aside(tmp_path / "outbox.db")
    assert (tmp_path / "outbox.db.damaged").stat().st_size == 100


@pytest.mark.parametrize("left", [("outbox.db", "outbox.db-wal"), ("outbox.db-wal",), ()])
def test_a_new_file_takes_its_place_at_the_next_start(tmp_path: Path, left: tuple[str, ...]) -> None:
    """Killed before the old file was moved, between it and its log, or after."""
    path = tmp_path / "outbox.db"
    for name in left:
        (tmp_path / name).write_text("old")
    put_aside.made(path).write_text("new")
    put_aside.finish(path)
    assert path.read_text() == "new"
    assert not (tmp_path / "outbox.db-wal").exists(), "the old file's log would be taken for the new one's"
    assert not put_aside.made(path).exists()


def test_a_file_that_is_half_made_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    path.write_text("old")
    put_aside.making(path).write_text("half")
    put_aside.finish(path)
    assert names(tmp_path) == ["outbox.db"]


def test_a_directory_is_put_aside_too_and_room_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    path.mkdir()
    (path / "x").write_text("y")
    put_aside.put_aside(path)
    assert names(tmp_path) == ["outbox.db.damaged"]
    put_aside.drop(path)
    assert names(tmp_path) == []
