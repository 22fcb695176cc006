"""Lives: a process runs one life of the node after another (`edge.outbox.storage` says when one ends), until it is told
to end; its watchdog is kept over all of them, and between them.

Bounds: GIVE_UP_S from the signal to the end of the process, whatever does not end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

from groundwork.watchdog import Watchdog

EXIT_FAILED: Final = 1
GIVE_UP_S: Final = 18.0  # systemd's TimeoutStopSec is 20


class Life(Protocol):
    """A node, as far as its lives go."""

    @property
    def abandoned(self) -> bool:
        """Whether a thread hangs in the card: the process cannot end in good order."""
        ...

    async def run(self, stop: asyncio.Event) -> bool:
        """Until it is told to stop; true where another life is to follow."""
        ...


async def live(make: Callable[[], Life], watchdog: Watchdog, leave: Callable[[int], Any] = os._exit) -> None:
    """Until SIGTERM or SIGINT. `leave` ends the process at once.

    Raises:
        Exception: what a life has raised.
    """

    def give_up(code: int = EXIT_FAILED) -> None:
        sys.stderr.write("lamplighter-edge: the card hangs: the node ends without it\n")
        sys.stderr.flush()
        leave(code)

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        watchdog.stopping()
        stop.set()
        # Threads that hang in the card would keep the process alive for ever; the event loop may not turn any more.
        timer = threading.Timer(GIVE_UP_S, give_up)
        timer.daemon = True
        timer.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    async with watchdog.kept():
        while True:
            life = make()
            again = await life.run(stop)
            if life.abandoned:
                give_up(EXIT_FAILED if again else 0)
            if not again:
                return
