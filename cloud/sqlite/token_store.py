"""Tokens made and revoked over HTTP: each time by a connection of its own, beside the event loop, as the command line
does it. Promises: `cloud.records.tokens`. Whoever checks tokens sees a change within a second, and a new one at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from cloud.problem import Problem, or_raise
from cloud.records.tokens import Grant, Role, TokenScope
from cloud.sqlite.tokens import tokens_of
from cloud.times import Now
from wire.time import Utc


class SqliteTokenStore:
    """Of a directory. Holds nothing."""

    def __init__(self, directory: Path, now: Now) -> None:
        self._directory, self._now = directory, now

    async def create(
        self, role: Role, node: str | None, name: str, by: str, until_us: Utc | None, scope: TokenScope | None
    ) -> tuple[str, Grant]:
        """See `TokenStore.create`."""

        def work() -> tuple[str, Grant] | Problem:
            with tokens_of(self._directory) as tokens:
                try:
                    token = tokens.create(role, node, name, self._now(), until_us, by, scope)
                except ValueError as error:
                    return Problem(422, "not-possible", str(error))
                grant = tokens.look(token)
                assert grant is not None
                return token, grant

        return or_raise(await asyncio.to_thread(work))

    async def revoke(self, token_id: str, by: str) -> Grant | None:
        """See `TokenStore.revoke`."""

        def work() -> Grant | None:
            with tokens_of(self._directory) as tokens:
                tokens.revoke(token_id, self._now(), by)
                return next((grant for grant in tokens.all() if grant.id == token_id), None)

        return await asyncio.to_thread(work)

    async def page(self, after: str, limit: int) -> tuple[Sequence[Grant], str | None]:
        """See `TokenStore.page`."""

        def work() -> list[Grant]:
            with tokens_of(self._directory) as tokens:
                return sorted((grant for grant in tokens.all() if grant.id > after), key=lambda grant: grant.id)

        found = await asyncio.to_thread(work)
        return found[:limit], found[limit - 1].id if len(found) > limit else None
