"""Server-sent events that are closed when the reader does not read them: for the feed and the downlink.

Bound: each piece that is written must be taken within `cut_s`, or the connection is closed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import ExitStack, aclosing
from typing import Final

from sse_starlette import EventSourceResponse
from sse_starlette.sse import SendTimeoutError
from starlette.types import Message, Receive, Scope, Send

from cloud.api.routes import LOG
from cloud.log.contract import Unavailable

CUT_S: Final = 10.0
EVENT_STREAM: Final = "text/event-stream"


async def while_answered(stream: AsyncGenerator[bytes], name: str) -> AsyncIterator[bytes]:
    """The stream; when the store does not answer it ends, which is logged, and its reader comes again."""
    async with aclosing(stream):
        try:
            async for piece in stream:
                yield piece
        except Unavailable as error:
            LOG.warning("%s was ended: %s", name, error)


class StreamResponse(EventSourceResponse):
    """A stream of bytes that are framed already. Its headers ask proxies neither to buffer nor to cache."""

    def __init__(
        self,
        stream: AsyncIterator[bytes],
        cut_s: float,
        open_: ExitStack,
        sent: Callable[[int], None],
        cut: Callable[[], None],
    ) -> None:
        """`open_` is closed when the answer ends, however; `sent` is called with the bytes sent, `cut` when a reader is
        given up."""
        # The stream says by itself that it lives: `ping` would know nothing of it.
        super().__init__(stream, ping=0, sep="\n", send_timeout=cut_s)  # pyright: ignore[reportUnknownMemberType]
        self._open = open_
        self._sent = sent
        self._cut = cut

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the stream until it ends or the reader goes."""

        async def counted(message: Message) -> None:
            await send(message)
            self._sent(len(message.get("body", b"")))

        with self._open:
            try:
                await super().__call__(scope, receive, counted)
            except SendTimeoutError:  # no fault of ours; returning in the middle of an answer closes the connection
                self._cut()
