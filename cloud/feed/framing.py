"""Framing: events as they stand in the stream.

Bound: a piece has about CHUNK_BYTES, and one event more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

from cloud.feed.events import Encoded
from cloud.feed.filter import Filter

CHUNK_BYTES: Final = 256 << 10


def chunks_of(
    events: Sequence[Encoded], wanted: Filter, inside: Collection[str] | None, name: Callable[[int], str] | None
) -> list[bytes]:
    """Those that are wanted; `name` is what the cursor is after each."""
    chunks: list[bytes] = []
    lines: list[bytes] = []
    size = 0
    for event in events:
        if wanted.takes(event, inside):
            if name is not None:
                lines.append(b"id: %s\n" % name(event.offset).encode())
            lines.append(b"data: %s\n\n" % event.json)
            size += len(event.json)
            if size >= CHUNK_BYTES:
                chunks.append(b"".join(lines))
                lines, size = [], 0
    return [*chunks, b"".join(lines)] if lines else chunks
