"""Orders as they are shown: what was asked, how far it has come, and who said so. Pure.

An order that is not known here (the store was restored from before it was given) is shown by what its node said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from cloud.orders.presence import Present
from cloud.records.orders import Draft, Kept
from cloud.times import text
from cloud.views.answers import ClockWord, ResultSeen
from cloud.views.order_stages import OrderStage, forward, overdue
from cloud.views.reports import OWN
from wire.orders import FINAL, AlarmAct, Bundle, Command, Order, Relinquish
from wire.sample import Value
from wire.time import Utc


class StageSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A stage and when it was reached. `source` is who says so: /aggregator, or /nodes/NODE."""

    stage: OrderStage
    source: str
    time: str
    time_us: Utc
    clock: ClockWord = "synced"
    read_back: Value = None
    detail: str = ""


class OrderSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One order. `stage` is how far it has come; `final` that it will not change any more.

    `reachable` is whether the node has a downlink open now, null once the order has ended; `note` says in words what
    is not as it should be. `overdue`: it was sent, has expired, and the node has not said how it ended. `late` is a
    final stage that was said after another; the first one counts. `known` is false for an order that this store has
    never taken: then only what the node said is shown.
    """

    id: str
    group: str
    order: str | None
    node: str
    device: str | None = None
    point: str | None = None
    value: bool | int | float | str | None = None
    level: str | None = None
    alarm: str | None = None
    act: str | None = None
    until: str | None = None
    bundle: str | None = None
    version: str | None = None
    by: str | None = None
    issued: str | None = None
    issued_us: Utc | None = None
    expires: str | None = None
    expires_us: Utc | None = None
    sent: str | None = None
    stage: OrderStage
    final: bool
    overdue: bool
    reachable: bool | None
    note: str
    known: bool
    stages: tuple[StageSeen, ...]
    late: StageSeen | None


class AreaMeant(msgspec.Struct, frozen=True, kw_only=True):
    """An area or a group, and which of its versions it was whose devices got the orders."""

    what: Literal["area", "group"]
    id: str
    revision: int


class OrdersTaken(msgspec.Struct, frozen=True, kw_only=True):
    """The orders of one request, one for each device or node, all with the group's id.

    `cursor` is where the feed stood before they were taken: a reader from there on misses nothing of them. `meant` are
    the areas and groups that were named: the orders are for the devices that were in them then, and for no others.
    """

    group: str
    cursor: str
    meant: tuple[AreaMeant, ...] = ()
    orders: tuple[OrderSeen, ...]


class OrdersPage(msgspec.Struct, frozen=True, kw_only=True):
    """Orders; `next` goes into `cursor` for the page after it."""

    orders: tuple[OrderSeen, ...]
    next: str | None


class OrdersFound(msgspec.Struct, frozen=True, kw_only=True):
    """An order, or a page of a group's. `stages` counts all of the group by the stage that they have reached."""

    id: str
    orders: tuple[OrderSeen, ...]
    stages: Mapping[str, int]
    next: str | None


def issued(draft: Draft, present: Present) -> OrderSeen:
    """An order at the moment at which it is taken; `present` is its node."""
    first = StageSeen(stage="issued", source=OWN, time=text(draft.order.issued_us), time_us=draft.order.issued_us)
    return OrderSeen(
        **_asked(draft.order),
        node=draft.node,
        stage="issued",
        final=False,
        overdue=False,
        reachable=present.reachable,
        note=present.note,
        known=True,
        stages=(first,),
        late=None,
    )


def order_seen(kept: Kept, said: Sequence[ResultSeen], now_us: Utc, present: Present) -> OrderSeen:
    """An order as it stands, from what its node reported, in the order of the log; `present` is the node now."""
    order, sent, final = kept.order, kept.sent_us is not None, kept.stage in FINAL
    stages = [StageSeen(stage="issued", source=OWN, time=text(order.issued_us), time_us=order.issued_us)]
    if kept.sent_us is not None:
        stages.append(StageSeen(stage="sent", source=OWN, time=text(kept.sent_us), time_us=kept.sent_us))
    stages += [s for r in said if (s := _stage(r)).stage not in FINAL]
    ends = [s for r in said if (s := _stage(r)).stage in FINAL]
    if (own := kept.own_end) is not None:
        end = StageSeen(stage=own.stage, source=OWN, time=text(own.time_us), time_us=own.time_us, detail=own.detail)
        ends.insert(0, end)
    late_for = overdue(kept.stage, order.expires_us, now_us, sent=sent)
    return OrderSeen(
        **_asked(order),
        node=kept.node,
        sent=None if kept.sent_us is None else text(kept.sent_us),
        stage=kept.stage,
        final=final,
        overdue=late_for,
        reachable=None if final else present.reachable,
        note="" if final else _note(kept.node, late_for, present.note),
        known=True,
        stages=(*stages, *ends[:1]),
        late=ends[1] if len(ends) > 1 else None,
    )


def unknown_seen(name: str, said: Sequence[ResultSeen]) -> OrderSeen:
    """An order of which there is nothing but what one node said."""
    stages = [_stage(r) for r in said]
    stage: OrderStage = "issued"
    for each in stages:
        stage = forward(stage, each.stage)
    ends = [s for s in stages if s.stage in FINAL]
    return OrderSeen(
        id=name,
        group="",
        order=None,
        node=said[0].node,
        device=said[0].device,
        point=said[0].point,
        stage=stage,
        final=stage in FINAL,
        overdue=False,
        reachable=None,
        note="this store does not know the order: it was given after the backup from which the store was restored,"
        " or has ended so long ago that only its results are kept",
        known=False,
        stages=(*(s for s in stages if s.stage not in FINAL), *ends[:1]),
        late=ends[1] if len(ends) > 1 else None,
    )


def _asked(order: Order) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "id": order.id,
        "group": order.group,
        "order": str(order.__struct_config__.tag),
        "by": order.by,
        "issued": text(order.issued_us),
        "issued_us": order.issued_us,
        "expires": text(order.expires_us),
        "expires_us": order.expires_us,
    }
    match order:
        case Command():
            return asked | {"device": order.device, "point": order.point, "value": order.value, "level": order.level}
        case Relinquish():
            return asked | {"device": order.device, "point": order.point, "level": order.level}
        case AlarmAct():
            until = None if order.until_us is None else text(order.until_us)
            return asked | {"alarm": order.alarm, "act": order.act, "until": until}
        case Bundle():
            return asked | {"bundle": order.kind, "version": order.version}


def _stage(result: ResultSeen) -> StageSeen:
    return StageSeen(
        stage=result.stage,
        source=f"/nodes/{result.node}",
        time=result.time,
        time_us=result.time_us,
        clock=result.clock,
        read_back=result.read_back,
        detail=result.detail,
    )


def _note(node: str, late: bool, note: str) -> str:
    return f"it has expired, and node {node} has not said how it ended" if late else note
