"""What SQLite's errors mean, for those who are not SQLite's."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Mapping
from typing import Final

import msgspec

from cloud.log.contract import Unavailable
from cloud.sqlite.damage import TokensDamaged, is_damage

FULL_BYTES: Final = 1 << 20


class StoreTrouble(msgspec.Struct, frozen=True):
    """What is wrong with the store: damage, which no waiting mends, or that nothing can be written now."""

    damaged: bool
    words: Mapping[str, str]  # by language


def why(error: Exception, disk_free: int) -> Mapping[str, str]:
    """What is wrong, for whoever asks, by language: without paths. A full disk has many names."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    number = error.errno if isinstance(error, OSError) else None  # EIO is 5, and so is SQLITE_BUSY
    if isinstance(error, TokensDamaged):
        return {
            "en": "tokens.db is damaged: move it away and make the tokens again (`lamplighter-cloud token create`), or "
            "put back that of a backup",
            "fr": "tokens.db est endommagé : déplacez-le et recréez les jetons (`lamplighter-cloud token create`), ou "
            "remettez celui d'une sauvegarde",
        }
    if is_damage(error):
        return {
            "en": "the store is damaged: `lamplighter-cloud rebuild` saves what can be read, or restore a backup",
            "fr": "la base de l'agrégateur est endommagée : `lamplighter-cloud rebuild` sauve ce qui se lit encore, "
            "sinon restaurez une sauvegarde",
        }
    if code == sqlite3.SQLITE_FULL or number in {errno.ENOSPC, errno.EDQUOT} or disk_free < FULL_BYTES:
        return {"en": "the disk of the store is full", "fr": "le disque de l'agrégateur est plein"}
    if code == sqlite3.SQLITE_READONLY or number == errno.EROFS:
        return {"en": "the disk of the store is read-only", "fr": "le disque de l'agrégateur est en lecture seule"}
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return {"en": "another program holds the store", "fr": "un autre programme occupe la base de l'agrégateur"}
    return {
        "en": "the disk of the store gives errors, or is not there",
        "fr": "le disque de l'agrégateur donne des erreurs, ou n'est pas là",
    }


def may_pass(error: Exception) -> Exception | None:
    """What is behind an error at which the store could not be opened, where it may be another time; else None."""
    if isinstance(error, TokensDamaged):
        return error
    if isinstance(error, Unavailable) and isinstance(error.__cause__, sqlite3.Error | OSError):
        error = error.__cause__
    if isinstance(error, sqlite3.ProgrammingError | sqlite3.IntegrityError):  # ours
        return None
    return error if isinstance(error, sqlite3.DatabaseError | Unavailable | OSError) else None
