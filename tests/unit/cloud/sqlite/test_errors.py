"""What is wrong with the store, in both languages."""

from __future__ import annotations

import errno
import sqlite3

import pytest

from cloud.sqlite.errors import FULL_BYTES, why


def _sqlite(code: int) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError("database disk image")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "en", "fr"),
    [
        (_sqlite(sqlite3.SQLITE_CORRUPT), "the store is damaged", "la base de l'agrégateur est endommagée"),
        (_sqlite(sqlite3.SQLITE_FULL), "is full", "est plein"),
        (OSError(errno.EROFS, "x"), "is read-only", "est en lecture seule"),
        (_sqlite(sqlite3.SQLITE_BUSY), "another program holds", "un autre programme occupe"),
        (OSError(errno.EIO, "x"), "gives errors", "donne des erreurs"),
    ],
)
def test_each_reason_is_told_in_french_too(error: Exception, en: str, fr: str) -> None:
    told = why(error, 2 * FULL_BYTES)
    assert en in told["en"]
    assert fr in told["fr"]
