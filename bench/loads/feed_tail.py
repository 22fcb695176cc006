"""Tail: a reader of the feed, and when each event was there.

Bounds: events of LINE_BYTES; nothing is kept but what `until` is still to find.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Final, Self
from urllib.parse import urlsplit

import msgspec

from bench.stand import BenchError

LINE_BYTES: Final = 4 << 20


class Tail:
    """Open it with `async with`; from then on nothing is missed."""

    def __init__(self, url: str, token: str, query: str) -> None:
        """`query` is what the feed is asked for, such as `type=result`."""
        self._parts = urlsplit(url)
        self._request = (
            f"GET /v1/feed?{query} HTTP/1.1\r\nHost: {self._parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
            "Accept: text/event-stream\r\n\r\n"
        ).encode()

    async def __aenter__(self) -> Self:
        self._in, self._out = await asyncio.open_connection(self._parts.hostname, self._parts.port, limit=LINE_BYTES)
        self._out.write(self._request)
        head = (await self._in.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        if not head.startswith("http/1.1 200") or "chunked" not in head:
            raise BenchError(f"the feed: {head.splitlines()[0]}")
        await self._chunk()  # it has begun, and knows where
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._out.close()

    async def events(self) -> AsyncIterator[tuple[float, dict[str, Any]]]:
        """Each event's `data`, and when it was read on the monotonic clock, in seconds.

        Raises:
            BenchError: the feed ended.
        """
        rest = b""
        while True:
            chunk = await self._chunk()
            at_s = time.monotonic()
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.startswith(b"data:"):
                    yield at_s, msgspec.json.decode(line[5:])["data"]

    async def _chunk(self) -> bytes:
        size = int(await self._in.readline() or b"0", 16)
        if not size:
            raise BenchError("the feed ended")
        return (await self._in.readexactly(size + 2))[:-2]
