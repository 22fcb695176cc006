"""Files are there whole, or as they were."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from groundwork.files import write_atomically


def test_a_file_is_written_with_its_mode_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "one"
    write_atomically(path, b"first")
    write_atomically(path, b"second", mode=0o644)
    assert path.read_bytes() == b"second"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ["one"]


def test_what_cannot_be_written_leaves_it_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "one"
    write_atomically(path, b"first")

    def broken(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        write_atomically(path, b"second")
    monkeypatch.undo()
    assert path.read_bytes() == b"first"
    write_atomically(path, b"third")
    assert [p.name for p in tmp_path.iterdir()] == ["one"]
