"""Cursor: where a reader of the feed is. A number and not a row: `generation.position`, or
`generation.position.offset` inside a batch, which means that the events up to that offset have been sent.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from cloud.log.contract import Reach

Reason = Literal["expired", "generation", "unknown"]


class Cursor(msgspec.Struct, frozen=True):
    """After this. `offset` is None where the whole record has been sent."""

    generation: int
    position: int
    offset: int | None = None

    def __str__(self) -> str:
        tail = "" if self.offset is None else f".{self.offset}"
        return f"{self.generation}.{self.position}{tail}"


class Start(msgspec.Struct, frozen=True):
    """Where to go on: with the record after `after`, leaving out its first `skip` events. `reset` says why not
    where the reader asked.
    """

    after: int
    skip: int = 0
    reset: Reason | None = None


class Origins(msgspec.Struct, frozen=True):
    """What is known of the store's past: its generation, the one that it was restored from, and the position up to
    which both are the same.
    """

    generation: int
    previous: int
    shared_through: int


def parse(given: str) -> Cursor:
    """A cursor from text.

    Raises:
        ValueError: it is none.
    """
    parts = given.split(".")
    if len(parts) not in (2, 3) or not all(p.isascii() and p.isdecimal() and len(p) <= 19 for p in parts):
        raise ValueError(f"{given[:60]!r} is no cursor; it is the id of an event of this feed, or 0 for all there is")
    return Cursor(*map(int, parts))


def start(cursor: Cursor, origins: Origins, reach: Reach) -> Start:
    """Where a reader resumes, from what it has received.

    Of another generation the records up to where both are the same need not be sent again; what came after may
    have been sent under the same ids before.
    """
    before = cursor.position if cursor.offset is None else cursor.position - 1
    if cursor.generation != origins.generation:
        shared = origins.shared_through if cursor.generation == origins.previous else 0
        return Start(max(reach.floor, min(before, shared)), reset="generation")
    if cursor.position > reach.head:
        return Start(reach.floor, reset="unknown")
    if before < reach.floor:
        return Start(reach.floor, reset="expired")
    return Start(before, 0 if cursor.offset is None else cursor.offset + 1)
