"""Bodies: what nodes send, while it arrives. No node can keep the others out.

Bounds: NODE_MOST requests of one node at a time, MAX_BODY_BYTES and BODY_S for each body, HELD_BYTES of bodies
held for all nodes together. Beyond them a request is refused at once, 503 with Retry-After; nothing waits here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from starlette.requests import Request

from cloud.problem import Problem, unavailable
from wire.codec import ACCEPTS, MAX_BODY_BYTES
from wire.errors import Malformed, TooLarge, Unsupported

NODE_MOST: Final = 2
BODY_S: Final = 60.0
HELD_BYTES: Final = 256 << 20


class Bodies:
    """On the event loop."""

    def __init__(self) -> None:
        self._of_node: dict[str, int] = {}
        self._held = 0

    @contextmanager
    def of(self, node: str) -> Generator[Body]:
        """Count a request of a node for as long as it is in hand.

        Raises:
            Problem: the node has too many in hand already.
        """
        count = self._of_node.get(node, 0)
        if count >= NODE_MOST:
            raise unavailable(f"{count} requests of node {node} are in hand; a node sends one a lane at a time", 1)
        self._of_node[node] = count + 1
        body = Body(self)
        try:
            yield body
        finally:
            self._held -= body.size
            self._of_node[node] -= 1
            if not self._of_node[node]:
                del self._of_node[node]

    def hold(self, size: int) -> None:
        """Take in more bytes.

        Raises:
            Problem: too many are held already.
        """
        if self._held + size > HELD_BYTES:
            raise unavailable(f"{self._held} bytes of bodies are held")
        self._held += size


class Body:
    """The body of one request."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.size = 0
        self.media_type = ""

    async def read(self, request: Request, *media_types: str) -> bytes:
        """All of it. The first of the media types is one zstd frame.

        Raises:
            Unsupported, TooLarge, Malformed: it is not one.
            Problem: it came too slowly, or too much is held.
        """
        headers = request.headers
        given = self.media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if given not in media_types:
            raise Unsupported(f"the content type is {given or 'missing'}; send {' or '.join(media_types)}", ACCEPTS)
        wanted = "zstd" if given == media_types[0] else "identity"
        encoding = headers.get("content-encoding", wanted).strip().lower()
        if encoding != wanted:
            raise Unsupported(f"the content encoding is {encoding}; send {wanted}", ACCEPTS)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > MAX_BODY_BYTES:
            raise _too_large()
        whole = bytearray()  # not a list: pieces of one byte each would take forty times as much
        try:
            async with asyncio.timeout(BODY_S):
                async for chunk in request.stream():
                    if self.size + len(chunk) > MAX_BODY_BYTES:
                        raise _too_large()
                    self._bodies.hold(len(chunk))
                    self.size += len(chunk)
                    whole += chunk
        except TimeoutError:
            raise Problem(408, "request-timeout", f"the body did not arrive within {BODY_S:.0f} s") from None
        if not self.size:
            raise Malformed("the body is empty")
        return bytes(whole)


def _too_large() -> TooLarge:
    return TooLarge(f"a body has at most {MAX_BODY_BYTES} bytes")
