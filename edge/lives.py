"""Lives: a process runs one life of the node after another (`edge.outbox.storage` says when one ends), until it is told
to end; its watchdog is kept over all of them, and between them.

Bounds: LEFT_S for tasks that are left when a life has ended; GIVE_UP_S from the signal to the end of the process,
whatever does not end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from edge.watchdog import NodeWatchdog

EXIT_FAILED: Final = 1
GIVE_UP_S: Final = 15.0  # well within systemd's TimeoutStopSec, which is 20
LEFT_S: Final = 2.0
MAX_NAMED: Final = 5


class Life(Protocol):
    """A node, as far as its lives go."""

    @property
    def abandoned(self) -> bool:
        """Whether a thread hangs in the card: the process cannot end in good order."""
        ...

    @property
    def hangs(self) -> str:
        """What is known not to answer now, in words; nothing where all does. Asked from any thread."""
        ...

    async def run(self, stop: asyncio.Event) -> bool:
        """Until it is told to stop; true where another life is to follow."""
        ...


async def live(make: Callable[[], Life], watchdog: NodeWatchdog, leave: Callable[[int], Any] = os._exit) -> None:
    """Until SIGTERM or SIGINT. `leave` ends the process at once, where something in it does not end.

    Raises:
        Exception: what a life has raised.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    life: Life | None = None

    def note(why: str) -> None:
        """How the process ends: whatever does not end when it was told to, it was told to."""
        watchdog.marker.end() if stop.is_set() else watchdog.marker.failed(why)

    def give_up(code: int, what: str) -> None:
        sys.stderr.write(f"lamplighter-edge: {what}: the node ends without it\n")
        sys.stderr.flush()
        note(what)
        leave(code)

    def too_late() -> None:
        what = "" if life is None else life.hangs
        give_up(EXIT_FAILED, what or _named(asyncio.all_tasks(loop)))

    def end() -> None:
        watchdog.stopping()
        stop.set()
        # Threads that hang in the card would keep the process alive for ever; the event loop may not turn any more.
        timer = threading.Timer(GIVE_UP_S, too_late)
        timer.daemon = True
        timer.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    try:
        async with watchdog.kept():
            again = True
            while again:
                life = make()
                again = await life.run(stop)
                if life.abandoned:
                    give_up(EXIT_FAILED if again else 0, life.hangs or "the card hangs")
    except BaseException as error:
        note(f"{type(error).__name__}: {error}")
        raise
    note("")
    if left := await _left():
        give_up(0, _named(left))


async def _left() -> Iterable[asyncio.Task[Any]]:
    """Tasks that do not even end when they are cancelled: whoever closes the event loop would wait for them."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    return (await asyncio.wait(others, timeout=LEFT_S))[1] if others else ()


def _named(tasks: Iterable[asyncio.Task[Any]]) -> str:
    """Who they are: those that have a name of ours first."""
    names = sorted({t.get_name() for t in tasks}, key=lambda name: (name.startswith("Task-"), name))
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"{', '.join(names[:MAX_NAMED]) or 'something'}{more} does not end"
