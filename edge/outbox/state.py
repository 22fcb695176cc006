"""State: what the node must know again after a restart, by key, and the receipts by which repeats are recognised.

Bound: the latest RECENT receipts of each source, and a quarter more until they are looked through.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import chain, groupby
from operator import attrgetter

import msgspec

from drivers.contract import RECENT, Receipt
from edge.outbox.card import Card
from edge.outbox.records import Damaged, sum_of, whole


class State:
    """That of one card."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._receipts_since = 0

    async def save(self, receipts: Sequence[Receipt], kept: Mapping[str, bytes | None]) -> None:
        """Keep it; inside a transaction."""
        if receipts:
            await self._keep_receipts(receipts)
        for key, value in kept.items():
            if value is None:
                await self._card.db.execute("DELETE FROM kept WHERE key = ?", key)
            else:
                await self._card.db.execute(
                    "INSERT OR REPLACE INTO kept (key, value, sum) VALUES (?, ?, ?)", key, value, sum_of(key, value)
                )

    async def recent(self, source: str) -> Sequence[bytes]:
        """See `Outbox.recent`."""
        rows = await self._card.db.all("SELECT source, n, keys, sum FROM receipts WHERE source = ? ORDER BY id", source)
        sound = (fields[2] for *fields, sum_ in rows if whole(sum_, *fields))
        keys = chain.from_iterable(msgspec.msgpack.decode(keys, type=list[bytes]) for keys in sound)
        return list(deque(keys, RECENT))

    async def kept(self, prefix: str) -> Mapping[str, bytes]:
        """See `Outbox.kept`."""
        rows = await self._card.db.all(
            "SELECT key, value, sum FROM kept WHERE substr(key, 1, ?) = ?", len(prefix), prefix
        )  # fmt: skip
        if damaged := [key for key, value, sum_ in rows if not whole(sum_, key, value)]:
            raise Damaged(f"{', '.join(damaged)[:200]}: not as it was kept")
        return {key: value for key, value, _ in rows}

    async def _keep_receipts(self, receipts: Sequence[Receipt]) -> None:
        for source, found in groupby(sorted(receipts, key=attrgetter("source")), attrgetter("source")):
            keys = [r.key for r in found]
            fields = (source, len(keys), msgspec.msgpack.encode(keys))
            await self._card.db.execute(
                "INSERT INTO receipts (source, n, keys, sum) VALUES (?, ?, ?, ?)", *fields, sum_of(*fields)
            )
        # Old ones go now and then: it means looking through all of them, for an index would wear the card.
        self._receipts_since += len(receipts)
        if self._receipts_since >= RECENT // 4:
            self._receipts_since = 0
            await self._card.db.execute(
                "DELETE FROM receipts WHERE id IN (SELECT id FROM (SELECT id, sum(n) OVER"
                " (PARTITION BY source ORDER BY id DESC) - n AS newer FROM receipts) WHERE newer >= ?)",
                RECENT,
            )
