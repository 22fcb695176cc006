"""Shrink: the store's file without the pages that are free in it.

What compaction and pruning free is used again, so the file is as large as what it has ever held at once, and does not
grow beyond. Giving the room back to the disk is worth it once, after a flood: with the aggregator stopped, as it copies
everything. The new file takes the old one's place in one step, whole and synced; before that nothing has changed.

Bound: as much room is needed beside the store as what is in it takes.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from cloud.sqlite import database
from cloud.sqlite.database import STORE, Misplaced
from groundwork.files import sync

LOOK_STEPS: Final = 1_000_000  # of SQLite's machine, between two looks at how far it is


def shrink(directory: Path, progress: Callable[[int, int], None]) -> tuple[int, int]:
    """Bytes before and after.

    Raises:
        Misplaced: the directory is in use, holds no store, or has no room for it.
    """
    with database.locked(directory):
        store, new = directory / STORE, directory / f".{STORE}.new"
        if not store.exists():
            raise Misplaced(f"{directory} holds no store")
        try:
            new.unlink(missing_ok=True)
            with closing(database.connect(directory)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                sizes = database.sizes(directory)
                needed = sizes.store - sizes.free
                if needed > sizes.disk_free:
                    raise Misplaced(f"{directory} has {sizes.disk_free >> 20} MiB free; {needed >> 20} MiB are needed")

                def look() -> None:
                    progress(new.stat().st_size if new.exists() else 0, needed)

                connection.set_progress_handler(look, LOOK_STEPS)
                connection.execute("VACUUM INTO ?", (str(new),))
            with closing(sqlite3.connect(new)) as made:
                made.execute("PRAGMA journal_mode = DELETE")
            shutil.copymode(store, new)
            sync(new)
            new.replace(store)
            sync(directory)
        except sqlite3.Error as error:
            raise Misplaced(f"{directory}: {error}") from error
        finally:
            new.unlink(missing_ok=True)
        return sizes.store, store.stat().st_size
