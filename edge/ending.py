"""Ending: how the tasks of a node come to their end.

Bounds: END_S for tasks that are cancelled, and END_TRIES looks more at one that does not end: it waits for the card, or
swallows cancellations.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

log = logging.getLogger(__name__)

END_S: Final = 6.0  # for tasks to end; one that waits for a card that hangs does not
END_TRIES: Final = 10


async def end(tasks: Sequence[asyncio.Task[None]], why: Callable[[], str] = str) -> None:
    """Cancel them, and wait for their end. `why` says what does not answer now."""
    for task in tasks:
        task.cancel()
    if tasks:
        _, hanging = await asyncio.wait(tasks, timeout=END_S)
        for task in hanging:
            log.error("%s does not end%s", task.get_name(), f": {found}" if (found := why()) else "")
        for _ in range(END_TRIES):  # what it would still do it cannot
            for task in hanging:
                task.cancel()
            if hanging:
                _, hanging = await asyncio.wait(hanging, timeout=0.1)


async def either(*events: asyncio.Event) -> None:
    """Until one of them is set."""
    waits = [asyncio.ensure_future(e.wait()) for e in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
