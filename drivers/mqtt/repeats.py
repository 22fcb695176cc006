"""Repeats: which publishes have been delivered already, also before a restart.

A broker that did not get our acknowledgement sends a publish again with DUP, the same packet id and the same payload;
within one session that is a repeat. A device that did not get the broker's acknowledgement publishes again: the same
packet id of its own, the same values and the same time of measuring are a repeat, in any session. Where the payload
says no time that can be believed, they are one for `repeat_s` after the first of them, and no longer: counters begin
anew, wrap, or never change. What tells of the reception is no part of it (`reception` in the profile). A publish that
the broker had retained is older than that by its nature: it is a repeat of any that is remembered.

The last RECENT of each kind are remembered. Receipt keys (the outbox keeps them with the samples) are session 4 bytes,
packet id 2, payload hash 8 and, where the device numbers its publishes, content hash 8 and time of arrival 8 (UTC
microseconds). A key of the session alone marks where a new session began.
"""

from __future__ import annotations

import time
from asyncio import Future
from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import blake2b
from math import inf
from typing import Final

from drivers.contract import RECENT
from groundwork.backoff import Monotonic
from wire.time import Utc

_SESSION: Final = 4
_DELIVERY: Final = 10  # packet id and payload hash
_CONTENT: Final = 8
_ARRIVAL: Final = 8

Pending = Future[None] | None
"""When it is durable; None: it is."""


class Repeats:
    """What was delivered lately, and when it is durable.

    `recent` are the receipt keys that were kept, oldest first; `now_us` is the node's time, by which their age is
    known. From then on ages go by `clock`, which nobody sets.
    """

    def __init__(
        self,
        recent: Iterable[bytes],
        draw: Callable[[int], bytes],
        *,
        now_us: Utc = Utc(0),
        clock: Monotonic = time.monotonic,
    ) -> None:
        self._draw = draw
        self._clock = clock
        self._deliveries: OrderedDict[bytes, Pending] = OrderedDict()
        self._contents: OrderedDict[bytes, Pending] = OrderedDict()
        self._arrived_s: dict[bytes, float] = {}  # of the contents
        self._session = b""
        started_s = clock()
        for key in recent:
            if key[:_SESSION] != self._session:
                self._session = key[:_SESSION]
                self._deliveries.clear()
            delivery, rest = key[_SESSION : _SESSION + _DELIVERY], key[_SESSION + _DELIVERY :]
            if delivery:
                self._deliveries[delivery] = None
            if len(rest) == _CONTENT + _ARRIVAL:  # those of older versions had no arrival, and say too little
                content, age_s = rest[:_CONTENT], (now_us - int.from_bytes(rest[_CONTENT:])) / 1e6
                self._contents[content] = None
                self._arrived_s[content] = started_s - age_s if age_s >= 0 else -inf  # a clock that was set back

    @property
    def known(self) -> bool:
        """Whether there has been a session before."""
        return bool(self._session)

    def connected(self, resumed: bool) -> bytes | None:
        """A connection stands. Returns the key of a new session where the broker had not kept the old one."""
        if resumed and self._session:
            return None
        if not resumed:
            self._deliveries.clear()
        self._session = self._draw(_SESSION)
        return self._session

    def delivered(self, delivery: bytes) -> tuple[bool, Pending]:
        """Whether this delivery was seen in this session, and when it is durable."""
        return _seen(self._deliveries, delivery)

    def published(self, content: bytes, within_s: float = inf) -> tuple[bool, Pending]:
        """Whether a device's publish of this content was seen within so many seconds, and when it is durable."""
        if within_s != inf and self._clock() - self._arrived_s.get(content, -inf) >= within_s:
            return False, None
        seen = _seen(self._contents, content)
        if not seen[0]:
            self._arrived_s.pop(content, None)
        return seen

    def add(self, delivery: bytes, content: bytes, durable: Future[None]) -> None:
        """Remember one that was handed on just now."""
        for book, key in ((self._deliveries, delivery), (self._contents, content)):
            if key:
                book[key] = durable
                book.move_to_end(key)
                while len(book) > RECENT:
                    old, _ = book.popitem(last=False)
                    if book is self._contents:
                        self._arrived_s.pop(old, None)
        if content:
            self._arrived_s[content] = self._clock()

    def key(self, delivery: bytes, content: bytes, arrived_us: Utc = Utc(0)) -> bytes:
        """The receipt key; a publish at QoS 0 has no delivery to recognise."""
        said = content + arrived_us.to_bytes(_ARRIVAL) if content else b""
        return self._session + (delivery or bytes(_DELIVERY)) + said


def _seen(book: OrderedDict[bytes, Pending], key: bytes) -> tuple[bool, Pending]:
    """Whether it is there; what the node could not keep is not, so that the broker's next try counts."""
    durable = book.get(key)
    if durable is not None and durable.done() and (durable.cancelled() or durable.exception() is not None):
        del book[key]
    return key in book, book.get(key)


def delivery_of(mid: int, topic: str, payload: bytes) -> bytes:
    """What is the same in a redelivery."""
    return mid.to_bytes(2) + blake2b(topic.encode() + b"\0" + payload, digest_size=_DELIVERY - 2).digest()


def content_of(*said: object) -> bytes:
    """What is the same when a device publishes again: all that each device says by it."""
    return blake2b(repr(said).encode("utf-8", "surrogatepass"), digest_size=_CONTENT).digest()
