"""Tokens: who may speak. Kept as SHA-256 of 32 random bytes; the token itself is shown once and stored nowhere.

A token reads `lamp_ID_SECRET`: the id finds the row, the secret is compared in constant time. Roles: `node` (its
own uplink and nothing else), `reader` (every GET), `operator` (reader, and orders), `admin` (all). They live in
`tokens.db`, apart from the log, so that a restored backup does not bring revoked tokens back. What the command
line revokes is refused by the running server within CHECK_S, what it makes is known at once. Bound: MAX_TOKENS.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Final, Literal, get_args

import msgspec

from cloud import database

TOKENS: Final = "tokens.db"
MAX_TOKENS: Final = 100_000
CHECK_S: Final = 1.0
PREFIX: Final = "lamp"

Role = Literal["node", "reader", "operator", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

_SCHEMA: Final = """CREATE TABLE IF NOT EXISTS tokens (
    id TEXT PRIMARY KEY, digest BLOB NOT NULL, role TEXT NOT NULL, node TEXT, name TEXT NOT NULL,
    created_us INTEGER NOT NULL, revoked_us INTEGER) WITHOUT ROWID"""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a token allows. `node` is set for the role node and for no other."""

    id: str
    role: Role
    node: str | None
    name: str
    created_us: int
    revoked_us: int | None


class Tokens:
    """The tokens of one store."""

    def __init__(self, directory: Path, monotonic_s: Callable[[], float] = monotonic) -> None:
        self._path = directory / TOKENS
        self._monotonic_s = monotonic_s
        self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._path.chmod(0o600)
        self._connection.execute(f"PRAGMA busy_timeout = {database.BUSY_MS}")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(_SCHEMA)
        self._version = -1
        self._checked_s = float("-inf")
        self._known: dict[str, tuple[bytes, Grant]] = {}

    def close(self) -> None:
        """Close the file."""
        database.close(self._connection)

    def create(self, role: Role, node: str | None, name: str, now_us: int) -> str:
        """Make a token and return it, once.

        Raises:
            ValueError: the role needs a node, or must have none; or there are too many tokens.
        """
        if (role == "node") != (node is not None):
            raise ValueError("a token of the role node needs --node, and no other has one")
        (count,) = self._connection.execute("SELECT count(*) FROM tokens").fetchone()
        if count >= MAX_TOKENS:
            raise ValueError(f"there are {count} tokens; no more are kept")
        token_id = secrets.token_hex(5)
        secret = secrets.token_bytes(32)
        digest = hashlib.sha256(secret).digest()
        self._connection.execute(
            "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, NULL)", (token_id, digest, role, node, name, now_us)
        )
        self._forget()
        return f"{PREFIX}_{token_id}_{base64.urlsafe_b64encode(secret).rstrip(b'=').decode()}"

    def revoke(self, token_id: str, now_us: int) -> bool:
        """Let a token be valid no more; False when there is none of that id that still is."""
        done = self._connection.execute(
            "UPDATE tokens SET revoked_us = ? WHERE id = ? AND revoked_us IS NULL", (now_us, token_id)
        )
        self._forget()
        return done.rowcount == 1

    def all(self) -> list[Grant]:
        """Every token, also the revoked ones, by age."""
        return [grant for _, grant in self._rows()]

    def grant(self, token: str) -> Grant | None:
        """What a token allows, or None."""
        self._refresh()
        prefix, _, rest = token.partition("_")
        token_id, _, secret = rest.partition("_")
        if prefix != PREFIX or len(token) > 100:
            return None
        if token_id not in self._known:  # perhaps made a moment ago
            self._checked_s = float("-inf")
            self._refresh()
        digest, grant = self._known.get(token_id, (bytes(32), None))
        try:
            given = hashlib.sha256(base64.urlsafe_b64decode(secret + "=")).digest()
        except ValueError:
            return None
        return grant if hmac.compare_digest(digest, given) else None

    def valid(self, grant: Grant) -> bool:
        """Say whether a grant has not been revoked since."""
        self._refresh()
        return grant.id in self._known

    def _refresh(self) -> None:
        now_s = self._monotonic_s()
        if now_s - self._checked_s < CHECK_S:
            return
        self._checked_s = now_s
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._version = version
            self._known = {g.id: (digest, g) for digest, g in self._rows() if g.revoked_us is None}

    def _forget(self) -> None:
        # SQLite's data_version tells of the changes of other connections only.
        self._version, self._checked_s = -1, float("-inf")

    def _rows(self) -> list[tuple[bytes, Grant]]:
        rows = self._connection.execute(
            "SELECT digest, id, role, node, name, created_us, revoked_us FROM tokens ORDER BY created_us, id"
        )
        return [
            (digest, Grant(id=i, role=role, node=node, name=name, created_us=created, revoked_us=revoked))
            for digest, i, role, node, name, created, revoked in rows
        ]


@contextmanager
def tokens_of(directory: Path) -> Generator[Tokens]:
    """The tokens of a directory for the length of a block; made when there are none."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    tokens = Tokens(directory)
    try:
        yield tokens
    finally:
        tokens.close()
