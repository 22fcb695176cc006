"""Answering: what a driver answers, or that it does not: no point waits for ever for a driver that is deaf.

Bounds: the seconds that are given, and `groundwork.liveness.END_S` for what is cancelled then; what does not even end
is left behind, and told to whoever opens its line anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from drivers.errors import Unreachable
from groundwork.liveness import ended

T = TypeVar("T")
Deaf = Callable[[str, "asyncio.Future[Any]"], object]  # the device, and what does not end


def nobody_cares(_device: str, _answer: asyncio.Future[Any]) -> None:
    """Nobody hears of it."""


async def answered(call: Coroutine[Any, Any, T], wait_s: float, device: str, deaf: Deaf) -> T:
    """What it answers. `deaf` hears of a call that does not end when it is cancelled.

    Raises:
        Unreachable: it does not, within `wait_s`. Whatever the driver raises.
    """
    answer = asyncio.ensure_future(call)
    try:
        await asyncio.wait([answer], timeout=max(0.0, wait_s))
    except asyncio.CancelledError:
        answer.cancel()
        raise
    if answer.done() and not answer.cancelled():
        return answer.result()
    if not await ended(answer):
        deaf(device, answer)
    raise Unreachable(f"no answer within {wait_s:.3g} s")
