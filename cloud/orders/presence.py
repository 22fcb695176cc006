"""Presence: whether a node would get an order now, and in words why it perhaps would not.

A downlink that is open proves little by itself: a node that has lost its power is still connected until what is written
to it is not confirmed for some time. So it is also told when the node was last heard, once that is longer ago than its
Health interval and LATE_S for its push to arrive. On the event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from cloud.times import SECOND_US, Now, text
from cloud.views.silence import Hearing
from wire.time import Utc

LATE_S: Final = 5.0


class Present(msgspec.Struct, frozen=True):
    """`reachable` is whether the node has a downlink open; `note` is empty where all is as it should be."""

    reachable: bool
    note: str


class Presence:
    """Asks who has a downlink open, and when each node was last heard."""

    def __init__(self, reachable: Callable[[str], bool], heard: Callable[[str], Hearing | None], now: Now) -> None:
        self._reachable = reachable
        self._heard = heard
        self._now = now

    def of(self, node: str) -> Present:
        """Whether a node is there now."""
        if not self._reachable(node):
            return Present(
                reachable=False, note=f"node {node} has no downlink open now; the order waits for it until it expires"
            )
        return Present(reachable=True, note=_not_heard(node, self._heard(node), self._now()))


def _not_heard(node: str, hearing: Hearing | None, now_us: Utc) -> str:
    if hearing is None:
        return f"node {node} has a downlink open, and was never heard"
    if now_us - hearing.heard_us <= (hearing.interval_s + LATE_S) * SECOND_US:
        return ""
    return (
        f"node {node} has a downlink open, and was not heard since {text(hearing.heard_us)}, though it should be every"
        f" {hearing.interval_s:g} s: perhaps it is not there any more"
    )
