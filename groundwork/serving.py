"""Serving: uvicorn that leaves signals to the process that runs it, at both ends."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import uvicorn


class Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: it would take SIGTERM from who has more to end than HTTP."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take none."""
        yield
