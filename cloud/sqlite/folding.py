"""Folding: a folder over a store that another process writes, or nobody does; it only reads the store.

Its files lie in `history` beside the store's, or where one is told. One process at a time: that folder is locked.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from cloud.crash import Crash, never
from cloud.history.folded import PLACE
from cloud.history.folder import Folder
from cloud.sqlite.database import STORE, Misplaced, alone
from cloud.sqlite.hours import SqliteHours
from cloud.sqlite.readers import Readers
from cloud.times import Now, utc_us

HISTORY: Final = "history"


class FoldedElsewhere(Misplaced):
    """Another process folds it already."""


class Folding(msgspec.Struct, frozen=True):
    """The folder, and what holds its queries back, at most so many seconds, for the length of a block: see
    `cloud.sqlite.readers`."""

    folder: Folder
    pause: Callable[[float], AbstractAsyncContextManager[bool]]


@asynccontextmanager
async def folding(
    directory: Path, history: Path | None = None, now: Now = utc_us, crash: Crash = never
) -> AsyncGenerator[Folding]:
    """A folder of the store in a directory, for the length of a block. Its files lie in `history`.

    Raises:
        Misplaced: there is no store, or `history` holds what is not ours.
        FoldedElsewhere: another process folds it.
    """
    if not (directory / STORE).exists():
        raise Misplaced(f"{directory} has no store: start `lamplighter-cloud run` first")
    files = directory / HISTORY if history is None else history
    files.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(files / "_lock", os.O_RDWR | os.O_CREAT, 0o600)
    with alone(descriptor, FoldedElsewhere(f"{files} is folded by another lamplighter-cloud")):
        if not (files / PLACE).exists() and (strange := next(files.glob("day=*"), None)) is not None:
            raise Misplaced(
                f"{files} holds {strange.name}, and no {PLACE} says that it is ours: give an empty directory, or delete"
                " what is in it"
            )
        readers = Readers(directory)
        try:
            source = SqliteHours(readers)
            yield Folding(Folder(files, source, source, now, crash), readers.pause)
        finally:
            await readers.close()
