"""Backup and restore: copies of a store that nodes and feed readers can distinguish from the original.

A backup is taken while the store is used and is one consistent state. It holds `store.db` and `tokens.db`, says in
itself that it is a copy, and lacks the generation that stands beside a store: so a restored store draws a new and
greater one, whichever way it was put back. Tokens are restored only where there are none: a restore must not make a
revoked token valid again.

One read transaction spans the whole copy (in WAL mode it holds up no writer): without it SQLite's backup begins anew
with every commit of another process. What is written meanwhile stays in the write-ahead log of the store, which cannot
be folded back until the copy is done; beyond MAX_WAL_BYTES of it, or with less than LEAST_FREE_BYTES left beside the
store, the copy is given up. A file of the copy has its name only when it is whole and durable, `store.db` last; what an
ended attempt has left is taken away by the next.

A restore makes the new file beside the old one, checks it, and puts it in its place in one step. Bound: CHECK_ERRORS
of what is wrong with a backup are told.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from cloud.log.contract import Unavailable
from cloud.sqlite import database
from cloud.sqlite.database import STORE
from cloud.sqlite.tokens import TOKENS
from cloud.times import Now
from groundwork.files import sync

STEP_PAGES: Final = 1_024  # between two looks at the bounds, and at whether it is cancelled
MAX_WAL_BYTES: Final = 4 << 30
LEAST_FREE_BYTES: Final = 256 << 20
CHECK_ERRORS: Final = 5

Progress = Callable[[int, int], None]  # bytes done, of how many


class CannotRestore(Exception):
    """The text says why."""


class CannotBackUp(Exception):
    """The text says why, and what to do. Nothing is left of the attempt."""


def silent(_done: int, _of: int) -> None:
    """Show no progress."""


def back_up(directory: Path, target: Path, progress: Progress = silent) -> None:
    """Copy the store into an empty or new directory.

    Raises:
        CannotBackUp: there is no store, something is in the way, or a disk is full.
    """
    if not (directory / STORE).exists():
        raise CannotBackUp(f"{directory} holds no store")
    with _held(target):
        strange = [p.name for p in target.iterdir() if not _left(p.name)]
        if strange:
            raise CannotBackUp(
                f"{target} is not empty: it holds {', '.join(sorted(strange)[:3])}; give a new directory"
            )
        _clear(target)
        needed = sum(p.stat().st_size for p in (directory / STORE, directory / TOKENS) if p.exists())
        free = shutil.disk_usage(target).free
        if needed > free:
            raise CannotBackUp(f"{target} has {free >> 20} MiB free, and the store has {needed >> 20} MiB")
        try:
            for name in (TOKENS, STORE):  # the store last: where it stands, the backup is whole
                if (directory / name).exists():
                    _copy(directory / name, target / name, progress)
        except sqlite3.Error as error:
            raise CannotBackUp(f"{target}: {error}") from error
        finally:
            _clear(target)


def _copy(source: Path, target: Path, progress: Progress) -> None:
    new = _new(target)
    with closing(sqlite3.connect(source, isolation_level=None)) as held, closing(_bare(new)) as copy:
        new.chmod(0o600)
        held.execute(f"PRAGMA busy_timeout = {database.BUSY_MS}")
        held.execute("BEGIN")  # held until the end: each step then sees the same state, and none begins anew
        held.execute("SELECT 1 FROM sqlite_schema").fetchone()
        (page_bytes,) = held.execute("PRAGMA page_size").fetchone()

        def step(_status: int, left: int, total: int) -> None:
            progress((total - left) * page_bytes, total * page_bytes)
            _bounded(source)

        held.backup(copy, pages=STEP_PAGES, progress=step)
    with closing(_bare(new)) as copy:
        copy.execute("PRAGMA journal_mode = DELETE")  # all of it is in the one file
        if target.name == STORE:
            database.put_meta(copy, "copy", 1)
    sync(new)
    new.replace(target)
    sync(target.parent)


def _bare(path: Path) -> sqlite3.Connection:
    """A connection to a file that is thrown away when anything goes wrong: it needs no journal, and one sync at the
    end."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def _bounded(source: Path) -> None:
    wal = source.with_name(f"{source.name}-wal")
    with suppress(FileNotFoundError):
        if (size := wal.stat().st_size) > MAX_WAL_BYTES:
            raise CannotBackUp(
                f"the copy takes so long that what was written meanwhile ({wal}) has grown to {size >> 20} MiB:"
                " copy to a faster disk first"
            )
    if (free := shutil.disk_usage(source.parent).free) < LEAST_FREE_BYTES:
        raise CannotBackUp(f"only {free >> 20} MiB are left in {source.parent}, and the store comes first: make room")


@contextmanager
def _held(target: Path) -> Generator[None]:
    """The directory, made where there is none, held against a second backup into it."""
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    with database.alone(folder, CannotBackUp(f"another backup into {target} is under way")):
        yield


def _new(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _left(name: str) -> bool:
    """Whether an attempt that was killed has left it, or the file system itself has made it."""
    return name == "lost+found" or any(name.startswith(f".{kept}.new") for kept in (TOKENS, STORE))


def _clear(target: Path) -> None:
    if not (target / STORE).exists():
        (target / TOKENS).unlink(missing_ok=True)
    for each in target.iterdir():
        if _left(each.name) and each.is_file():
            each.unlink()


def restore(directory: Path, source: Path, now: Now) -> int:
    """Put a backup in the place of the store, and return the new generation. What was there is kept as `replaced`.

    Raises:
        CannotRestore: the source is no backup, or is damaged, and the store is as it was; or its new generation is not
            drawn yet, as the text says.
        Misplaced: the store is in use.
    """
    with database.locked(directory):
        if not (source / STORE).exists():
            raise CannotRestore(f"{source} holds no {STORE}")
        new = _new(directory / STORE)
        try:
            _prepare(source / STORE, new)
            keep(directory)
            new.replace(directory / STORE)
        except OSError as error:
            raise CannotRestore(f"{directory}: {error}") from error
        finally:
            for suffix in ("", "-wal", "-shm", "-journal"):
                new.with_name(f"{new.name}{suffix}").unlink(missing_ok=True)
        if not (directory / TOKENS).exists() and (source / TOKENS).exists():
            shutil.copyfile(source / TOKENS, directory / TOKENS)
            (directory / TOKENS).chmod(0o600)
            sync(directory / TOKENS)
        sync(directory)
        try:
            with closing(database.connect(directory)) as connection:
                return database.settle_generation(connection, directory, now).generation
        except (sqlite3.Error, Unavailable) as error:
            raise CannotRestore(f"{error}; the backup is in place, and the next start draws its generation") from error


def keep(directory: Path) -> None:
    """What is replaced is kept, and the store has its name until another takes it. What the write-ahead log holds is
    brought into the store first, or the log goes too: left beside another store it would be taken for that one's.
    """
    beside = directory / "replaced"
    beside.mkdir(mode=0o700, exist_ok=True)
    for each in beside.iterdir():
        each.unlink()
    held = directory / STORE
    if not held.exists():
        return
    with suppress(sqlite3.Error), closing(sqlite3.connect(held)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for suffix in ("-wal", "-shm"):
        if (log := directory / f"{STORE}{suffix}").exists():
            log.replace(beside / log.name)
    (beside / STORE).hardlink_to(held)
    sync(beside)


def _prepare(source: Path, new: Path) -> None:
    """A durable copy that says that it is one, looked through from its first page to its last."""
    shutil.copyfile(source, new)
    new.chmod(0o600)
    wal = source.with_name(f"{source.name}-wal")
    if wal.exists():  # a directory that was copied by another hand while it was used
        shutil.copyfile(wal, new.with_name(f"{new.name}-wal"))
    try:
        with closing(_bare(new)) as copy:
            wrong = [text for (text,) in copy.execute(f"PRAGMA integrity_check({CHECK_ERRORS})") if text != "ok"]
            if wrong:
                raise CannotRestore(f"{source} is damaged: {'; '.join(wrong)}")
            copy.execute("PRAGMA journal_mode = DELETE")
            database.put_meta(copy, "copy", 1)  # whoever made it
    except sqlite3.Error as error:
        raise CannotRestore(f"{source} is no store that can be read: {error}") from error
    sync(new)
