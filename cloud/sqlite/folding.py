"""Folding: a folder over a store that another process writes, or nobody does; it only reads the store.

Its files lie in `history` beside the store's. One process at a time: that folder is locked.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from cloud.crash import Crash, never
from cloud.history.folder import Folder
from cloud.sqlite.database import STORE, Misplaced, alone
from cloud.sqlite.hours import SqliteHours
from cloud.sqlite.readers import Readers
from cloud.times import Now, utc_us

HISTORY: Final = "history"


@asynccontextmanager
async def folding(directory: Path, now: Now = utc_us, crash: Crash = never) -> AsyncGenerator[Folder]:
    """A folder of the store in a directory, for the length of a block.

    Raises:
        Misplaced: there is no store, or another process folds it.
    """
    if not (directory / STORE).exists():
        raise Misplaced(f"{directory} has no store: start `lamplighter-cloud run` first")
    files = directory / HISTORY
    files.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(files / "_lock", os.O_RDWR | os.O_CREAT, 0o600)
    with alone(descriptor, Misplaced(f"{files} is folded by another lamplighter-cloud")):
        readers = Readers(directory)
        try:
            source = SqliteHours(readers)
            yield Folder(files, source, source, now, crash)
        finally:
            await readers.close()
