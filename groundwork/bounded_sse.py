"""Bounded SSE: a response as httpx-sse reads it, that never lets it gather more than it may for one event.

Its bytes are handed on as they came: UTF-8, as the standard has it (WHATWG HTML, 9.2.5), whatever the headers say. A
stream in a Content-Encoding is not read: nobody has asked for one, and 48 KB of it can open to 3 GB. Bounds: those that
it is made with, in characters an event and bytes a stream. Needs httpx and httpx-sse, where it is used.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    import httpx

IDENTITY: Final = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Cache-Control": "no-store"}


class Oversized(Exception):
    """The stream is read no further; the text says which bound it has passed."""


class BoundedResponse:
    """What httpx-sse asks of a response."""

    def __init__(self, response: httpx.Response, *, event_chars: int, stream_bytes: int) -> None:
        """Raises:
        Oversized: it comes in a Content-Encoding.
        """
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding != "identity":
            raise Oversized(f"it comes in the Content-Encoding {encoding[:40]!r}, which nobody has asked for")
        self._response = response
        self._event_chars, self._stream_bytes = event_chars, stream_bytes
        self.headers = response.headers

    async def aiter_text(self) -> AsyncGenerator[str, None]:
        """The text, as it comes; lines may end as the standard lets them: LF, CR LF or CR.

        Raises:
            Oversized: it has brought too much, at all or for one event.
        """
        since_blank, tail, total = 0, "", 0
        decoder = getincrementaldecoder("utf-8")(errors="replace")
        async with aclosing(cast("AsyncGenerator[bytes, None]", self._response.aiter_raw())) as pieces:
            async for piece in pieces:
                total += len(piece)
                if total > self._stream_bytes:
                    raise Oversized(f"it has brought {self._stream_bytes} bytes: it is opened anew")
                text = decoder.decode(piece)
                seen = tail + text
                end = max(seen.rfind(blank) for blank in ("\n\n", "\r\n\r\n", "\r\r"))
                since_blank = len(seen) - end if end >= 0 else since_blank + len(text)
                if since_blank > self._event_chars:
                    raise Oversized(f"more than {self._event_chars} characters that are no event of ours")
                tail = seen[-3:]
                yield text
