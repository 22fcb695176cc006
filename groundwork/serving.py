"""Serving: uvicorn that leaves signals to the process that runs it, at both ends, and says that it turns.

Bounds: TURN_S for a turn, of which there are ten a second.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Final

import uvicorn

from groundwork.liveness import Part

TURN_S: Final = 60.0


class Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: it would take SIGTERM from who has more to end than HTTP."""

    def __init__(self, config: uvicorn.Config, alive: Part | None = None) -> None:
        """`alive` is told of each turn."""
        super().__init__(config)
        self._alive = Part("http") if alive is None else alive

    async def on_tick(self, counter: int) -> bool:
        """A turn has begun."""
        self._alive.within(TURN_S, "a turn of the server")
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take none."""
        yield
