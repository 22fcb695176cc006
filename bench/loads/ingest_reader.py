"""Reader: one connection to the aggregator's API, kept alive: HTTP with as little of its own as can be."""

from __future__ import annotations

import asyncio
from typing import Self
from urllib.parse import urlsplit

from bench.stand import BenchError


class Reader:
    """Open it with `async with`. One question at a time."""

    def __init__(self, url: str, token: str) -> None:
        self._parts = urlsplit(url)
        self._head = f" HTTP/1.1\r\nHost: {self._parts.netloc}\r\nAuthorization: Bearer {token}\r\n"

    async def __aenter__(self) -> Self:
        self._in, self._out = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._out.close()

    async def get(self, path: str) -> bytes:
        """The body of the answer.

        Raises:
            BenchError: it is no success.
        """
        self._out.write(f"GET {path}{self._head}\r\n".encode())
        return await self._answer(path)

    async def post(self, path: str, key: str, body: bytes) -> bytes:
        """Give an order with that `Idempotency-Key`; the body of the answer.

        Raises:
            BenchError: it is no success.
        """
        head = f"Idempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._out.write(f"POST {path}{self._head}{head}".encode() + body)
        return await self._answer(path)

    async def _answer(self, path: str) -> bytes:
        head = (await self._in.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        body = await (self._chunks() if "\ntransfer-encoding: chunked" in head else self._whole(head))
        if not head.startswith("http/1.1 2"):
            raise BenchError(f"{path}: {head.splitlines()[0]}: {body.decode(errors='replace')}")
        return body

    async def _whole(self, head: str) -> bytes:
        return await self._in.readexactly(int(head.partition("content-length:")[2].split("\r\n")[0]))

    async def _chunks(self) -> bytes:
        """A body that is sent while it is made (RFC 9112, 7.1)."""
        found: list[bytes] = []
        while size := int(await self._in.readline(), 16):
            found.append((await self._in.readexactly(size + 2))[:size])
        await self._in.readline()
        return b"".join(found)
