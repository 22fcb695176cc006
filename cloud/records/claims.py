"""Claims: which node a device belongs to, where several name it, and what an operator has decided about that.

The first holder keeps a device. An operator may assign it to a node: then it is that node's, whoever else names it,
also before the node has named it itself. A node all of whose tokens were revoked is barred: it holds no claim. Both
are truth, which no rebuild drops; an assignment has its author and time, and is told in the feed.

Bounds: MAX_ASSIGNED assignments; CONFLICTS devices that several nodes hold are looked at, PAIRS pairs of nodes at most.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from cloud.problem import Problem, not_found
from wire.time import Utc

MAX_ASSIGNED: Final = 100_000
CONFLICTS: Final = 1_000
PAIRS: Final = 200


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """Which node a device was assigned to, by whom and when."""

    device: str
    node: str | None
    by: str
    time: str
    time_us: Utc


class AssignmentsPage(msgspec.Struct, frozen=True, kw_only=True):
    """All that stand, by device; `next` is where to go on."""

    assignments: tuple[Assignment, ...]
    next: str | None


class Claims(Protocol):
    """Every method raises `cloud.log.contract.Unavailable` when the store does not answer; nothing was changed then."""

    async def assign(self, device: str, node: str | None, by: str, now_us: Utc) -> Assignment:
        """Assign, reassign, or take an assignment back, and announce it in the feed.

        Raises:
            Problem: there is no such node, no such assignment, or no room.
        """
        ...

    async def page(self, after: str, limit: int) -> AssignmentsPage:
        """Those that stand, by device."""
        ...

    async def bar(self, nodes: Collection[str]) -> None:
        """These nodes, and no others, hold no claim."""
        ...

    async def doubled(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """Which devices two nodes hold both, by the owner and the other."""
        ...


def not_assigned(device: str) -> Problem:
    """There is no assignment to take back."""
    return not_found(f"device {device[:200]!r} is assigned to no node")


def never_heard(node: str) -> Problem:
    """There is no such node."""
    return not_found(f"no node {node[:200]!r} was ever heard")


def no_room(count: int) -> Problem:
    """As many devices are assigned as are kept."""
    return Problem(422, "too-many", f"{count} devices are assigned; no more are kept")
