"""Bases: the last self-contained body of each lane, for the chained ones that lean on it (`wire.chain`).

In memory alone: a node whose base is not here gets a 409 and sends its batch again in full. On the event loop.

Bounds: one body a node and lane; KEPT_BYTES of bodies, as they were received; the longest unused go first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from wire.batch import Lane
from wire.chain import Base, Chained
from wire.errors import Malformed
from wire.frame import squeeze, stretch

KEPT_BYTES: Final = 64 << 20

_Key = tuple[str, Lane]  # node, lane


class NoBase(Exception):
    """The body leans on one that is not here."""


class Bases:
    """Of one aggregator."""

    def __init__(self, limit_bytes: int = KEPT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._bodies: OrderedDict[_Key, bytes] = OrderedDict()
        self._size = 0

    def keep(self, node: str, lane: Lane, body: bytes) -> None:
        """A self-contained body was taken."""
        self._size += len(body) - len(self._bodies.pop((node, lane), b""))
        self._bodies[node, lane] = body
        while self._size > self._limit_bytes:
            _, oldest = self._bodies.popitem(last=False)
            self._size -= len(oldest)

    def of(self, node: str, lane: Lane) -> bytes | None:
        """The body that was taken last."""
        body = self._bodies.get((node, lane))
        if body is not None:
            self._bodies.move_to_end((node, lane))
        return body


def in_full(chained: Chained, base: bytes) -> bytes:
    """The self-contained body that a chained one stands for; may be called beside the event loop.

    Raises:
        NoBase: it leans on another one.
        TooLarge: it is more than a body may be.
    """
    known = Base(stretch(base))
    if known.name != chained.base:
        raise NoBase
    try:
        return squeeze(known.stretch(chained.frame))
    except Malformed as error:
        raise NoBase from error
