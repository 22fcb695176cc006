"""Orders in the feed: a notice when one is taken, and one when the aggregator itself ends it. Pure.

What nodes say of orders is in their own batches, and comes into the feed from there.
"""

from __future__ import annotations

import msgspec

from cloud.log.notices import Announcement
from cloud.records.orders import Draft
from cloud.times import text
from cloud.views.order_stages import OwnEnd
from cloud.views.reports import NO_FIXES, result_seen
from wire.entries import Result
from wire.orders import AlarmAct, Bundle, Command, Order, Relinquish


def what(order: Order) -> str:
    """Which kind of order it is, in a word."""
    return str(order.__struct_config__.tag)


def about(order: Order) -> str:
    """What an order is about: a device, an alarm, or a kind of bundle."""
    match order:
        case Command() | Relinquish():
            return order.device
        case AlarmAct():
            return order.alarm
        case Bundle():
            return order.kind


def textless(order: Order) -> Order:
    """An order without the text of a bundle, which is kept and reported apart."""
    return msgspec.structs.replace(order, text="") if isinstance(order, Bundle) else order


def told_taken(draft: Draft) -> Announcement:
    """An order that was taken; of a bundle how long it is."""
    order = draft.order
    data = {"order": what(order), **msgspec.structs.asdict(textless(order))}
    data |= {"node": draft.node, "device_kind": draft.kind or None, "stage": "issued"}
    data |= {"issued": text(order.issued_us), "expires": text(order.expires_us)}
    if isinstance(order, Bundle):
        data["chars"] = len(order.text)
        del data["text"]
    subject = about(order) if isinstance(order, Command | Relinquish) else ""
    return Announcement(
        node=draft.node, type="order", time_us=order.issued_us, data=data, subject=subject, device_kind=draft.kind
    )


def told_ended(node: str, kind: str, order: Order, ending: OwnEnd) -> Announcement:
    """An order that the aggregator itself has ended."""
    result = Result(order=order.id, stage=ending.stage, time_us=ending.time_us, detail=ending.detail)
    data = msgspec.to_builtins(result_seen(node, result, NO_FIXES, order))
    return Announcement(
        node=node,
        type="result",
        time_us=ending.time_us,
        data=data,
        subject=about(order) if isinstance(order, Command | Relinquish) else "",
        device_kind=kind,
    )
