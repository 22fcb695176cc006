"""Tokens in memory: a fake for tests, which keeps them as they are."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from msgspec.structs import replace

from cloud.records.tokens import Grant, Role
from cloud.times import Now
from wire.time import Utc


class MemoryTokens:
    """Grants by token."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._grants: dict[str, Grant] = {}

    def create(self, role: Role, node: str | None, name: str, now_us: Utc, until_us: Utc | None = None) -> str:
        """Make a token."""
        made = f"{len(self._grants)}"
        token = f"lamp_{made}_secret{made}"
        self._grants[token] = Grant(
            id=made, role=role, node=node, name=name, created_us=now_us, revoked_us=None, until_us=until_us
        )
        return token

    def revoke(self, token_id: str, now_us: Utc) -> bool:
        """Let a token be valid no more."""
        for token, grant in self._grants.items():
            if grant.id == token_id and grant.revoked_us is None:
                self._grants[token] = replace(grant, revoked_us=now_us)
                return True
        return False

    def look(self, token: str) -> Grant | None:
        """See `Tokens.look`."""
        return self._grants.get(token)

    def valid(self, grant: Grant) -> bool:
        """See `Tokens.valid`."""
        held = next((g for g in self._grants.values() if g.id == grant.id), None)
        ends_us = None if held is None else held.until_us
        return held is not None and held.revoked_us is None and (ends_us is None or self._now() < ends_us)

    def of_node(self, node: str) -> list[tuple[Grant, bytes]]:
        """See `Tokens.of_node`."""
        held = [(g, sha256(t.encode()).digest()) for t, g in self._grants.items() if g.node == node]
        return sorted(held, key=lambda h: (h[0].created_us, h[0].id), reverse=True)

    def stripped(self) -> frozenset[str]:
        """See `Tokens.stripped`."""
        return _nodes(self._grants.values()) - _nodes(g for g in self._grants.values() if g.revoked_us is None)


def _nodes(grants: Iterable[Grant]) -> frozenset[str]:
    return frozenset(g.node for g in grants if g.node is not None)
