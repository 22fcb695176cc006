"""Orders in memory: a fake for tests. What nodes have said of them is read from the log before each question.

It ends no orders of lost cards.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from cloud.memory.keys import MemoryKeys
from cloud.memory.log import MemoryLog
from cloud.records.keys import Answered, Keyed
from cloud.records.order_notices import textless, told_ended, told_taken
from cloud.records.orders import KEPT, KEPT_US, MAX_OPEN, MAX_OPEN_BUNDLES, STEP, Draft, Kept, too_many_open
from cloud.views.order_stages import forward, own_end
from wire import codec
from wire.entries import Result
from wire.orders import FINAL, AlarmAct, Bundle, Order
from wire.time import Utc


class MemoryOrders:
    """Keeps them in a list, in the order in which they were taken."""

    def __init__(self, log: MemoryLog, keys: MemoryKeys) -> None:
        self._log = log
        self._keys = keys
        self._kept: list[Kept] = []
        self._texts: dict[str, str] = {}
        self._given = 0
        self._read = 0

    async def answered(self, keyed: Keyed) -> Answered | None:
        """See `OrderStore.answered`."""
        return self._keys.answered(keyed)

    async def take(
        self, drafts: Sequence[Draft], keyed: Keyed, answer: Answered, now_us: Utc, taken: Callable[[], None]
    ) -> Answered:
        """See `OrderStore.take`."""
        if (before := self._keys.answered(keyed)) is not None:
            return before
        open_ = [(k.node, k.order) for k in await self._all() if k.ended_us is None]
        _check_room(open_, [(d.node, d.order) for d in drafts])
        for draft in drafts:
            self._given += 1
            self._kept.append(
                Kept(
                    order_no=self._given,
                    node=draft.node,
                    stage="issued",
                    sent_us=None,
                    ended_us=None,
                    own_end=None,
                    kind=draft.kind,
                    order=textless(draft.order),
                )
            )
            if isinstance(draft.order, Bundle):
                self._texts[draft.order.group] = draft.order.text
        self._keys.keep(keyed, answer, now_us)
        await self._log.note([told_taken(d) for d in drafts])
        taken()
        return answer

    async def unheard(self, node: str, now_us: Utc) -> list[tuple[str, bool]]:
        """See `OrderStore.unheard`."""
        return [(k.order.id, k.sent_us is not None) for k in await self._all() if k.node == node and _waits(k, now_us)]

    async def sending(self, names: Sequence[tuple[str, bool]], now_us: Utc) -> list[Order]:
        """See `OrderStore.sending`."""
        for kept in await self._all():
            if (kept.order.id, False) in names and kept.sent_us is None and _waits(kept, now_us):
                self._put(replace(kept, sent_us=now_us, stage="sent"))
        known = {k.order.id: k for k in self._kept if _waits(k, now_us) and k.sent_us is not None}
        return [known[name].order for name, _ in names if name in known]

    async def text_of(self, group: str) -> str | None:
        """See `OrderStore.text_of`."""
        return self._texts.get(group)

    async def one(self, name: str) -> Kept | None:
        """See `OrderStore.one`."""
        return next((k for k in await self._all() if k.order.id == name), None)

    async def of_node(self, node: str, names: Sequence[str]) -> dict[str, Order]:
        """See `OrderStore.of_node`."""
        return {k.order.id: k.order for k in self._kept if k.node == node and k.order.id in names}

    async def of_group(self, group: str, after: int, limit: int) -> list[Kept]:
        """See `OrderStore.of_group`."""
        return [k for k in await self._all() if k.order.group == group and k.order_no > after][:limit]

    async def stages_of(self, group: str) -> dict[str, int]:
        """See `OrderStore.stages_of`."""
        return dict(Counter(k.stage for k in await self._all() if k.order.group == group))

    async def newest(self, node: str | None, before: int, limit: int, *, open_: bool) -> list[Kept]:
        """See `OrderStore.newest`."""
        wanted = [k for k in await self._all() if node in {None, k.node} and k.order_no < before]
        return [k for k in reversed(wanted) if not open_ or k.ended_us is None][:limit]

    async def acts(self, alarms: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[Kept]]:
        """See `OrderStore.acts`."""
        found: dict[tuple[str, str], list[Kept]] = {}
        for kept in await self._all():
            if isinstance(kept.order, AlarmAct) and kept.ended_us is None and (kept.node, kept.order.alarm) in alarms:
                found.setdefault((kept.node, kept.order.alarm), []).append(kept)
        return found

    async def end_due(self, now_us: Utc) -> int:
        """See `OrderStore.end_due`."""
        ends = [
            (k, own_end(k.stage, k.order.expires_us, now_us, sent=k.sent_us is not None)) for k in await self._all()
        ]
        due = [(kept, ending) for kept, ending in ends if ending is not None][:STEP]
        for kept, ending in due:
            self._put(replace(kept, stage=ending.stage, ended_us=now_us, own_end=ending))
        await self._log.note([told_ended(k.node, k.kind, k.order, ending) for k, ending in due])
        return len(due)

    async def prune(self, now_us: Utc) -> int:
        """See `OrderStore.prune`."""
        ended = sorted((k.ended_us, k.order_no) for k in await self._all() if k.ended_us is not None)
        old = sum(at_us < now_us - KEPT_US for at_us, _ in ended)
        gone = {order_no for _, order_no in ended[: min(STEP, max(old, len(ended) - KEPT))]}
        self._kept = [k for k in self._kept if k.order_no not in gone]
        groups = {k.order.group for k in self._kept}
        self._texts = {group: text for group, text in self._texts.items() if group in groups}
        return len(gone) + self._keys.forget(now_us, STEP)

    async def _all(self) -> list[Kept]:
        """All of them, after what nodes have said by now."""
        for record in await self._log.read(self._read, sys.maxsize, sys.maxsize):
            self._read = record.position
            if not record.notice:
                batch = codec.decode_batch(record.body)
                for item in sorted(batch.entries, key=lambda i: i.places[0]):
                    if isinstance(item.entry, Result):
                        self._hear(batch.node, item.entry, record.received_us)
        return list(self._kept)

    def _hear(self, node: str, result: Result, received_us: Utc) -> None:
        for kept in self._kept:
            stage = forward(kept.stage, result.stage)
            if (kept.node, kept.order.id) == (node, result.order) and stage != kept.stage:
                sent_us = received_us if kept.sent_us is None else kept.sent_us
                self._put(replace(kept, stage=stage, sent_us=sent_us, ended_us=received_us if stage in FINAL else None))

    def _put(self, changed: Kept) -> None:
        self._kept = [changed if k.order_no == changed.order_no else k for k in self._kept]


def _waits(kept: Kept, now_us: Utc) -> bool:
    return kept.ended_us is None and kept.stage in {"issued", "sent"} and kept.order.expires_us > now_us


def _check_room(open_: Sequence[tuple[str, Order]], new: Sequence[tuple[str, Order]]) -> None:
    for node in sorted({node for node, _ in new}):
        for of, kinds, most in (("orders", Order, MAX_OPEN), ("bundles", Bundle, MAX_OPEN_BUNDLES)):
            held, more = (sum(n == node and isinstance(o, kinds) for n, o in some) for some in (open_, new))
            if held + more > most:
                raise too_many_open(node, held, of, most)
