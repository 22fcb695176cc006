"""Sources: what the folder is handed, a log to follow and a store to read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from cloud.history.partial import HourRow
from cloud.log.contract import READ_BYTES, Reach, Record
from cloud.log.cursor import Origins
from wire.time import Micros, Utc

Extent = tuple[str, int, Utc, Utc]  # node, time base, and between which times, not corrected


class Followed(Protocol):
    """Of `cloud.log.contract.Log`, what is followed."""

    async def read(self, after: int, limit: int, limit_bytes: int = READ_BYTES) -> Sequence[Record]:
        """The records after a position, oldest first."""
        ...


class HoursSource(Protocol):
    """What is folded: the store as it is read."""

    async def reach(self) -> Reach:
        """Which positions the log has."""
        ...

    async def origins(self) -> Origins:
        """The log's generation, and where it comes from."""
        ...

    async def losses(self) -> int:
        """How often the store was built again with something missing."""
        ...

    async def nodes(self) -> Sequence[str]:
        """The names of all nodes, in order."""
        ...

    async def days(self) -> set[int]:
        """The days of UTC, counted since 1970, in which anything was read."""
        ...

    async def offsets(self, node: str) -> Mapping[int, Micros]:
        """What corrects the times of a node's boots now."""
        ...

    async def extents(self, node: str | None, boot: int | None, after: int) -> Sequence[Extent]:
        """Between which times something was read, in batches and chunks with something from after a position."""
        ...

    async def hours(self, node: str, from_us: Utc, to_us: Utc) -> Sequence[HourRow]:
        """All partials of a node's hours between two whole ones."""
        ...
