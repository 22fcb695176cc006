"""Stream: where the log stands for one lane of one epoch of one node, and the one rule over it.

The log takes a batch only if `first_seq` is its own through_seq + 1 and `prev` is its own digest; anything else
changes nothing. What the streams of a node say together (unfinished epochs, forks) is in `cloud.views.ledger`.

A stream is a run of `wire.batch`, as far as the log has it. `said` is what its first batch has said of the run before
it on the same card: "named" (where that one ended), "lost" (it had at least that, the card has lost some), "none" (the
card is new), or "unsaid" (the node cannot say).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from cloud.log.batch_facts import BatchFacts
from wire.batch import ORIGIN, Batch, Lane, Predecessor
from wire.time import Utc

Said = Literal["unsaid", "none", "named", "lost"]


class LogPosition(msgspec.Struct, frozen=True, kw_only=True):
    """Where the log stands: what every answer to a node names. `head_seq` is the last seq that the node has
    announced."""

    epoch: int
    lane: Lane
    through_seq: int
    digest: bytes
    head_seq: int = 0


class Stream(msgspec.Struct, kw_only=True):
    """One lane of one epoch. `order` counts the streams by their first appearance in the log; `heard_at` is where the
    log stood when a batch of it was taken last, which orders what was heard whatever the clock did."""

    node: str
    epoch: int
    lane: Lane
    order: int
    first_heard_us: Utc
    last_heard_us: Utc
    through_seq: int = 0
    digest: bytes = ORIGIN
    held_from: int = 0
    head_seq: int = 0
    samples: int = 0
    readings: int = 0
    from_us: Utc | None = None
    to_us: Utc | None = None
    said: Said = "unsaid"
    before_epoch: int | None = None
    before_seq: int | None = None
    before_digest: bytes | None = None
    heard_at: int = 0

    @property
    def place(self) -> LogPosition:
        """Where it stands."""
        return LogPosition(
            epoch=self.epoch,
            lane=self.lane,
            through_seq=self.through_seq,
            digest=self.digest,
            head_seq=self.head_seq,
        )

    def fits(self, batch: Batch) -> bool:
        """The one rule."""
        return batch.first_seq == self.through_seq + 1 and batch.prev == self.digest

    def advance(self, batch: Batch, facts: BatchFacts, now_us: Utc, head: int) -> None:
        """Take a batch that fits; the log stands at `head` before it."""
        self.heard_at = head
        self.through_seq = batch.through_seq
        self.digest = batch.digest
        self.held_from = batch.held_from
        self.head_seq = max(self.head_seq, batch.head_seq, batch.through_seq)
        self.samples += facts.samples
        self.readings += facts.readings
        self.last_heard_us = now_us
        if (reach := facts.reach_us) is not None:
            self.from_us = reach[0] if self.from_us is None else min(self.from_us, reach[0])
            self.to_us = reach[1] if self.to_us is None else max(self.to_us, reach[1])


def origin(epoch: int, lane: Lane) -> LogPosition:
    """Where the log stands for an epoch that it has never heard of."""
    return LogPosition(epoch=epoch, lane=lane, through_seq=0, digest=ORIGIN)


def fits_nowhere_yet(batch: Batch) -> bool:
    """The one rule for an epoch that the log has never heard of."""
    return batch.first_seq == 1 and batch.prev == ORIGIN


def begun(batch: Batch, position: int, now_us: Utc) -> Stream:
    """A stream at its origin, given its first batch."""
    before = batch.predecessor
    stream = Stream(
        node=batch.node,
        epoch=batch.epoch,
        lane=batch.lane,
        order=position,
        first_heard_us=now_us,
        last_heard_us=now_us,
    )
    if before is None:
        stream.said = "none"
    elif isinstance(before, Predecessor):
        stream.said = "named" if before.whole else "lost"
        stream.before_epoch, stream.before_seq, stream.before_digest = before.epoch, before.through_seq, before.digest
    return stream
