"""What has begun to leave and is not yet known to have arrived.

Promises: `landed` returns when nothing is in flight; whoever hushes the street first and then waits for it
knows that the ledger no longer grows.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Flight:
    """Counts what is on its way; used as a plain context manager around each."""

    def __init__(self) -> None:
        self._count = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def __enter__(self) -> None:
        self._count += 1
        self._empty.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._count -= 1
        if self._count == 0:
            self._empty.set()

    async def landed(self) -> None:
        """Wait until nothing is in flight."""
        await self._empty.wait()
