"""Write-offs: an operator settles a run whose end will never be known. It stays in the ledger, and what is missing of
it stays missing; it is no longer among what waits for somebody.

Who, when and why is durable, with its notice in the feed, before the answer; it is truth that no rebuild drops. The
first write-off of a run stands: asked again, it is answered again.

Bounds: one a run, and a node has a bounded number of runs a lane (`MAX_EPOCHS`); a note of 2,000 characters.
"""

from __future__ import annotations

from typing import Protocol

from cloud.problem import Problem, not_found
from cloud.views.answers import LaneState, WrittenOff
from wire.batch import Lane
from wire.time import Utc


class WriteOffStore(Protocol):
    """What keeps them."""

    async def write_off(self, node: str, lane: Lane, epoch: int, by: str, now_us: Utc, note: str) -> WrittenOff:
        """Write a run off, unless it was before: then who did it.

        Raises:
            Problem: there is no such run, or its end is known. Unavailable: the store does not answer.
        """
        ...


def no_run(node: str, lane: Lane, epoch: int) -> Problem:
    """There is no such run."""
    return not_found(f"node {node[:100]!r} has no run of the {lane.value} lane with epoch {epoch}")


def end_is_known(state: LaneState) -> Problem:
    """It is not one that is written off."""
    return Problem(422, "not-possible", f"the run is {state}: only one whose end is unknown is written off")
