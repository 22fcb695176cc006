"""Log: the only commit point of the cloud. A batch is taken whole and once, or nothing changes.

    append   compare-and-append (the one rule); durable on return, whatever it answers
    note     keep what the aggregator itself says, in the same order
    read     what was taken, by position, batches whole and in the bytes in which they came
    pick     the same of single positions
    outlines what each record holds, without opening any
    reach    which positions can be read: floor < position ≤ head

`ReadLog` is what those are handed who only read, also in processes of their own.

A position is a number that grows; it is unique within a generation. A store that was restored draws a new and
greater generation. Bounds: one read returns at most `limit` records, and no more bytes than `limit_bytes` unless
the first record alone has more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from cloud.log.batch_facts import BatchFacts
from cloud.log.notices import Announcement, Finding
from cloud.log.outline import Outline
from cloud.log.streams import LogPosition
from wire.batch import Batch, Lane
from wire.time import Utc

READ_BYTES = 8 << 20


class Taken(msgspec.Struct, frozen=True):
    """The answer to an append: where the log stands now, and at which position the batch is if it was taken."""

    place: LogPosition
    position: int | None


class Record(msgspec.Struct, frozen=True):
    """One thing in the log: the body of a batch as it was received, or a notice in JSON."""

    position: int
    received_us: Utc
    notice: bool
    body: bytes


class Reach(msgspec.Struct, frozen=True):
    """The positions that can be read whole: floor < position ≤ head."""

    floor: int
    head: int


class ReadLog(Protocol):
    """What the feed is handed."""

    @property
    def generation(self) -> int:
        """Drawn when the store was made or restored."""
        ...

    async def read(self, after: int, limit: int, limit_bytes: int = READ_BYTES) -> Sequence[Record]:
        """The records after a position, oldest first."""
        ...

    async def pick(self, positions: Sequence[int], limit_bytes: int = READ_BYTES) -> Sequence[Record]:
        """Those records of these positions that there are, oldest first. The rest is left out beyond `limit_bytes`."""
        ...

    async def outlines(self, after: int, through: int) -> Sequence[Outline]:
        """What each record holds whose position is beyond `after` and not beyond `through`: one for each position."""
        ...

    def reach(self) -> Reach:
        """Which positions can be read now."""
        ...

    async def grown(self, beyond: int) -> None:
        """Return once the head lies beyond a position."""
        ...


class Log(ReadLog, Protocol):
    """What the API is handed."""

    async def append(self, batch: Batch, facts: BatchFacts, body: bytes) -> Taken:
        """Take the batch if it fits, with all the views.

        Raises:
            Unavailable: nothing was changed, and the sender should keep the batch.
        """
        ...

    async def note(self, said: Sequence[Finding | Announcement]) -> None:
        """Keep notices, each at a position of its own."""
        ...

    async def place(self, node: str, epoch: int, lane: Lane) -> LogPosition:
        """Where the log stands; the origin for an epoch that it has never heard of."""
        ...


class Unavailable(Exception):
    """The store cannot take or answer anything now (disk full, input/output error, shutting down)."""
