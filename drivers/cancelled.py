"""Cancelled: a cancellation that a library has lost is raised again.

asyncio.wait_for before Python 3.12 returns its answer and forgets the cancellation that met it; whoever awaits such a
library would live on after its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def told(asked: Awaitable[T]) -> T:
    """What is awaited.

    Raises:
        asyncio.CancelledError: this task was cancelled meanwhile, whatever came of it.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        return await asked
    finally:
        if task.cancelling() > before:
            raise asyncio.CancelledError
