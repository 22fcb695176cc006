"""Outbox: the node's durable queue. What `append` has accepted is there until the city has it, or a Gap says not.

Entries lie in rows: one row a lane and commit, sealed, never rewritten. Rows form runs: a run is one lane of one
epoch, its seqs gapless from 1, each row end with a running digest. A run begins at random (its epoch) and ends when
the cloud stands at a place that is not its own past (the card was rolled back or cloned): what it holds beyond goes
on in a new run. This is the node's half of the one rule (ARCHITECTURE.md).

State of alarms, orders and held values lies beside the rows, by key, and changes in the same commit as the entries that
tell of it: the two never disagree.

Bounds: `limit_bytes` on the card, the write-ahead log included. When it is reached, acked history goes first, oldest
first, then the oldest unsent bulk rows become one Gap; urgent rows are never dropped. What is kept by key is bounded by
whoever keeps it.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Annotated, Final, Protocol

import msgspec
from msgspec import Meta

from drivers.contract import Receipt
from edge.outbox.generations import Generations
from wire.batch import Ack, Batch, Lane
from wire.columns import Columns
from wire.entries import Entry
from wire.sample import Sample
from wire.time import Utc

MAX_CUT_BYTES = 512 * 1024  # the most that a cut is ever asked for, in bytes of rows …
MAX_CUT_ROWS = 5_000  # … and the most rows that it joins
NOTHING: Final[Mapping[str, bytes | None]] = {}


class PositionQuery(msgspec.Struct, frozen=True):
    """A question to the cloud: where do you stand in this run?"""

    epoch: int
    lane: Lane


class Cut(msgspec.Struct, frozen=True):
    """A batch ready to go up. `rows` says how many sealed rows it joins (0 for a Gap made on the way), `row_bytes` how
    large those were: what `cut` is asked for is counted in them."""

    batch: Batch
    rows: int
    row_bytes: int


class SetAside(msgspec.Struct, frozen=True, kw_only=True):
    """A row that lies in the quarantine. `id` names it there; `through_seq` is the seq that it ended at, `aside_us`
    when it was set aside (UTC microseconds; None where an earlier version did not note it). What was damaged on the
    card cannot be sent again."""

    id: int
    lane: Lane
    through_seq: int
    bytes: int
    reason: str
    aside_us: Utc | None
    sendable: bool


class SendAgain(msgspec.Struct, forbid_unknown_fields=True):
    """Which rows of the quarantine to send again; null means all."""

    ids: Annotated[list[int], Meta(max_length=1_000)] | None


class SentAgain(msgspec.Struct):
    """How many rows went back into their lanes, and how many cannot be read any more."""

    sent: int
    unreadable: int


class Depth(msgspec.Struct, frozen=True, kw_only=True):
    """How much waits and how much room it takes. Entries are counted by their seqs; sizes are in bytes; `quarantined`
    counts the rows that lie in the quarantine now. `full` is how much of what rows may take is taken by those that
    wait, 0 … 1, by their share of all that is held: at 1 the oldest of them go. History goes before them."""

    pending: Mapping[Lane, int]
    oldest_us: Utc | None
    used_bytes: int
    limit_bytes: int
    quarantined: int
    full: float = 0.0


class Outbox(Protocol):
    """The contract; `edge.outbox.sqlite` keeps it on a card, `edge.outbox.memory` in lists for tests.

    Every verb raises `drivers.errors.NotStored` when the card refuses, and then nothing has changed.
    """

    generations: Generations  # which generation of the cloud's store is believed in

    async def append(
        self,
        lanes: Mapping[Lane, Sequence[Entry | Sample]],
        receipts: Sequence[Receipt] = (),
        kept: Mapping[str, bytes | None] = NOTHING,
    ) -> None:
        """Keep entries, loose samples, receipts and state in one step; durable on return. Within what is appended the
        seqs go first to what is neither columns nor samples, as given, then to the samples by device.

        `kept` is what the node must know again after a restart, by key; None takes it away.

        Raises:
            drivers.errors.NotStored: nothing was kept, not even after making room.
        """
        ...

    async def cut(self, lane: Lane, limit_bytes: int) -> Cut | PositionQuery | None:
        """What should go up next in this lane: a batch from what is acked to a row end, at least one row even when
        that is over the limit; or a place to ask for first; or None when the city has everything."""
        ...

    async def confirm(self, ack: Ack) -> bool:
        """Take the cloud's answer; it may also move back. True when it meant that a run had to be forked. An answer
        whose generation is not believed (yet) moves nothing."""
        ...

    async def quarantine(self, batch: Batch, reason: str) -> bool:
        """Set aside the row or rows of a batch that the cloud refuses; a Gap takes their place. False when the
        quarantine has no room for them, and then nothing has changed."""
        ...

    async def set_aside(self) -> Sequence[SetAside]:
        """What lies in the quarantine, oldest first."""
        ...

    async def send_again(self, ids: Collection[int] | None = None) -> tuple[int, int]:
        """Put rows out of the quarantine at the head of their lanes, all or those with these ids. How many there were,
        and how many are left where they are because they cannot be read any more."""
        ...

    async def depth(self) -> Depth:
        """How full it is."""
        ...

    async def kept(self, prefix: str) -> Mapping[str, bytes]:
        """What is kept under the keys that begin so."""
        ...

    async def recent(self, source: str) -> Sequence[bytes]:
        """The keys of the latest receipts of a source, oldest first; at most `drivers.contract.RECENT`."""
        ...

    def safe(self) -> Future[None] | None:
        """Whether what was appended up to now is durable: None says that it is. Otherwise, while memory stands in for
        the card, it ends when the city has all of it."""
        ...

    def history(self, from_us: Utc, to_us: Utc, device: str | None = None) -> AsyncIterator[Columns]:
        """What was kept between two times, oldest first. Reads in short transactions of its own."""
        ...
