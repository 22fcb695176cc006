"""Batch, Ack and Snapshot: a contiguous run of a lane going up, and what the cloud says to it.

The one rule: the log takes a batch only if `first_seq` is its own through_seq + 1 and `prev` is its own digest;
anything else changes nothing. Every answer names the place where the log stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import Final

import msgspec

from wire.columns import Columns
from wire.contents import Placed

DIGEST_BYTES: Final = 16
ORIGIN: Final = bytes(DIGEST_BYTES)  # the digest before the first row


class Lane(StrEnum):
    """Urgent (alarms, health, clock) goes ahead of bulk (columns); there is no order between the two."""

    URGENT = "urgent"
    BULK = "bulk"


def advance(prev: bytes, row: bytes) -> bytes:
    """The lane's running digest after `row`, given the digest before it."""
    return blake2b(prev + row, digest_size=DIGEST_BYTES).digest()


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A contiguous run `first_seq` … `through_seq` of one lane of one epoch of one node.

    `prev` and `digest` are the running digests before and after it; `held_from` and `head_seq` say what else the
    node holds. The places of the entries fill the run without a hole and without a double.
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


class Ack(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the log stands for one lane of one epoch. `generation` changes when the store was restored.

    `accepts` lists batch versions. `server_us` is the cloud's UTC time. The node waits `pause_s` before its next
    batch, and pushes every 2 s for the next `live_s` because somebody is watching. `held_s` is how long the cloud had
    the body in hand: that much of the round trip says nothing about the link.
    """

    generation: int
    epoch: int
    lane: Lane
    through_seq: int
    digest: bytes
    accepts: tuple[int, ...]
    server_us: int
    pause_s: float = 0.0
    live_s: float = 0.0
    held_s: float = 0.0


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Each device's last sample after an outage: fresh before complete. No seqs; touches only `latest`."""

    node: str
    columns: Sequence[Columns]


__all__ = ["DIGEST_BYTES", "ORIGIN", "Ack", "Batch", "Lane", "Placed", "Snapshot", "advance"]
