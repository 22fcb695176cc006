"""Repeats: which publishes have been delivered already, also before a restart.

A broker that did not get our acknowledgement sends a publish again with DUP, the same packet id and the same payload;
within one session that is a repeat. A device that did not get the broker's acknowledgement publishes again: the same
packet id of its own and the same values are a repeat, in any session. The last RECENT of each kind are remembered.

Receipt keys (the outbox keeps them with the samples) are session 4 bytes, packet id 2, payload hash 8 and, where the
device numbers its publishes, content hash 8. A key of the session alone marks where a new session began.
"""

from __future__ import annotations

from asyncio import Future
from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Final

from drivers.contract import RECENT

_SESSION: Final = 4
_DELIVERY: Final = 10  # packet id and payload hash

Pending = Future[None] | None
"""When it is durable; None: it is."""


class Repeats:
    """What was delivered lately, and when it is durable."""

    def __init__(self, recent: Iterable[bytes], draw: Callable[[int], bytes]) -> None:
        self._draw = draw
        self._deliveries: OrderedDict[bytes, Pending] = OrderedDict()
        self._contents: OrderedDict[bytes, Pending] = OrderedDict()
        self._session = b""
        for key in recent:
            if key[:_SESSION] != self._session:
                self._session = key[:_SESSION]
                self._deliveries.clear()
            delivery, content = key[_SESSION : _SESSION + _DELIVERY], key[_SESSION + _DELIVERY :]
            if delivery:
                self._deliveries[delivery] = None
            if content:
                self._contents[content] = None

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

    def published(self, content: bytes) -> tuple[bool, Pending]:
        """Whether a device's publish of this content was seen, and when it is durable."""
        return _seen(self._contents, content)

    def add(self, delivery: bytes, content: bytes, durable: Future[None]) -> None:
        """Remember one that was handed on just now."""
        for book, key in ((self._deliveries, delivery), (self._contents, content)):
            if key:
                book[key] = durable
                book.move_to_end(key)
                while len(book) > RECENT:
                    book.popitem(last=False)

    def key(self, delivery: bytes, content: bytes) -> bytes:
        """The receipt key; a publish at QoS 0 has no delivery to recognise."""
        return self._session + (delivery or bytes(_DELIVERY)) + content


def _seen(book: OrderedDict[bytes, Pending], key: bytes) -> tuple[bool, Pending]:
    """Whether it is there; what the node could not keep is not, so that the broker's next try counts."""
    durable = book.get(key)
    if durable is not None and durable.done() and (durable.cancelled() or durable.exception() is not None):
        del book[key]
    return key in book, book.get(key)


def delivery_of(mid: int, topic: str, payload: bytes) -> bytes:
    """What is the same in a redelivery."""
    return mid.to_bytes(2) + blake2b(topic.encode() + b"\0" + payload, digest_size=_DELIVERY - 2).digest()


def content_of(device: str, packet: object, values: object) -> bytes:
    """What is the same when a device publishes again."""
    return blake2b(repr((device, packet, values)).encode("utf-8", "surrogatepass"), digest_size=8).digest()
