"""Waiting: what is served while the store cannot be opened, and opening it as soon as it can be.

A full or failing disk, a store that another program holds, or one that is damaged beyond what `cloud.store` works
around must not end the aggregator: systemd would start it a few times and then give up, for good. It says what is
wrong, on /readyz, in the journal and to systemd, and tries again every RETRY_S. Nodes get 503 with Retry-After and keep
what they have; /healthz goes on saying that the process answers. Once the store is open, an alarm tells from when to
when nothing could be taken (`cloud.alarms.trouble`).

Bounds: one request a connection, answered without reading its body; nothing is kept of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Final, Generic, TypeVar

import msgspec
from starlette.types import Receive, Scope, Send

from cloud.alarms.trouble import Missed
from cloud.api.routes import LOG, json_response
from cloud.problem import unavailable
from cloud.sqlite.errors import may_pass, why
from cloud.times import Now
from groundwork.systemd import Notify

RETRY_S: Final = 5.0
RETRY_AFTER_S: Final = 30  # for nodes: all of them come back
T = TypeVar("T")
PASSING: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
)


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers, and waits."""

    status: str = "waiting"


class WaitingApp:
    """The application meanwhile."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.told = ""  # the last error in the journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served here")
        if scope["path"] == "/healthz":
            response = json_response(Alive())
        else:
            response = unavailable(self.reason, RETRY_AFTER_S).response()
        response.headers["Connection"] = "close"
        await response(scope, receive, send)


Open = Callable[[AsyncExitStack], Awaitable[T]]
Meanwhile = Callable[[WaitingApp], AbstractAsyncContextManager[None]]


class OpenedStore(msgspec.Struct, Generic[T], frozen=True):
    """What was opened, and what was missed before."""

    what: T
    missed: Missed | None


async def until_open(
    held: AsyncExitStack,
    open_: Open[T],
    meanwhile: Meanwhile,
    stop: asyncio.Event,
    notify: Notify,
    now: Now,
    disk_free: Callable[[], int],
) -> OpenedStore[T] | None:
    """What `open_` opens and `held` will close; None when it was stopped first. `meanwhile` serves while it cannot be.

    Raises:
        Misplaced, OSError: what waiting does not mend.
    """
    missed: Missed | None = None
    async with AsyncExitStack() as served:
        waiting: WaitingApp | None = None
        while True:
            found = await _tried(held, open_, stop)
            if found is None or not isinstance(found, Exception):
                return None if found is None else OpenedStore(found, missed)
            texts = why(found, disk_free())
            reason = texts["en"]
            if waiting is None:
                waiting = WaitingApp(reason)
                missed = Missed(now(), texts)
                await served.enter_async_context(meanwhile(waiting))
                served.enter_context(_fed(notify))
            if waiting.told != str(found):
                waiting.reason, waiting.told = reason, str(found)
                LOG.error("the store cannot be opened: %s; it is tried again every %.0f s", found, RETRY_S)
                notify.tell(f"READY=1\nSTATUS=waiting: {reason}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S):
                    await stop.wait()


async def _tried(held: AsyncExitStack, open_: Open[T], stop: asyncio.Event) -> T | Exception | None:
    """What was opened, or why it was not, or None when it was stopped meanwhile."""
    async with AsyncExitStack() as attempt:
        opening = asyncio.ensure_future(open_(attempt))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((opening, stopping), return_when="FIRST_COMPLETED")
        finally:
            stopping.cancel()
            opening.cancel()
            await asyncio.wait((opening,))  # which ends with a cancellation of this task, not with one of that
        error = None if opening.cancelled() else opening.exception()
        if opening.cancelled() or stop.is_set():
            return None
        if error is None:
            await held.enter_async_context(attempt.pop_all())
            return opening.result()
    if not isinstance(error, Exception) or (isinstance(error, OSError) and error.errno not in PASSING):
        raise error
    if (passing := may_pass(error)) is None:
        raise error
    return passing


@contextlib.contextmanager
def _fed(notify: Notify) -> Generator[None]:
    feeding = asyncio.ensure_future(notify.watchdog())
    try:
        yield
    finally:
        feeding.cancel()
