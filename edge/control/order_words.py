"""Order words: what results say of orders, in English. `edge.web.activity_log` reads who has given them again.

Bounds: none of its own. Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime

from edge.control.arrays import Key, PriorityArrays
from edge.control.blinking import Blink
from wire.entries import Level
from wire.orders import LEVELS, Command
from wire.time import Micros, Mono


def on_site(order: Command | Blink, left_us: Micros) -> str:
    """Of one that was given at the cabinet: the city has not given it and does not know it."""
    if isinstance(order, Blink):
        return f"blinking at the cabinet by {order.by} for {left_us / 1e6:.0f} s"
    return f"given at the cabinet by {order.by}: {order.value} for {left_us / 1e6:.0f} s"


def waits(control: PriorityArrays, key: Key, level: Level, now_us: Mono) -> str:
    """Who holds the point above a level, what at, and until when; nothing where nobody does. `now_us` is monotonic."""
    top = control.top(key)
    if top is None or LEVELS.index(top[0]) >= LEVELS.index(level):
        return ""
    holder, held = top
    if held.until_us is not None:
        until = f" until {datetime.fromtimestamp(held.until_us / 1e6, UTC):%Y-%m-%dT%H:%M:%SZ}"
    elif held.ends_us is not None:  # nobody knows the time here
        until = f" for another {(held.ends_us - now_us) / 1e6:.0f} s"
    else:
        until = ""
    return f"it waits: {' '.join(filter(None, (holder, held.by)))} holds {held.value}{until}"
