"""Pieces: an answer that is sent while it is made, so that it begins soon and no more of it is held than is made.

Half an answer is none: where it cannot be made to its end the connection is closed, which whoever reads it notices (its
length is not told before: RFC 9112, 8). Bound: each piece must be taken within `cut_s`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cloud.api.routes import LOG
from cloud.history.contract import TooMuch
from cloud.log.contract import Unavailable

CUT_S: Final = 30.0


class PiecesResponse(Response):
    """Pieces of bytes."""

    def __init__(
        self,
        pieces: AsyncGenerator[bytes],
        held: AsyncExitStack,
        headers: Mapping[str, str],
        media_type: str,
        cut_s: float = CUT_S,
    ) -> None:
        """`held` is closed when the answer ends, however."""
        super().__init__(None, 200, headers, media_type)
        del self.headers["content-length"]
        self._pieces, self._held, self._cut_s = pieces, held, cut_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, unless whoever asked goes before its end."""
        gone = asyncio.ensure_future(_gone(receive))
        try:
            async with self._held, aclosing(self._pieces):
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                async for piece in self._pieces:
                    if gone.done():
                        return
                    async with asyncio.timeout(self._cut_s):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:  # no fault of ours; returning in the middle of an answer closes the connection
            LOG.warning("%s was ended: nothing of it was taken for %g s", scope["path"], self._cut_s)
        except (Unavailable, TooMuch) as error:
            LOG.warning("%s was ended: %s", scope["path"], error)
        finally:
            gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
