"""Stages: how far an order has come, and how it ends. Pure: no clock, no I/O.

    issued      taken by the aggregator
    sent        written to the node's downlink, or about to be: said before the act
    accepted … as the node says (`wire.entries.Result`)

A stage only moves forward, and the first final one stays for ever, whatever is said again, late or out of order. The
aggregator ends an order itself in two cases and no other: it was never sent when it expired, or its node has not said
how it ended for WORD_US after that.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from cloud.times import DAY_US
from wire.entries import Stage
from wire.orders import FINAL
from wire.time import Micros, Utc

WORD_US: Final = Micros(DAY_US)

OrderStage = Literal["issued", "sent"] | Stage

_RANK: Final[dict[OrderStage, int]] = {"issued": 0, "sent": 1, "accepted": 2, "applied": 3}
_FINAL_RANK: Final = 4


def forward(stage: OrderStage, said: OrderStage) -> OrderStage:
    """The stage after another was said: the further one; of two finals the one that stands already."""
    return said if _rank(said) > _rank(stage) else stage


def _rank(stage: OrderStage) -> int:
    return _RANK.get(stage, _FINAL_RANK)


class OwnEnd(msgspec.Struct, frozen=True):
    """How the aggregator ends an order by itself."""

    stage: Literal["expired", "failed"]
    time_us: Utc
    detail: str


def own_end(stage: OrderStage, expires_us: Utc, now_us: Utc, *, sent: bool) -> OwnEnd | None:
    """Whether the aggregator ends this order now."""
    if stage in FINAL or now_us < expires_us:
        return None
    if not sent:
        return OwnEnd("expired", now_us, "it was never sent: the node had no downlink open before it expired")
    if now_us < expires_us + WORD_US:
        return None
    told = "the node never said" if stage == "sent" else f"{stage}, and the node never said how it ended"
    return OwnEnd("failed", now_us, told)


def overdue(stage: OrderStage, expires_us: Utc, now_us: Utc, *, sent: bool) -> bool:
    """Whether the node's word on an order that was sent, and has expired, is still waited for."""
    return sent and stage not in FINAL and now_us >= expires_us
