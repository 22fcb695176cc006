"""Alarms that their node does not know any more, because its card was replaced or went back: they stand until somebody
has acknowledged them here.
"""

from __future__ import annotations

from typing import Protocol

from cloud.records.keys import Answered, Keyed


class EndedAlarms(Protocol):
    """Every method raises `cloud.log.contract.Unavailable` when the store does not answer; nothing was changed then."""

    async def has(self, node: str, name: str) -> bool:
        """Whether it is one."""
        ...

    async def acknowledge(self, node: str, name: str, by: str, now_us: int, note: str, keyed: Keyed) -> Answered | None:
        """Acknowledge one, unless the request was answered before: then that answer. None when the node has said
        something of it meanwhile.

        Raises:
            Problem: the key was used for another request.
        """
        ...
