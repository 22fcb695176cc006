"""What the order desk tells and is told: contracts of what is put on the card, woken, tried first and done besides
setting points. `edge.control.orders` is the desk.

Bounds: none of its own.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable
from typing import Protocol

from edge.control.arrays import Key
from edge.control.order_records import Kept
from wire.entries import Alarm, Entry
from wire.orders import AlarmAct, Bundle


class Declined(Exception):
    """An order that cannot be done, in words for whoever gave it."""


class Insist(Protocol):
    """Put entries and state on the card: the future ends when they are durable."""

    def __call__(self, *entries: Entry, kept: Kept) -> Future[None]:
        """Never blocks."""
        ...


class Wake(Protocol):
    """An array may say something else now; nothing is written before `after` is done."""

    def __call__(self, key: Key, after: Future[None] | None = None) -> None:
        """Never blocks."""
        ...


class TryFirst(Protocol):
    """Try a bundle where it can do no harm, once `after` is done."""

    def __call__(self, bundle: Bundle, after: Future[None] | None, done: Callable[[str | None], None]) -> None:
        """Never blocks. `done` is called later: with None, or with why the node must not live by it."""
        ...


class Acts(Protocol):
    """What orders do that set no point."""

    def act(self, act: AlarmAct) -> tuple[list[Alarm], Kept]:
        """Acknowledge or shelve an alarm: what is reported, and what is kept with it.

        Raises:
            Declined.
        """
        ...

    def adopt(self, bundle: Bundle) -> tuple[Kept, str]:
        """Live by a bundle from now on: what is kept of it, and what it means for this node, in words.

        Raises:
            Declined: everything that is wrong in it.
        """
        ...
