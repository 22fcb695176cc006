"""What is known of orders: each until its end and a day more, the last one of each place for longer.

An order that was taken is kept whole until it has its final result, and as that result afterwards, so that one that is
sent again is known again. A clock that jumps ahead and back must not let an order be taken anew: none is forgotten
before it has been known for a day of this run, unless there is no room, and the last one of each place (a level of a
point) is not forgotten at all. Pure: the caller keeps what is returned.

Bounds: MAX_OPEN orders without a final result; MAX_KNOWN ids, and one more for each place.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from edge.control.arrays import Key
from edge.control.blinking import Blink
from wire.entries import Level, Result, Stage
from wire.orders import Bundle, Command, Order, Relinquish
from wire.sample import Value
from wire.time import Micros, Mono, Utc

log = logging.getLogger(__name__)

MAX_OPEN: Final = 4_000
MAX_KNOWN: Final = 20_000
TIGHT: Final = MAX_KNOWN * 3 // 4
DAY_US: Final = Micros(86_400_000_000)
MAX_LAST_US: Final = Micros(31 * DAY_US)
PREFIX: Final = "order/"

NodeOrder = Order | Blink
"""What a node takes: what comes down, and what is given at the cabinet only."""
PointOrder = Command | Relinquish | Blink
"""Those for a point."""
Kept = Mapping[str, bytes | None]
Place = tuple[Key, Level]


class OrderRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is kept of an order: itself while it is open, its final result afterwards. Times are UTC microseconds."""

    ends_us: Utc
    issued_us: Utc
    level: Level | None = None  # of orders for a point that were taken
    device: str = ""
    point: str = ""
    order: NodeOrder | None = None
    stage: Stage = "accepted"
    result: Result | None = None
    # Monotonic, and of this run only: when the result was last told, and since when it is known.
    told_us: Mono = Mono(0)
    since_us: Mono = Mono(0)

    @property
    def place(self) -> Place | None:
        """The level and point that it was for; None for what sets no point, and for what was not taken."""
        return None if self.level is None else ((self.device, self.point), self.level)


class HowFar(msgspec.Struct, frozen=True, kw_only=True):
    """How far an order has come, for whoever asks. `read_back` and `detail` as in a `Result`."""

    stage: Stage
    final: bool = False
    read_back: Value = None
    detail: str = ""


class Records:
    """All orders that are known."""

    def __init__(self) -> None:
        self._known: dict[str, OrderRecord] = {}
        self._open: dict[str, NodeOrder] = {}
        self._last: dict[Place, str] = {}

    def __contains__(self, order_id: str) -> bool:
        return order_id in self._known

    def get(self, order_id: str) -> OrderRecord | None:
        """What is known of an order."""
        return self._known.get(order_id)

    def how_far(self, order_id: str) -> HowFar | None:
        """How far an order has come; None for one that is not known."""
        if (record := self._known.get(order_id)) is None:
            return None
        if (result := record.result) is None:
            return HowFar(stage=record.stage)
        return HowFar(stage=result.stage, final=True, read_back=result.read_back, detail=result.detail)

    def open(self, order_id: str) -> NodeOrder | None:
        """An order that has been taken and has no final result yet."""
        return self._open.get(order_id)

    def all_open(self) -> Iterator[NodeOrder]:
        """Those without a final result; a copy, oldest first."""
        return iter(list(self._open.values()))

    @property
    def opened(self) -> int:
        """How many have no final result."""
        return len(self._open)

    @property
    def full(self) -> bool:
        """Whether no more can be remembered."""
        return len(self._open) >= MAX_OPEN or len(self._known) - len(self._last) >= MAX_KNOWN

    def why_full(self) -> str:
        """In words."""
        return f"{len(self._open)} orders are open here and {len(self._known)} are remembered; no more"

    def outdated(self, order: PointOrder) -> bool:
        """Whether a later order of its level has been taken already."""
        last = self._last.get(((order.device, order.point), order.level))
        return last is not None and self._known[last].issued_us > order.issued_us

    def take(self, order: PointOrder | Bundle, mono_us: Mono) -> Kept:
        """It is accepted."""
        if isinstance(order, Bundle):
            record = OrderRecord(ends_us=order.expires_us, issued_us=order.issued_us, order=order, since_us=mono_us)
            self._known[order.id], self._open[order.id] = record, order
            return {PREFIX + order.id: _body(record)}
        record = OrderRecord(
            ends_us=order.expires_us,
            issued_us=order.issued_us,
            level=order.level,
            device=order.device,
            point=order.point,
            order=order,
            since_us=mono_us,
        )
        self._known[order.id], self._open[order.id] = record, order
        self._last[(order.device, order.point), order.level] = order.id
        return {PREFIX + order.id: _body(record)}

    def applied(self, order_id: str) -> Kept:
        """Its value was written; nothing to keep where that is known."""
        record = self._known[order_id]
        if record.stage != "accepted":
            return {}
        record.stage = "applied"
        return {PREFIX + order_id: _body(record)}

    def finish(self, order: NodeOrder, result: Result, mono_us: Mono) -> Kept:
        """It has its final result. One that there is no room to remember gets it again when it is sent again."""
        self._open.pop(order.id, None)
        record = self._known.get(order.id)
        if record is None:
            if self.full:
                return {}
            record = self._known[order.id] = OrderRecord(
                ends_us=order.expires_us, issued_us=order.issued_us, since_us=mono_us
            )
        record.order, record.stage, record.result = None, result.stage, result
        record.told_us = mono_us
        return {PREFIX + order.id: _body(record)}

    def forget(self, now_us: Utc, mono_us: Mono) -> Kept:
        """Let go of ids that nobody will send again."""
        lasts = set(self._last.values())
        tight = len(self._known) - len(lasts) >= TIGHT
        gone: dict[str, bytes | None] = {}
        for order_id, record in self._known.items():
            # What was refused for lasting too long is not remembered for so long.
            record.ends_us = min(record.ends_us, now_us + MAX_LAST_US)
            if record.result is None or order_id in lasts or record.ends_us + DAY_US >= now_us:
                continue
            if tight or mono_us - record.since_us >= DAY_US:
                gone[PREFIX + order_id] = None
        for name in gone:
            del self._known[name.removeprefix(PREFIX)]
        return gone

    def restore(self, kept: Mapping[str, bytes], mono_us: Mono) -> Kept:
        """Take back what was known before a restart; what to keep no longer, because it cannot be read."""
        gone: dict[str, bytes | None] = {}
        for name, body in kept.items():
            order_id = name.removeprefix(PREFIX)
            try:
                record = msgspec.msgpack.decode(body, type=OrderRecord)
            except msgspec.DecodeError as error:
                log.error("%s was kept and cannot be read: %s", name, error)  # noqa: TRY400 - no bug of ours
                gone[name] = None
                continue
            record.since_us = mono_us
            self._known[order_id] = record
            if record.order is not None:
                self._open[order_id] = record.order
            if (place := record.place) is not None:
                last = self._last.get(place)
                if last is None or record.issued_us >= self._known[last].issued_us:
                    self._last[place] = order_id
        return gone


def _body(record: OrderRecord) -> bytes:
    return msgspec.msgpack.encode(msgspec.structs.replace(record, told_us=Mono(0), since_us=Mono(0)))
