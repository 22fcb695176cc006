"""Reader: one connection to the aggregator's API, kept alive: HTTP with as little of its own as can be."""

from __future__ import annotations

import asyncio
from typing import Self
from urllib.parse import urlsplit

from bench.cabinet import City
from bench.stand import BenchError


class Reader:
    """Open it with `async with`. One question at a time."""

    def __init__(self, city: City, token: str) -> None:
        self._parts = urlsplit(city.url)
        self._head = f" HTTP/1.1\r\nHost: {self._parts.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"

    async def __aenter__(self) -> Self:
        self._in, self._out = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._out.close()

    async def get(self, path: str) -> bytes:
        """The body of the answer.

        Raises:
            BenchError: it is not a 200.
        """
        self._out.write(f"GET {path}{self._head}".encode())
        head = (await self._in.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        if not head.startswith("http/1.1 200"):
            raise BenchError(f"{path}: {head.splitlines()[0]}")
        return await self._in.readexactly(int(head.partition("content-length:")[2].split("\r\n")[0]))
