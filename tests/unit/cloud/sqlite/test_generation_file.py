"""The file beside the store: a disk that does not take or give it is no fault of ours, and no end of the aggregator."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloud.log.contract import Unavailable
from cloud.sqlite import backup
from cloud.sqlite.database import GENERATION
from cloud.sqlite.errors import FULL_BYTES, may_pass, why
from cloud.store import opened
from support.cloud_batches import Ticking


@contextmanager
def unreadable(directory: Path) -> Generator[None]:
    """Neither read nor replaced, also by root."""
    file = directory / GENERATION
    content = file.read_bytes()
    file.unlink()
    file.mkdir()
    (file / "something").touch()
    yield
    (file / "something").unlink()
    file.rmdir()
    file.write_bytes(content)


async def test_a_generation_that_cannot_be_written_is_not_drawn(tmp_path: Path) -> None:
    async with opened(tmp_path, Ticking()) as store:
        first = store.log.generation
        with unreadable(tmp_path), pytest.raises(Unavailable, match=GENERATION):
            await store.log.draw(first + 5, "cab-1", first + 4)
        assert store.log.generation == first
        await store.log.draw(first + 5, "cab-1", first + 4)
        assert store.log.generation == first + 5


async def test_upkeep_is_told_that_the_file_cannot_be_read(tmp_path: Path) -> None:
    async with opened(tmp_path, Ticking()) as store:
        with unreadable(tmp_path), pytest.raises(Unavailable, match=GENERATION):
            await store.tend()
        await store.tend()


@pytest.mark.parametrize("content", [b"\xff\xfe 7", b"", b"1 2 3", b"\xd9\xa1 \xd9\xa2", b"7 " + b"9" * 40])
async def test_one_that_holds_something_else_counts_as_none(tmp_path: Path, content: bytes) -> None:
    async with opened(tmp_path, Ticking()) as store:
        first = store.log.generation
    (tmp_path / GENERATION).write_bytes(content)
    async with opened(tmp_path, Ticking()) as store:
        assert store.log.generation > first


def test_what_it_waits_for_is_named_as_what_it_is() -> None:
    """A disk that is read-only as it is opened: the error within says so, not the one around it."""
    refused = Unavailable("generation: read-only")
    refused.__cause__ = OSError(errno.EROFS, "Read-only file system")
    passing = may_pass(refused)
    assert passing is not None
    assert "read-only" in why(passing, 2 * FULL_BYTES)["en"]


async def test_a_restore_that_cannot_be_ended_says_why(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with opened(data, Ticking()):
        pass
    backup.back_up(data, tmp_path / "copy")
    with unreadable(data), pytest.raises(backup.CannotRestore, match=GENERATION):
        backup.restore(data, tmp_path / "copy", Ticking())
    assert backup.restore(data, tmp_path / "copy", Ticking()) > 0
