"""Orders as they are kept: what was given, whether it was sent, how far it has come. Not derived from the log: a
rebuild keeps it.

An order is durable, with its notice for the feed and the answer to the one who gave it, in one transaction, before
that answer goes out. "Sent" is durable before an order goes to a node. What nodes say moves an order forward in the
transaction that takes their batch; what the aggregator ends by itself is a notice in the same transaction as the end.

Bounds: a node has MAX_OPEN orders open, MAX_OPEN_BUNDLES of them bundles; KEPT ended orders are kept, KEPT_US long at
most; STEP are ended or pruned in one transaction; a page has MAX_PAGE (`cloud.views.contract`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from cloud.problem import Problem
from cloud.records.keys import Answered, Keyed
from cloud.times import DAY_US
from cloud.views.order_stages import OrderStage, OwnEnd
from wire.orders import Order
from wire.time import Micros, Utc

MAX_OPEN: Final = 2_000
MAX_OPEN_BUNDLES: Final = 20
KEPT: Final = 500_000
KEPT_US: Final = Micros(90 * DAY_US)
STEP: Final = 1_000


class Draft(msgspec.Struct, frozen=True):
    """An order, the node that it is for, and the device's kind where it is for a device of a known one."""

    order: Order
    node: str
    kind: str = ""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it is kept; of a bundle without its text."""

    order_no: int
    node: str
    stage: OrderStage
    sent_us: Utc | None
    ended_us: Utc | None
    own_end: OwnEnd | None
    kind: str
    order: Order


class OrderStore(Protocol):
    """Every method raises `cloud.log.contract.Unavailable` when the store does not answer; nothing was changed then."""

    async def answered(self, keyed: Keyed) -> Answered | None:
        """The answer that a request has had already, if it had one.

        Raises:
            Problem: its key was used for another, or is new and no more are kept.
        """
        ...

    async def take(
        self, drafts: Sequence[Draft], keyed: Keyed, answer: Answered, now_us: Utc, taken: Callable[[], None]
    ) -> Answered:
        """Keep orders, unless the request was answered before: then that answer. `taken` is called once they are
        durable and their notices can be read.

        Raises:
            Problem: a node has too many open; or the key as with `answered`. Nothing was changed.
        """
        ...

    async def unheard(self, node: str, now_us: Utc) -> list[tuple[str, bool]]:
        """A node's open orders of which it has said nothing, the oldest first, and whether each was sent before."""
        ...

    async def sending(self, names: Sequence[tuple[str, bool]], now_us: Utc) -> list[Order]:
        """The orders to be written to their node now: marked as sent, where they were not, before that.

        Of a bundle without its text, which is some hundred kilobytes: `text_of` has it.
        """
        ...

    async def text_of(self, group: str) -> str | None:
        """The text of the bundles of a group; None when none of them is kept any more."""
        ...

    async def one(self, name: str) -> Kept | None:
        """An order by its id."""
        ...

    async def of_node(self, node: str, names: Sequence[str]) -> dict[str, Order]:
        """Those of a node's orders that are known, by id; of bundles without their texts."""
        ...

    async def of_group(self, group: str, after: int, limit: int) -> list[Kept]:
        """Orders of a group, as they were given, after a number."""
        ...

    async def stages_of(self, group: str) -> dict[str, int]:
        """How many orders of a group are at each stage."""
        ...

    async def newest(self, node: str | None, before: int, limit: int, *, open_: bool) -> list[Kept]:
        """Orders of a node or of all, the newest first, before a number."""
        ...

    async def acts(self, alarms: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[Kept]]:
        """What is asked of alarms, by node and alarm id, and not confirmed."""
        ...

    async def end_due(self, now_us: Utc) -> int:
        """End what the aggregator itself ends by now, at most STEP, and announce it in the feed. How many there
        were."""
        ...

    async def prune(self, now_us: Utc) -> int:
        """Forget ended orders and keys that are beyond their bounds, at most STEP of each. How many there were."""
        ...


def too_many_open(node: str, held: int, of: str, most: int) -> Problem:
    """A node has as many open as it may."""
    return Problem(
        429,
        "too-many-open",
        f"node {node} has {held} open {of} and may have {most}: wait until some have ended, give fewer"
        " at once, or let them expire sooner",
        headers={"Retry-After": "30"},
    )
