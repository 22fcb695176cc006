"""Backup and restore: copies of a store that nodes and feed readers can tell from the real thing.

A backup is taken while the store is used and is one consistent state. It holds `store.db` and `tokens.db`, says in
itself that it is a copy, and lacks the generation that stands beside a store: so a restored store draws a new and
greater one, whichever way it was put back. Tokens
are restored only where there are none: a restore must not make a revoked token valid again.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from cloud import database
from cloud.database import STORE
from cloud.times import Now
from cloud.tokens import TOKENS

STEP_PAGES: Final = 2_048  # so many pages at a time, so that writers get in between


class CannotRestore(Exception):
    """The text says why."""


def back_up(directory: Path, target: Path) -> None:
    """Copy the store into an empty or new directory.

    Raises:
        CannotRestore: there is no store, or something is in the way.
    """
    if not (directory / STORE).exists():
        raise CannotRestore(f"{directory} holds no store")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise CannotRestore(f"{target} is not empty")
    for name in (TOKENS, STORE):
        if (directory / name).exists():
            with closing(sqlite3.connect(directory / name)) as source, closing(sqlite3.connect(target / name)) as copy:
                source.backup(copy, pages=STEP_PAGES)
            (target / name).chmod(0o600)
    with closing(sqlite3.connect(target / STORE)) as copy, copy:
        database.put_meta(copy, "copy", 1)


def restore(directory: Path, source: Path, now: Now) -> int:
    """Put a backup in the place of the store, and return the new generation. What was there is kept as `replaced`.

    Raises:
        CannotRestore: the source is no backup.
        Misplaced: the store is in use.
    """
    with database.locked(directory):
        if not (source / STORE).exists():
            raise CannotRestore(f"{source} holds no {STORE}")
        beside = directory / "replaced"
        beside.mkdir(mode=0o700, exist_ok=True)
        for suffix in ("", "-wal", "-shm"):
            held = directory / f"{STORE}{suffix}"
            if held.exists():
                held.replace(beside / held.name)
        shutil.copyfile(source / STORE, directory / STORE)
        (directory / STORE).chmod(0o600)
        if not (directory / TOKENS).exists() and (source / TOKENS).exists():
            shutil.copyfile(source / TOKENS, directory / TOKENS)
            (directory / TOKENS).chmod(0o600)
        with closing(database.connect(directory)) as connection:
            database.put_meta(connection, "copy", 1)  # whoever made it
            return database.settle_generation(connection, directory, now).generation
