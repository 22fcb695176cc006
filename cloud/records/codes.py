"""Codes: one-time codes of technicians, as they were given out (`wire.codes`).

A code is a counter of a node's token, for a name. A counter is given out once, whatever is restored from a backup: it
is counted outside of it. Who asked for which code, when and for whom is durable, with its notice in the feed and the
answer's idempotency key, before the code is shown; the code itself is kept nowhere. A counter may be skipped, where the
store did not take what goes with it.

Bounds: KEPT codes of a node are remembered, the newest; a page has MAX_PAGE.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from cloud.log.notices import Announcement
from cloud.records.keys import Keyed
from wire.time import Utc

KEPT: Final = 1_000
MAX_PAGE: Final = 1_000


class CodeGiven(msgspec.Struct, frozen=True, kw_only=True):
    """A code that was given out. `token` is the id of the node's token that it follows from, `by` who asked for it."""

    node: str
    token: str
    counter: int
    for_: str = msgspec.field(name="for")
    by: str
    time: str
    time_us: Utc


class CodeStore(Protocol):
    """What keeps them."""

    async def answered(self, keyed: Keyed) -> CodeGiven | None:
        """The code that was given out for this request, if it came before.

        Raises:
            Problem: the key was used for another request, or there are too many. Unavailable: no answer of the store.
        """
        ...

    async def give(self, node: str, token: str, name: str, by: str, now_us: Utc, keyed: Keyed, used: int) -> CodeGiven:
        """Give out the next counter of a token, above `used`; the same again for a key that came before.

        Raises:
            Problem: as `answered`. Unavailable: the store did not take it.
        """
        ...

    async def given(self, node: str, before: int, limit: int) -> Sequence[tuple[int, CodeGiven]]:
        """The codes of a node with their places, the newest first, from before a place on."""
        ...

    async def highest(self, token: str) -> int:
        """The highest counter of a token that was given out; 0 for none."""
        ...


def told(given: CodeGiven) -> Announcement:
    """Its notice in the feed."""
    return Announcement(node=given.node, type="code", time_us=given.time_us, data=given)
