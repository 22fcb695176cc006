"""Giving way: relinquishes that wait until what is below them was read back, each until its own end. Pure.

Bounds: those of open orders (`edge.control.order_records`).
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from edge.control.arrays import Key
from wire.orders import Relinquish
from wire.time import Mono, Utc


class _Waiting(msgspec.Struct, frozen=True):
    order: Relinquish
    ends_us: Mono | None


class GivingWay:
    """All that wait."""

    def __init__(self) -> None:
        self._of: dict[Key, list[_Waiting]] = {}

    def add(self, key: Key, order: Relinquish, ends_us: Mono | None) -> None:
        """One more. `ends_us` is monotonic; None: it was taken before a restart, and its end is judged by UTC."""
        self._of.setdefault(key, []).append(_Waiting(order, ends_us))

    def pop(self, key: Key) -> list[Relinquish]:
        """Those of a point, which wait no more."""
        return [each.order for each in self._of.pop(key, [])]

    def over(self, now_us: Mono, utc_us: Utc | None) -> list[Relinquish]:
        """Those whose time is over, which wait no more. `utc_us`: None where UTC is not known."""
        gone: list[Relinquish] = []
        for key, waiting in list(self._of.items()):
            left = [each for each in waiting if not _over(each, now_us, utc_us)]
            gone += [each.order for each in waiting if each not in left]
            if left:
                self._of[key] = left
            else:
                del self._of[key]
        return gone

    @property
    def keys(self) -> Collection[Key]:
        """The points for which one waits."""
        return list(self._of)


def _over(waiting: _Waiting, now_us: Mono, utc_us: Utc | None) -> bool:
    if waiting.ends_us is not None:
        return waiting.ends_us <= now_us
    return utc_us is not None and waiting.order.expires_us <= utc_us
