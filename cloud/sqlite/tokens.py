"""Tokens in SQLite: SHA-256 of 32 random bytes; the token itself is shown once and stored nowhere. What tokens are:
`cloud.records.tokens`.

The id in a token finds the row, the secret is compared in constant time. They live in `tokens.db`, apart from the log,
so that a restored backup does not bring revoked tokens back. What the command line revokes is refused by the running
server within CHECK_S, what it makes is known at once. While another program holds the file, what was known goes on: it
cannot be changed by anyone else then.

Bounds: MAX_TOKENS; what is asked while requests are answered waits ASK_MS for the file, at most once in CHECK_S; what
the command line does to it waits `database.BUSY_MS`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec

from cloud.log.contract import Unavailable
from cloud.records.tokens import Grant, Role, TokenScope
from cloud.sqlite import database
from cloud.sqlite.damage import TokensDamaged, is_damage
from cloud.times import text, utc_us
from groundwork.plain_names import why_not_plain
from wire.time import Utc

LOG: Final = logging.getLogger("lamplighter.cloud")

TOKENS: Final = "tokens.db"
MAX_TOKENS: Final = 100_000
CHECK_S: Final = 1.0
ASK_MS: Final = 100  # on the event loop, where all else waits too
PREFIX: Final = "lamp"

_SCHEMA: Final = """CREATE TABLE IF NOT EXISTS tokens (
    id TEXT PRIMARY KEY, digest BLOB NOT NULL, role TEXT NOT NULL, node TEXT, name TEXT NOT NULL,
    created_us INTEGER NOT NULL, revoked_us INTEGER) WITHOUT ROWID"""
# What older files lack: ends; who has made and revoked a token; what it may order.
_ADDED: Final = {
    "until_us": "INTEGER", "by_whom": "TEXT NOT NULL DEFAULT ''", "revoked_by": "TEXT NOT NULL DEFAULT ''",
    "scope": "TEXT",
}  # fmt: skip


class SqliteTokens:
    """The tokens of one store. Whatever of it raises Unavailable: the file cannot be read or written."""

    def __init__(
        self, directory: Path, monotonic_s: Callable[[], float] = monotonic, now: Callable[[], int] = utc_us
    ) -> None:
        """Open the file; make it when there is none.

        Raises:
            TokensDamaged: it holds something else than was written.
            Unavailable: it cannot be opened now.
            OSError: it cannot be looked at.
        """
        self._path = directory / TOKENS
        self._monotonic_s = monotonic_s
        self._now = now
        if self._path.exists() and self._path.stat().st_mode & 0o077:
            LOG.warning("%s could be read by others than its owner; it is 0600 now", self._path)
        with self._errors():
            self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            self._path.chmod(0o600)
            with self._errors():
                self._connection.execute(f"PRAGMA busy_timeout = {ASK_MS}")
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute(_SCHEMA)
                held = {row[1] for row in self._connection.execute("PRAGMA table_info(tokens)")}
                for name, kind in _ADDED.items():
                    if name not in held:
                        self._connection.execute(f"ALTER TABLE tokens ADD COLUMN {name} {kind}")
        except BaseException:
            self.close()
            raise
        self._version = -1
        self._checked_s = float("-inf")
        self._trouble: Unavailable | None = None  # what the last check has failed at
        self._busy = False
        self._known: dict[str, tuple[bytes, Grant]] = {}
        self._stripped: frozenset[str] = frozenset()

    def close(self) -> None:
        """Close the file."""
        database.close(self._connection)

    def create(
        self,
        role: Role,
        node: str | None,
        name: str,
        now_us: Utc,
        until_us: Utc | None = None,
        by: str = "",
        scope: TokenScope | None = None,
    ) -> str:
        """Make a token and return it, once. `until_us` is from when on it is valid no more.

        Raises:
            ValueError: the role needs a node, or must have none; it has ended already; a name is none that looks like
                what it is; or there are too many tokens.
        """
        for what, text_ in (("node", node or ""), ("name", name)):
            if (why := why_not_plain(text_)) is not None:
                raise ValueError(f"the {what} {text_[:100]!r} {why}")
        if until_us is not None and until_us <= now_us:
            raise ValueError(f"a token that ends at {text(until_us)} has ended already")
        if (role == "node") != (node is not None):
            raise ValueError("a token of the role node needs --node, and no other has one")
        if scope is not None and role != "operator":
            raise ValueError("a scope is for the role operator")
        with self._patient():
            (count,) = self._connection.execute("SELECT count(*) FROM tokens").fetchone()
        if count >= MAX_TOKENS:
            raise ValueError(f"there are {count} tokens; no more are kept")
        token_id = secrets.token_hex(5)
        secret = secrets.token_bytes(32)
        digest = hashlib.sha256(secret).digest()
        with self._patient():
            self._connection.execute(
                "INSERT INTO tokens (id, digest, role, node, name, created_us, until_us, by_whom, scope)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (token_id, digest, role, node, name, now_us, until_us, by, _scope_text(scope)),
            )
        self._forget()
        return f"{PREFIX}_{token_id}_{base64.urlsafe_b64encode(secret).rstrip(b'=').decode()}"

    def revoke(self, token_id: str, now_us: Utc, by: str = "") -> bool:
        """Let a token be valid no more; False when there is none of that id that still is."""
        with self._patient():
            done = self._connection.execute(
                "UPDATE tokens SET revoked_us = ?, revoked_by = ? WHERE id = ? AND revoked_us IS NULL",
                (now_us, by, token_id),
            )
        self._forget()
        return done.rowcount == 1

    def all(self) -> list[Grant]:
        """Every token, also the revoked ones, by age."""
        with self._patient():
            return [grant for _, grant in self._rows()]

    def grant(self, token: str) -> Grant | None:
        """What a token allows, or None: it is not known, was revoked or has expired."""
        found = self.look(token)
        return found if found is not None and self.valid(found) else None

    def look(self, token: str) -> Grant | None:
        """What a token allows or has allowed, or None where it is none of ours."""
        self._refresh()
        prefix, _, rest = token.partition("_")
        token_id, _, secret = rest.partition("_")
        if prefix != PREFIX or len(token) > 100:
            return None
        if token_id not in self._known and not self._busy:  # perhaps made a moment ago
            self._checked_s = float("-inf")
            self._refresh()
        if token_id not in self._known and self._busy:
            raise Unavailable(f"another program holds {self._path}: whether this is a token cannot be said now")
        digest, grant = self._known.get(token_id, (bytes(32), None))
        try:
            given = hashlib.sha256(base64.urlsafe_b64decode(secret + "=")).digest()
        except ValueError:
            return None
        return grant if hmac.compare_digest(digest, given) else None

    def of_id(self, token_id: str) -> Grant | None:
        """What the token of an id allows or has allowed, or None where there is none."""
        self._refresh()
        held = self._known.get(token_id)
        return None if held is None else held[1]

    def valid(self, grant: Grant) -> bool:
        """Say whether a grant has neither been revoked nor expired."""
        self._refresh()
        held = self._known.get(grant.id)
        if held is None or held[1].revoked_us is not None:
            return False
        return held[1].until_us is None or self._now() < held[1].until_us

    def of_node(self, node: str) -> list[tuple[Grant, bytes]]:
        """See `Tokens.of_node`. What another process made or revoked a moment ago counts: seldom asked, it looks each
        time."""
        self._checked_s = float("-inf")
        self._refresh()
        held = [(g, digest) for digest, g in self._known.values() if g.node == node]
        return sorted(held, key=lambda h: (h[0].created_us, h[0].id), reverse=True)

    def stripped(self) -> frozenset[str]:
        """The nodes that have had tokens, all of which were revoked."""
        self._refresh()
        return self._stripped

    def _refresh(self) -> None:
        now_s = self._monotonic_s()
        if now_s - self._checked_s >= CHECK_S:
            self._checked_s = now_s
            self._trouble, self._busy = None, False
            try:
                with self._errors():
                    self._check()
            except Unavailable as error:
                code = getattr(error.__cause__, "sqlite_errorcode", None) or 0
                self._busy = code & 0xFF == sqlite3.SQLITE_BUSY and self._version != -1
                LOG.warning("the tokens could not be looked through: %s", error)
                self._trouble = None if self._busy else error
        if self._trouble is not None:
            raise self._trouble.with_traceback(None)

    def _check(self) -> None:
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._known = {g.id: (digest, g) for digest, g in self._rows()}
            self._version = version
            grants = [g for _, g in self._known.values() if g.node is not None]
            held = {g.node for g in grants if g.revoked_us is None}
            self._stripped = frozenset(g.node for g in grants if g.node is not None and g.node not in held)

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if is_damage(error):
                raise TokensDamaged(
                    f"{self._path} is damaged, move it away or put back that of a backup: {error}"
                ) from error
            raise Unavailable(f"{self._path}: {error}") from error

    @contextmanager
    def _patient(self) -> Generator[None]:
        """For what nobody waits for but the one who asked."""
        with self._errors():
            self._connection.execute(f"PRAGMA busy_timeout = {database.BUSY_MS}")
            try:
                yield
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {ASK_MS}")

    def _forget(self) -> None:
        # SQLite's data_version tells of the changes of other connections only.
        self._version, self._checked_s = -1, float("-inf")

    def _rows(self) -> list[tuple[bytes, Grant]]:
        rows = self._connection.execute(
            "SELECT digest, id, role, node, name, created_us, revoked_us, until_us, by_whom, revoked_by, scope"
            " FROM tokens"
            " ORDER BY created_us, id"
        )
        return [
            (
                digest,
                Grant(
                    id=i, role=role, node=node, name=name, created_us=made, revoked_us=revoked, until_us=until, by=by,
                    revoked_by=revoker, scope=None if scope is None else msgspec.json.decode(scope, type=TokenScope),
                ),
            )
            for digest, i, role, node, name, made, revoked, until, by, revoker, scope in rows
        ]  # fmt: skip


def _scope_text(scope: TokenScope | None) -> str | None:
    return None if scope is None else msgspec.json.encode(scope).decode()


@contextmanager
def tokens_of(directory: Path) -> Generator[SqliteTokens]:
    """The tokens of a directory for the length of a block; made when there are none."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    tokens = SqliteTokens(directory)
    try:
        yield tokens
    finally:
        tokens.close()
