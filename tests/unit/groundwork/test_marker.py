"""The marker stands while a process runs, and tells the next one when it did not end as it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundwork.marker import MAX_WHY, Marker, Stood, oom_kills


def marker(directory: Path, *, boot: int = 1, oom: int = 3) -> Marker:
    return Marker(directory / "runs.json", boot, lambda: oom)


def test_a_process_that_ended_as_it_should_leaves_nothing(tmp_path: Path) -> None:
    one = marker(tmp_path)
    assert one.begin() is None
    one.end()
    assert list(tmp_path.iterdir()) == []
    assert marker(tmp_path).begin() is None


def test_one_that_was_killed_leaves_what_it_was(tmp_path: Path) -> None:
    marker(tmp_path).begin()
    again = marker(tmp_path, boot=2, oom=4)
    assert again.begin() == Stood(1, 3)
    assert again.begin() is None, "a second life of the same process"
    assert marker(tmp_path).begin() == Stood(2, 4)


def test_one_that_fails_says_why(tmp_path: Path) -> None:
    one = marker(tmp_path)
    one.failed("it has not begun: what stands there is another's")
    assert list(tmp_path.iterdir()) == []
    one.begin()
    one.failed("x" * 2 * MAX_WHY)
    assert marker(tmp_path).begin() == Stood(1, 3, "x" * MAX_WHY)


def test_one_that_could_not_begin_takes_nothing_away(tmp_path: Path) -> None:
    marker(tmp_path).begin()
    marker(tmp_path).end()
    assert marker(tmp_path).begin() is not None


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff", b" " * 10_000])
def test_what_is_damaged_is_none(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "runs.json").write_bytes(text)
    assert marker(tmp_path).begin() is None


def test_where_it_cannot_be_written_the_process_runs(tmp_path: Path) -> None:
    one = Marker(tmp_path / "nowhere" / "runs.json", 1)
    assert one.begin() is None
    one.end()


def test_the_kernel_counts() -> None:
    assert oom_kills() >= 0
