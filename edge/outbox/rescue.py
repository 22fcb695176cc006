"""Rescue: a new file takes the place of one that is damaged, or is none.

Bounds: those of `edge.outbox.salvage` and `edge.outbox.put_aside`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge.outbox import put_aside
from edge.outbox.database import PAGE_BYTES
from edge.outbox.mark import CardMark
from edge.outbox.salvage import SalvageReport, salvage

HISTORY_PART: Final = 0.5  # of the limit: the most history that is saved from a damaged file


def look(path: Path, mark: CardMark | None) -> tuple[bool, str | None]:
    """Put aside what is no file. Whether the write-ahead log of a life that was cut short has gone, and what became of
    what was no file.

    Raises:
        OSError.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        found = None
        if os.path.lexists(path):  # a link to nowhere
            put_aside.put_aside(path)
    if found is not None and not stat.S_ISREG(found.st_mode):
        what = f"{path.name} was no file and is now {put_aside.damaged(path).name}"
        put_aside.put_aside(path)
        return False, what
    wal = path.with_name("outbox.db-wal")
    if (found is None or not found.st_size) and wal.exists():
        put_aside.put_aside(path)  # SQLite would delete it
    lost = found is not None and found.st_size and mark is not None and not mark.closed and not wal.exists()
    return bool(lost), None


def make_new(
    path: Path, mark: CardMark | None, *, boot: int, limit_bytes: int, moved: Callable[[], None], spare: bool = False
) -> SalvageReport:
    """Put a new file in the place of a damaged one, which is kept beside, with all that can be read of it. `moved` is
    called as it goes on; `spare` does without history, and without what was put aside before.

    Raises:
        OSError, sqlite3.Error: the card does not take it.
    """
    if spare:
        put_aside.drop(path)
        (path.parent / "reserve.bin").unlink(missing_ok=True)
    new = put_aside.making(path)
    new.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as into:
        into.execute(f"PRAGMA page_size={PAGE_BYTES}")
        into.execute("PRAGMA journal_mode=OFF")  # until it has taken its place it is nothing
        into.execute("PRAGMA synchronous=OFF")
        found = salvage(
            path,
            into,
            mark=mark,
            boot=boot,
            limit_bytes=limit_bytes,
            history_bytes=0 if spare else int(limit_bytes * HISTORY_PART),
            moved=moved,
        )
    with new.open("rb+") as file:
        os.fsync(file.fileno())
    new.replace(put_aside.made(path))
    put_aside.sync(path.parent)
    put_aside.finish(path)
    return found
