"""Trial queue: bundles that are tried apart from the node before they are taken, one after the other as they came.

Bound: none of its own; the desk takes a bounded number of orders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from drivers.errors import NotStored
from edge.acting.mishaps import Mishaps
from wire.orders import Bundle

TryOut = Callable[[Bundle], Awaitable[str | None]]


END_S: Final = 5.0  # for a trial to end


class TrialQueue:
    """One for a node; leave it with `close`."""

    def __init__(self, try_out: TryOut, *, mishaps: Mishaps, ended: Callable[[], object]) -> None:
        """`try_out` says why a bundle cannot be taken, None where it can. `ended` is called after each trial."""
        self._try_out, self._mishaps, self._ended = try_out, mishaps, ended
        self._one_by_one = asyncio.Lock()
        self._trying: set[asyncio.Task[None]] = set()

    def put(self, bundle: Bundle, after: asyncio.Future[None] | None, done: Callable[[str | None], None]) -> None:
        """See `edge.control.orders.TryFirst`."""
        task = asyncio.ensure_future(self._try(bundle, after, done))
        self._trying.add(task)
        task.add_done_callback(self._trying.discard)

    async def close(self) -> None:
        """End what is being tried."""
        for task in self._trying:
            task.cancel()
        if self._trying:
            await asyncio.wait(self._trying, timeout=END_S)

    async def _try(
        self, bundle: Bundle, after: asyncio.Future[None] | None, done: Callable[[str | None], None]
    ) -> None:
        async with self._one_by_one:
            why: str | None = "the card does not take it: nothing is tried before it is noted there"
            try:
                if after is not None:
                    await after
                why = await self._try_out(bundle)
            except NotStored:
                pass
            except Exception as error:  # noqa: BLE001 - the order must end
                self._mishaps.note("trying a bundle", error)
                why = f"it could not be tried: {type(error).__name__}: {error}"
            try:
                done(why)
            except Exception as error:  # noqa: BLE001 - the next bundle must have its turn
                self._mishaps.note("taking a bundle", error)
            self._ended()
