"""Batch, Ack and Snapshot: a contiguous run of a lane going up, and what the cloud says to it.

The one rule: the log takes a batch only if `first_seq` is its own through_seq + 1 and `prev` is its own digest;
anything else changes nothing. Every answer names the place where the log stands.

A run is one lane of one epoch. Its first batch says which run of that lane came before it on the same card, and where
that one ended: only then does the log know that nothing of it is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import Final

import msgspec

from wire.columns import Columns
from wire.contents import Placed
from wire.time import Micros, Utc

DIGEST_BYTES: Final = 16
ORIGIN: Final = bytes(DIGEST_BYTES)  # the digest before the first row
GENERATION_HEADER: Final = "Lamplighter-Generation"  # of a request: the generation that the node knows, in decimal
_YEAR_US: Final = Micros(366 * 86_400_000_000)
GENERATIONS_FROM_US: Final = Micros(1_764_547_200_000_000)  # December 2025: no true clock shows less
GENERATIONS_AHEAD_US: Final = Micros(10 * _YEAR_US)


class Lane(StrEnum):
    """Urgent (alarms, health, clock) goes ahead of bulk (columns); there is no order between the two."""

    URGENT = "urgent"
    BULK = "bulk"


def advance(prev: bytes, row: bytes) -> bytes:
    """The lane's running digest after `row`, from the digest before it."""
    return blake2b(prev + row, digest_size=DIGEST_BYTES).digest()


class Predecessor(msgspec.Struct, frozen=True):
    """The run before this one, of the same lane: its last seq and the digest after it.

    `whole` is false where the card has lost what it had written: the run had at least these entries, and where it
    really ended is not known.
    """

    epoch: int
    through_seq: int
    digest: bytes
    whole: bool = True


def believable(generation: int, now_us: Utc) -> bool:
    """Whether a generation may be believed, by one's own clock.

    Generations are drawn from the clock (µs UTC), or one greater than the last. More than GENERATIONS_AHEAD_US ahead
    is a mistake or a forgery: to believe it would make both ends deaf to all that are drawn by a true clock.
    """
    return 0 < generation <= max(now_us, GENERATIONS_FROM_US) + GENERATIONS_AHEAD_US


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A contiguous run `first_seq` … `through_seq` of one lane of one epoch of one node.

    `prev` and `digest` are the running digests before and after it; `held_from` and `head_seq` say what else the
    node holds. The places of the entries fill the run without a hole and without a double. `predecessor` stands in the
    first batch of a run: None says that the node knows of no run before it (a new card); UNSET, that it cannot say.
    """

    node: str
    epoch: int
    lane: Lane
    first_seq: int
    through_seq: int
    prev: bytes
    digest: bytes
    held_from: int
    head_seq: int
    entries: Sequence[Placed]  # as decoded: `wire.contents.Contents`
    predecessor: Predecessor | msgspec.UnsetType | None = msgspec.UNSET


class Ack(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the log stands for one lane of one epoch. `generation` changes when the store was restored.

    `accepts` lists batch versions. `server_us` is the cloud's UTC time. The node waits `pause_s` before its next
    batch, and pushes every 2 s for the next `live_s` because somebody is watching. `held_s` is how long the cloud had
    the body in hand: that much of the round trip says nothing about the link. `head_seq` is the last seq that the cloud
    has been told of in this run: a node that has less after a start has a card that went back.
    """

    generation: int
    epoch: int
    lane: Lane
    through_seq: int
    digest: bytes
    accepts: tuple[int, ...]
    server_us: Utc
    pause_s: float = 0.0
    live_s: float = 0.0
    held_s: float = 0.0
    head_seq: int = 0


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Each device's last sample after an outage: fresh before complete. No seqs; touches only `latest`."""

    node: str
    columns: Sequence[Columns]


__all__ = [
    "DIGEST_BYTES",
    "GENERATION_HEADER",
    "ORIGIN",
    "Ack",
    "Batch",
    "Lane",
    "Placed",
    "Predecessor",
    "Snapshot",
    "advance",
    "believable",
]
