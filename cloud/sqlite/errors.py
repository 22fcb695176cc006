"""What SQLite's errors mean, for those who are not SQLite's."""

from __future__ import annotations

import errno
import sqlite3
from typing import Final

import msgspec

from cloud.log.contract import Unavailable

FULL_BYTES: Final = 1 << 20


class Trouble(msgspec.Struct, frozen=True):
    """What is wrong with the store: damage, which no waiting mends, or that nothing can be written now."""

    damaged: bool
    words: str


def why(error: Exception, disk_free: int) -> str:
    """What is wrong, for whoever asks: without paths. A full disk has many names."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF or getattr(error, "errno", 0) or 0
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return "the store is damaged: `lamplighter-cloud rebuild` saves what can be read, or restore a backup"
    if code in {sqlite3.SQLITE_FULL, errno.ENOSPC, errno.EDQUOT} or disk_free < FULL_BYTES:
        return "the disk of the store is full"
    if code in {sqlite3.SQLITE_READONLY, errno.EROFS}:
        return "the disk of the store is read-only"
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return "another program holds the store"
    return "the disk of the store gives errors, or is not there"


def may_pass(error: Exception) -> Exception | None:
    """What is behind an error at which the store could not be opened, where it may be another time; else None."""
    if isinstance(error, sqlite3.ProgrammingError | sqlite3.IntegrityError):  # ours
        return None
    if not isinstance(error, sqlite3.DatabaseError | Unavailable | OSError):
        return None
    return error.__cause__ if isinstance(error.__cause__, sqlite3.Error) else error
