"""Idempotency keys in SQLite, within the transaction that does what was asked. Promises and bounds:
`cloud.records.keys`.

What is wrong is returned and not raised: what is raised in a transaction undoes those that share it.
"""

from __future__ import annotations

import sqlite3
import zlib
from typing import Final

from cloud.problem import Problem
from cloud.records.keys import KEPT_US, MAX_KEYS, MAX_OF_ONE, Answered, Keyed, no_more, no_more_of_one, used
from cloud.sqlite import database
from wire.time import Utc

COUNT: Final = "keys"  # in meta


def answered(connection: sqlite3.Connection, keyed: Keyed) -> Answered | Problem | None:
    """The answer that this request has had, if it had one.

    A Problem when the key was used for another request, or there are too many keys.
    """
    row = connection.execute("SELECT digest, status, body FROM requests WHERE key = ?", (keyed.key,)).fetchone()
    if row is None:
        if (count := _kept(connection)) >= MAX_KEYS:
            return no_more(count)
        if count >= MAX_OF_ONE and _of_token(connection, keyed.token) >= MAX_OF_ONE:
            return no_more_of_one()
        return None
    return used() if row[0] != keyed.digest else Answered(row[1], zlib.decompress(row[2]))


def keep(connection: sqlite3.Connection, keyed: Keyed, answer: Answered, now_us: Utc) -> None:
    """Keep the answer, within the transaction that does what was asked."""
    count = _kept(connection)
    connection.execute(
        "INSERT INTO requests VALUES (?, ?, ?, ?, ?)",
        (keyed.key, keyed.digest, now_us, answer.status, zlib.compress(answer.body, 1)),
    )
    database.put_meta(connection, COUNT, count + 1)


def forget(connection: sqlite3.Connection, now_us: Utc, most: int) -> int:
    """Drop keys that are old enough, and say how many."""
    kept = _kept(connection)
    count = connection.execute(
        "DELETE FROM requests WHERE key IN (SELECT key FROM requests WHERE taken_us < ? ORDER BY taken_us LIMIT ?)",
        (now_us - KEPT_US, most),
    ).rowcount
    if count:
        database.put_meta(connection, COUNT, kept - count)
    return count


def _of_token(connection: sqlite3.Connection, token: str) -> int:
    query = "SELECT count(*) FROM requests WHERE key > ? AND key < ?"
    return int(connection.execute(query, (f"{token} ", f"{token}!")).fetchone()[0])


def _kept(connection: sqlite3.Connection) -> int:
    """How many keys there are: a number of its own, for to count them each time takes longer than all the rest."""
    if (count := database.meta(connection, COUNT, -1)) >= 0:
        return count
    return int(connection.execute("SELECT count(*) FROM requests").fetchone()[0])
