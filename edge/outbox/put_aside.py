"""Put aside: a damaged outbox is kept beside the new one, for whoever wants to know what happened.

The new file is made whole first, under a name of its own, and takes the old one's place by renaming: a node that is
killed half-way finishes that at its next start.

Bounds: the latest MAX_FILES damaged files, each cut to MAX_BYTES, with their write-ahead logs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Final

MAX_FILES: Final = 2
MAX_BYTES: Final = 32 << 20
_LOGS: Final = ("-wal", "-shm", "-journal")


def making(path: Path) -> Path:
    """The name of a new file while it is being made."""
    return path.with_name(f"{path.name}.new")


def made(path: Path) -> Path:
    """Its name when it is whole and has not taken its place yet."""
    return path.with_name(f"{path.name}.saved")


def damaged(path: Path, n: int = 0) -> Path:
    """What has been put aside: 0 is the latest."""
    return path.with_name(f"{path.name}.damaged" + (f".{n}" if n else ""))


def finish(path: Path) -> None:
    """Let a file that was made whole take its place. Nothing happens where there is none.

    Raises:
        OSError.
    """
    for end in ("", *_LOGS):
        _remove(_with(making(path), end))
    if made(path).exists():
        put_aside(path)
        made(path).replace(path)
        sync(path.parent)


def put_aside(path: Path) -> None:
    """Whatever lies at `path`, be it a file or not, goes out of the way.

    Raises:
        OSError.
    """
    if os.path.lexists(path):
        _remove(damaged(path, MAX_FILES - 1))
        for end in _LOGS:
            _remove(_with(damaged(path, MAX_FILES - 1), end))
        for n in range(MAX_FILES - 2, -1, -1):
            for end in ("", *_LOGS):
                old = _with(damaged(path, n), end)
                if os.path.lexists(old):
                    old.replace(_with(damaged(path, n + 1), end))
        path.replace(damaged(path))
        kept = damaged(path)
        if kept.is_file() and kept.stat().st_size > MAX_BYTES:
            os.truncate(kept, MAX_BYTES)
    wal = _with(path, "-wal")
    if wal.exists():
        wal.replace(_with(damaged(path), "-wal"))
    for end in _LOGS:
        _remove(_with(path, end))


def drop(path: Path) -> None:
    """Give back the room that damaged files take: the disk is full."""
    for n in range(MAX_FILES):
        for end in ("", *_LOGS):
            with contextlib.suppress(OSError):
                _remove(_with(damaged(path, n), end))


def sync(directory: Path) -> None:
    """Bring renames to the card."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _with(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
