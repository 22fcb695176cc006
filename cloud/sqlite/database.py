"""The store's directory: one SQLite database in WAL mode, and the generation that a restored backup must change.

    store.db     log and views; synchronous=FULL, one writer, readers on connections of their own
    generation   the generation once more and a serial number, outside every backup
    tokens.db    see `cloud.sqlite.tokens`
    codes.db     see `cloud.sqlite.code_counters`
    lock         held by the one process that writes

Store and file raise the serial number together every half minute. A backup that is put back says that it is one,
or brings an older `store.db` beside a newer file, or beside none: then a new and greater generation is drawn. Only
putting back the whole directory, file and all, cannot be seen from inside; after that delete `generation`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from cloud.log.contract import Unavailable
from cloud.log.cursor import Origins
from cloud.sqlite import schema
from cloud.times import Now
from groundwork.files import write_atomically

STORE: Final = "store.db"
GENERATION: Final = "generation"
LOSSES: Final = "losses"  # among the numbers of the store: how often it was built again with something missing
WAL_LIMIT_BYTES: Final = 64 << 20
WAL_PAGES: Final = 4_000  # checkpoint after about 16 MB: fewer, larger writes
BUSY_MS: Final = 10_000


class Misplaced(Exception):
    """The directory cannot be used as it is; the text says why."""


def connect(directory: Path) -> sqlite3.Connection:
    """The one connection that writes. Transactions are begun and ended by hand.

    Raises:
        Misplaced: the directory is of another schema.
    """
    connection = sqlite3.connect(directory / STORE, isolation_level=None, check_same_thread=False)
    _tune(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version in schema.KNOWN:
        with transaction(connection):
            schema.bring_up(connection, version)
    elif version != schema.VERSION:
        raise Misplaced(f"{directory / STORE} has schema {version}; this version reads {schema.VERSION}")
    return connection


def connect_reader(directory: Path) -> sqlite3.Connection:
    """A connection that only reads."""
    uri = f"{(directory / STORE).absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    _tune(connection)
    return connection


def fold(connection: sqlite3.Connection) -> bool:
    """Bring what the write-ahead log holds into the store and empty the log. Between transactions.

    False where somebody still reads an older state, another process perhaps; it does not wait for them.
    """
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    return not busy


class Sizes(msgspec.Struct, frozen=True):
    """Bytes on the disk: the store, how much of it is free for what comes, its write-ahead log, what the disk has."""

    store: int
    free: int
    log: int
    disk_free: int


def sizes(directory: Path) -> Sizes:
    """As they are now; `free` as of the last checkpoint (the file format of SQLite, section 1.3)."""
    free = log = store = 0
    with suppress(OSError), (directory / STORE).open("rb") as file:
        head = file.read(100)
        page_bytes = int.from_bytes(head[16:18], "big")
        free = int.from_bytes(head[36:40], "big") * (65_536 if page_bytes == 1 else page_bytes)
        store = os.fstat(file.fileno()).st_size
    with suppress(OSError):
        log = (directory / f"{STORE}-wal").stat().st_size
    try:
        disk_free = shutil.disk_usage(directory).free
    except OSError:  # the disk does not even tell that
        disk_free = 0
    return Sizes(store, free, log, disk_free)


def _tune(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    connection.execute("PRAGMA cache_size = -16384")  # 16 MiB
    connection.execute("PRAGMA temp_store = MEMORY")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """Commit at the end, or change nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has already rolled back by itself after some errors (a full disk is one).
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def drop_views(connection: sqlite3.Connection) -> None:
    """Leave only what the log knows. Call within a transaction."""
    schema.drop_views(connection)
    put_meta(connection, "latest_mark", 0)


def meta(connection: sqlite3.Connection, key: str, default: int = 0) -> int:
    """A number that the store keeps about itself."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return default if row is None else int(row[0])


def put_meta(connection: sqlite3.Connection, key: str, value: int) -> None:
    """Keep such a number."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


class Beside(msgspec.Struct, frozen=True):
    """What stands beside the store: its generation, and a serial number that both raise now and then."""

    generation: int = 0
    serial: int = 0


def settle_generation(connection: sqlite3.Connection, directory: Path, now: Now) -> Origins:
    """The store's generation and where it comes from; a new one when the store is new, or was put back.

    Raises:
        Unavailable: what is beside the store cannot be read or written.
    """
    inside = Beside(meta(connection, "generation"), meta(connection, "serial"))
    beside = _beside(directory)
    # One ahead is a crash between the two writes of `raise_serial`; one behind is an older copy.
    whole = inside.generation == beside.generation and inside.serial - beside.serial in {0, 1}
    if not inside.generation or not whole or meta(connection, "copy"):
        drawn = max(now(), inside.generation + 1, beside.generation + 1)
        with transaction(connection):
            draw(connection, directory, drawn)
            put_meta(connection, "copy", 0)
            # Whether they were sent since the copy was made is not known: the nodes have the word.
            connection.execute(
                "UPDATE orders SET sent_us = issued_us, stage = 'sent' WHERE sent_us IS NULL AND ended_us IS NULL"
            )
    return origins_of(connection)


def draw(connection: sqlite3.Connection, directory: Path, generation: int) -> Origins:
    """Have another generation, to which all that is here belongs. Within a transaction.

    Raises:
        Unavailable: the disk does not take it.
    """
    # The file first: a crash between the two leaves a mismatch, and the next start draws again.
    _write_beside(directory, Beside(generation, meta(connection, "serial")))
    (head,) = connection.execute("SELECT ifnull(max(position), 0) FROM log").fetchone()
    put_meta(connection, "previous", meta(connection, "generation"))
    put_meta(connection, "shared_through", head)
    put_meta(connection, "generation", generation)
    return origins_of(connection)


def origins_of(connection: sqlite3.Connection) -> Origins:
    """The generation and where it comes from, as the store has them."""
    return Origins(meta(connection, "generation"), meta(connection, "previous"), meta(connection, "shared_through"))


def raise_serial(connection: sqlite3.Connection) -> Beside:
    """Make all older copies of the store distinguishable from it. Within a transaction; `follow` comes after it."""
    serial = meta(connection, "serial") + 1
    put_meta(connection, "serial", serial)
    return Beside(meta(connection, "generation"), serial)


def follow(directory: Path, beside: Beside) -> None:
    """Write beside the store what `raise_serial` has written in it.

    Raises:
        Unavailable: the disk does not take it. The serial number must not be raised again before it has.
    """
    _write_beside(directory, beside)


def behind(directory: Path, connection: sqlite3.Connection) -> Beside | None:
    """What `follow` has not written yet, None where it has.

    Raises:
        Unavailable: what is beside the store cannot be read.
    """
    inside = Beside(meta(connection, "generation"), meta(connection, "serial"))
    return None if _beside(directory) == inside else inside


def _write_beside(directory: Path, beside: Beside) -> None:
    try:
        write_atomically(directory / GENERATION, f"{beside.generation} {beside.serial}\n".encode())
    except OSError as error:
        raise Unavailable(f"{directory / GENERATION}: {error}") from error


def _beside(directory: Path) -> Beside:
    try:
        numbers = (directory / GENERATION).read_bytes().split()
    except FileNotFoundError:
        return Beside()
    except OSError as error:
        raise Unavailable(f"{directory / GENERATION}: {error}") from error
    if len(numbers) != 2 or not all(n.isdigit() and len(n) < 19 for n in numbers):
        return Beside()
    return Beside(int(numbers[0]), int(numbers[1]))


@contextmanager
def locked(directory: Path) -> Generator[None]:
    """Hold the directory for this process.

    Raises:
        Misplaced: another process holds it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    with alone(descriptor, Misplaced(f"{directory} is in use by another lamplighter-cloud")):
        yield


@contextmanager
def alone(descriptor: int, busy: Exception) -> Generator[None]:
    """Hold an open file for this process, and close it in the end; `busy` is raised where another holds it."""
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def sqlite_errors() -> Generator[None]:
    """Name SQLite's errors by what the caller does next."""
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(f"the store did not answer: {error}") from error


def close(connection: sqlite3.Connection) -> None:
    """Close; what is already broken may stay broken."""
    with suppress(sqlite3.Error):
        connection.close()
