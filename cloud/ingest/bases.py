"""Bases: the last self-contained body of each lane, for the chained ones that lean on it (`wire.chain`).

In memory alone: a node whose base is not here gets a 409 and sends its batch again in full. On the event loop.

Bounds: one body a node and lane, of at most MAX_BASE_BYTES once open (`wire.chain`), KEPT_BYTES in all; the longest
unused go first. A body that nobody leans on stays compressed.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from wire.batch import Lane
from wire.chain import MAX_BASE_BYTES, Base, Chained
from wire.errors import Malformed
from wire.frame import plain_bytes, squeeze, stretch

KEPT_BYTES: Final = 64 << 20

_Key = tuple[str, Lane]  # node, lane


class NoBase(Exception):
    """The body leans on one that is not here."""


class Bases:
    """Of one aggregator."""

    def __init__(self, limit_bytes: int = KEPT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._bodies: OrderedDict[_Key, bytes | Base] = OrderedDict()
        self._sizes: dict[_Key, int] = {}
        self._size = 0

    def keep(self, node: str, lane: Lane, body: bytes) -> None:
        """A self-contained body was taken."""
        if plain_bytes(body) <= MAX_BASE_BYTES:
            self._put((node, lane), body, len(body))
        elif (node, lane) in self._bodies:  # no node leans on one as large, nor on the one before any more
            del self._bodies[node, lane]
            self._size -= self._sizes.pop((node, lane))

    def of(self, node: str, lane: Lane) -> Base | None:
        """The body that was taken last, made ready when it is asked for the first time."""
        key = (node, lane)
        body = self._bodies.get(key)
        if isinstance(body, bytes):
            size = plain_bytes(body)
            body = Base(stretch(body))
            self._put(key, body, size)
        elif body is not None:
            self._bodies.move_to_end(key)
        return body

    def _put(self, key: _Key, body: bytes | Base, size: int) -> None:
        self._size += size - self._sizes.get(key, 0)
        self._bodies[key], self._sizes[key] = body, size
        self._bodies.move_to_end(key)
        while self._size > self._limit_bytes:
            oldest, _ = self._bodies.popitem(last=False)
            self._size -= self._sizes.pop(oldest)


def in_full(chained: Chained, base: Base) -> bytes:
    """The self-contained body that a chained one stands for; may be called beside the event loop.

    Raises:
        NoBase: it leans on another one.
        TooLarge: it is more than a body may be.
    """
    if base.name != chained.base:
        raise NoBase
    try:
        return squeeze(base.stretch(chained.frame))
    except Malformed as error:
        raise NoBase from error
