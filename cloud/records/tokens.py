"""Tokens: who may speak, as every room but the one that keeps them sees it.

A token reads `lamp_ID_SECRET`. Roles: `node` (its own uplink and nothing else), `reader` (every GET), `operator`
(reader, and orders), `admin` (all). A token may have an end, by this machine's clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Protocol, get_args

import msgspec

from wire.time import Utc

Role = Literal["node", "reader", "operator", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a token allows. `node` is set for tokens of the role `node` only."""

    id: str
    role: Role
    node: str | None
    name: str
    created_us: Utc
    revoked_us: Utc | None
    until_us: Utc | None = None  # from when on it is valid no more


class Tokens(Protocol):
    """What is asked of them while requests are answered. Each raises Unavailable where they cannot be read."""

    def look(self, token: str) -> Grant | None:
        """What a token allows or has allowed, or None where it is none of ours."""
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
