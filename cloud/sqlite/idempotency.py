"""Idempotency: a request that is sent again, because no answer came, is answered again and not done again.

The sender draws an `Idempotency-Key` for each thing that it wants done (draft-ietf-httpapi-idempotency-key-header). In
one transaction with what was asked the key is kept, with a digest of the request and the answer: the same key with the
same request gives the same answer again, with another request 422. Only what was taken is kept: what was refused
changed nothing, and is looked at again. A key belongs to the token that sent it.

Bounds: a key has MAX_KEY_CHARS, is kept KEPT_US, and MAX_KEYS are kept, MAX_OF_ONE of one token; beyond that a new one
is refused, with 503 or 429, rather than an old one forgotten early.
"""

from __future__ import annotations

import sqlite3
import zlib
from hashlib import blake2b
from typing import Final

import msgspec
from starlette.responses import Response

from cloud.api.routes import JSON, Asked
from cloud.problem import Problem, bad_request, too_many, unavailable
from cloud.sqlite import database
from cloud.times import SECOND_US

MAX_KEY_CHARS: Final = 200
MAX_KEYS: Final = 200_000
MAX_OF_ONE: Final = 120_000
KEPT_US: Final = 25 * 3_600 * SECOND_US
HEADER: Final = "Idempotency-Key"
COUNT: Final = "keys"  # in meta


class Answered(msgspec.Struct, frozen=True):
    """An answer as it was given, and is given again."""

    status: int
    body: bytes

    def response(self) -> Response:
        """As it goes out."""
        return Response(self.body, self.status, {"Cache-Control": "no-store"}, JSON)


class Keyed(msgspec.Struct, frozen=True):
    """A key within its token, and the digest of what was asked with it."""

    key: str
    digest: bytes

    def answered(self, connection: sqlite3.Connection) -> Answered | Problem | None:
        """The answer that this request has had, if it had one.

        A Problem when the key was used for another request, or there are too many keys: returned and not raised, for
        what is raised in a transaction undoes those that share it.
        """
        row = connection.execute("SELECT digest, status, body FROM requests WHERE key = ?", (self.key,)).fetchone()
        if row is None:
            if (count := _kept(connection)) >= MAX_KEYS:
                return unavailable(f"{count} keys of the last day are kept; no more are taken", 600)
            if count >= MAX_OF_ONE and self._of_token(connection) >= MAX_OF_ONE:
                return too_many(f"{MAX_OF_ONE} keys of the last day are kept for this token; no more are taken", 600)
            return None
        if row[0] != self.digest:
            return Problem(
                422, "key-used", f"this {HEADER} was used for another request; draw a new one for each thing to be done"
            )
        return Answered(row[1], zlib.decompress(row[2]))

    def _of_token(self, connection: sqlite3.Connection) -> int:
        token = self.key.partition(" ")[0]
        query = "SELECT count(*) FROM requests WHERE key > ? AND key < ?"
        return int(connection.execute(query, (f"{token} ", f"{token}!")).fetchone()[0])

    def keep(self, connection: sqlite3.Connection, answer: Answered, now_us: int) -> None:
        """Keep the answer, within the transaction that does what was asked."""
        count = _kept(connection)
        connection.execute(
            "INSERT INTO requests VALUES (?, ?, ?, ?, ?)",
            (self.key, self.digest, now_us, answer.status, zlib.compress(answer.body, 1)),
        )
        database.put_meta(connection, COUNT, count + 1)


def keyed(asked: Asked, body: bytes) -> Keyed:
    """The key of a request.

    Raises:
        Problem: it has none, or one that is none.
    """
    given = asked.request.headers.get(HEADER, "").strip()
    if len(given) > 1 and given[0] == given[-1] == '"':  # a Structured Field string, as the draft has it
        given = given[1:-1]
    if not given:
        raise bad_request(
            f"{HEADER} is missing: draw one (a UUID) for each thing to be done, and send it again with it"
        )
    if len(given) > MAX_KEY_CHARS:
        raise bad_request(f"{HEADER} has {len(given)} characters; at most {MAX_KEY_CHARS}")
    assert asked.grant is not None
    url = asked.request.url
    digest = blake2b(f"{asked.request.method} {url.path}?{url.query}\n".encode() + body, digest_size=16).digest()
    return Keyed(f"{asked.grant.id} {given}", digest)


def forget(connection: sqlite3.Connection, now_us: int, most: int) -> int:
    """Drop keys that are old enough, and say how many."""
    kept = _kept(connection)
    count = connection.execute(
        "DELETE FROM requests WHERE key IN (SELECT key FROM requests WHERE taken_us < ? ORDER BY taken_us LIMIT ?)",
        (now_us - KEPT_US, most),
    ).rowcount
    if count:
        database.put_meta(connection, COUNT, kept - count)
    return count


def _kept(connection: sqlite3.Connection) -> int:
    """How many keys there are: a number of its own, for to count them each time takes longer than all the rest."""
    if (count := database.meta(connection, COUNT, -1)) >= 0:
        return count
    return int(connection.execute("SELECT count(*) FROM requests").fetchone()[0])
