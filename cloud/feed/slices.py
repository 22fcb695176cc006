"""Slices: the events of records, made once for all the feed's readers that are near them.

A slice is made beside the event loop, opening the batch included, for what a small body expands to is known only
afterwards. Of a batch with more than one slice the opened batch is kept for the next one. For readers that want no
readings slices are made without them. A reader that is behind says which records it will ask for next: they are read
in one go.

Bounds: `limit_bytes` of slices, at least one; AT_ONCE are made at a time, each within SLICE_S, or its readers are told
to come again; `cloud.log.contract.READ_BYTES` of records that were read ahead; KEPT opened batches, each within the
bounds of `wire.codec`. A thread that does not end then is left behind; with AT_ONCE of those the aggregator needs a new
process.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from cloud.api.routes import LOG
from cloud.feed.events import NO_ORDERS, Slice, events_of_batch, events_of_notice
from cloud.feed.known import NodesKnown
from cloud.log.contract import ReadLog, Record, Unavailable
from cloud.log.notices import Notice
from groundwork.liveness import Late
from wire import codec
from wire.batch import Batch
from wire.contents import Contents
from wire.entries import Result
from wire.errors import BadInput
from wire.orders import Order

AT_ONCE: Final = 4
KEPT: Final = 4
SLICE_S: Final = 600.0
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError)  # of what is no JSON, or another one

Ordered = Callable[[str, Sequence[str]], Awaitable[Mapping[str, Order]]]  # node, ids: the orders that are known
_T = TypeVar("_T")
_Key = tuple[
    int, int, bool, tuple[int, int]
]  # position, first event, whether with readings, what its node was known as


async def nothing_ordered(_node: str, _names: Sequence[str]) -> Mapping[str, Order]:
    """No order is known."""
    return {}


class Slices:
    """On the event loop."""

    def __init__(self, log: ReadLog, known: NodesKnown, limit_bytes: int, ordered: Ordered = nothing_ordered) -> None:
        """`ordered` finds the orders that results are about: asked once a slice that has any."""
        self._log = log
        self._known = known
        self._limit_bytes = limit_bytes
        self._ordered = ordered
        self._shared: OrderedDict[_Key, asyncio.Task[Slice | None]] = OrderedDict()
        self._sizes: dict[_Key, int] = {}
        self._size = 0
        self._opened: OrderedDict[int, tuple[Record, Batch]] = OrderedDict()
        self._ahead: dict[int, Record] = {}  # was read, and not asked for yet
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._left: list[asyncio.Future[Any]] = []  # threads that do not end

    def late(self) -> Late | None:
        """Too many threads do not end: nothing but a new process frees them."""
        self._left = [work for work in self._left if not work.done()]
        return Late("feed", f"the opening of {n} records", SLICE_S) if (n := len(self._left)) >= AT_ONCE else None

    async def get(
        self, position: int, start: int, *, readings: bool = True, node: str = "", then: Sequence[int] = ()
    ) -> Slice | None:
        """The events of one record from the `start`-th on, with or without readings; None when the record is no longer
        there. `node` is whose it is, where that is known; `then` are the records that the same reader will ask for
        next."""
        key = (position, start, readings, self._known.version(node))
        task = self._shared.get(key)
        if task is None:
            task = self._shared[key] = asyncio.create_task(self._make(key, then))
        else:
            self._shared.move_to_end(key)
        # Shielded: a reader that leaves must not take away what others wait for.
        return await asyncio.shield(task)

    async def _make(self, key: _Key, then: Sequence[int]) -> Slice | None:
        try:
            async with self._at_once, asyncio.timeout(SLICE_S):
                made = await self._encoded(*key[:3], then)
        except TimeoutError:
            self._shared.pop(key, None)
            raise Unavailable(f"record {key[0]} could not be opened within {SLICE_S:g} s") from None
        except BaseException:
            self._shared.pop(key, None)
            raise
        if made is None:
            del self._shared[key]
            return None
        self._sizes[key] = made.size
        self._size += made.size
        while self._size > self._limit_bytes and len(self._sizes) > 1:
            oldest = next(k for k in self._shared if k in self._sizes)
            self._size -= self._sizes.pop(oldest)
            del self._shared[oldest]
        return made

    async def _encoded(self, position: int, start: int, readings: bool, then: Sequence[int]) -> Slice | None:
        record, batch = self._opened.get(position, (None, None))
        if record is None and (record := await self._read(position, then)) is None:
            return None
        try:
            if record.notice:
                return events_of_notice(msgspec.json.decode(record.body, type=Notice))
            if batch is None:
                batch = await self._aside(lambda: codec.decode_batch(record.body))
        except (BadInput, *UNREADABLE) as error:  # damaged on the disk: its readers must not stop here for ever
            LOG.error("record %d cannot be read, and the feed leaves it out: %s", position, error)
            return Slice((), start, None)
        known = await self._known.of(batch.node)
        others = batch.entries.others if isinstance(batch.entries, Contents) else batch.entries
        names = list({item.entry.order for item in others if isinstance(item.entry, Result)})
        orders = await self._ordered(batch.node, names) if names else NO_ORDERS
        opened, found = batch, record

        def events() -> Slice:
            return events_of_batch(found, opened, known.kinds, known.fixes, start, orders, readings=readings)

        made = await self._aside(events)
        self._opened.pop(position, None)
        if made.next is not None:
            self._opened[position] = (record, batch)
            if len(self._opened) > KEPT:
                self._opened.popitem(last=False)
        return made

    async def _read(self, position: int, then: Sequence[int]) -> Record | None:
        if (record := self._ahead.pop(position, None)) is None:
            records = await self._log.pick([position, *then])
            if not records or records[0].position != position:
                return None
            record, *rest = records
            self._ahead = {each.position: each for each in rest}
        return record if position > self._log.reach().floor else None

    async def _aside(self, what: Callable[[], _T]) -> _T:
        """Do it in a thread, which is left behind when nobody waits for it any more."""
        work = asyncio.get_running_loop().run_in_executor(None, what)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            work.add_done_callback(lambda f: None if f.cancelled() else f.exception())
            self._left.append(work)
            raise
