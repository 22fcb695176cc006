"""Tokens: who may speak, as every room but the one that keeps them sees it.

A token reads `lamp_ID_SECRET`. Roles: `node` (its own uplink and nothing else), `reader` (every GET), `operator`
(reader, and orders), `admin` (all). A token may have an end, by this machine's clock. Who has made and revoked it is
kept: the name of another token, or nothing where it was the command line.

Bound: a page has MAX_PAGE tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal, Protocol, get_args

import msgspec

from wire.time import Utc

Role = Literal["node", "reader", "operator", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
MAX_PAGE: Final = 1_000
NODE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class TokenScope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a token may order: devices in one of these areas, of one of these groups, of one of these kinds; each as far
    as any are named. What else it may is reading."""

    areas: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a token allows. `node` is set for tokens of the role `node` only."""

    id: str
    role: Role
    node: str | None
    name: str
    created_us: Utc
    revoked_us: Utc | None
    until_us: Utc | None = None  # from when on it is valid no more
    by: str = ""
    revoked_by: str = ""
    scope: TokenScope | None = None  # of an operator's; None: all that its role may


class Tokens(Protocol):
    """What is asked of them while requests are answered. Each raises Unavailable where they cannot be read."""

    def look(self, token: str) -> Grant | None:
        """What a token allows or has allowed, or None where it is none of ours."""
        ...

    def of_id(self, token_id: str) -> Grant | None:
        """What the token of an id allows or has allowed, or None where there is none."""
        ...

    def valid(self, grant: Grant) -> bool:
        """Say whether a grant has neither been revoked nor expired."""
        ...

    def of_node(self, node: str) -> Sequence[tuple[Grant, bytes]]:
        """The tokens of a node, the newest first, also those that are valid no more, each with the SHA-256 of its
        secret."""
        ...

    def stripped(self) -> frozenset[str]:
        """The nodes that have had tokens, all of which were revoked."""
        ...


class TokenStore(Protocol):
    """Making, listing and revoking them. Each raises Unavailable where the file cannot be read or written."""

    async def create(
        self, role: Role, node: str | None, name: str, by: str, until_us: Utc | None, scope: TokenScope | None
    ) -> tuple[str, Grant]:
        """Make a token: what to hand over, which is kept nowhere, and what it allows.

        Raises:
            Problem: it is none that can be made.
        """
        ...

    async def revoke(self, token_id: str, by: str) -> Grant | None:
        """Let a token be valid no more; what it allowed, or None where there is none of that id. The first who revokes
        it stays on record."""
        ...

    async def page(self, after: str, limit: int) -> tuple[Sequence[Grant], str | None]:
        """All tokens by id, also those that are valid no more, after one; and where to go on, or None."""
        ...
