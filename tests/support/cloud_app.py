"""The aggregator's application over a store of its own, asked without a socket."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from cloud.app import Application, application
from cloud.metrics import Metrics
from cloud.records.tokens import Grant, Role
from cloud.sqlite.tokens import SqliteTokens
from cloud.store import Store, opened
from support.cloud_batches import Ticking


class App:
    """Asked as whoever has a token of a role."""

    def __init__(
        self, store: Store, application: Application, client: httpx.AsyncClient, now: Ticking, known: SqliteTokens
    ) -> None:
        self.store, self.application, self.client, self.now = store, application, client, now
        self.tokens: dict[str, str] = {}
        self.known = known

    def grant(self, role: str) -> Grant:
        """What the token of a role allows."""
        grant = self.known.look(self.tokens[role])
        assert grant is not None
        return grant

    async def ask(self, method: str, path: str, role: str = "operator", **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[role]}", **more.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **more)

    async def get(self, path: str, status: int = 200, **params: Any) -> Any:
        answer = await self.ask("GET", path, "reader", params=params)
        assert answer.status_code == status, answer.text
        return answer.json()


@asynccontextmanager
async def app_over(directory: Path, now: Ticking | None = None) -> AsyncGenerator[App]:
    """An application for the length of a block, with a token of each role."""
    now = now or Ticking()
    tokens = SqliteTokens(directory)
    roles: tuple[Role, ...] = ("reader", "operator", "admin")
    async with opened(directory, now) as store:
        made = application(store, tokens, Metrics(), now)
        transport = httpx.ASGITransport(made.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:
            app = App(store, made, client, now, tokens)
            app.tokens = {role: tokens.create(role, None, f"an {role}", now()) for role in roles}
            yield app
        made.close()
    tokens.close()
