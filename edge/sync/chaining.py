"""Chains: which body a batch goes up in. Pure; the link asks before it sends, and reports the outcome.

A self-contained body that the cloud has taken becomes the base of its lane. Later batches lean on it (`wire.chain`)
when the cloud says in `accepts` that it reads them so, for at most KEY_S, and as long as that saves a twentieth. A
chained body that is refused for whatever reason is sent again in full, at once.

Bounds: one base a lane, of at most `wire.chain.MAX_BASE_BYTES`. A restart forgets them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from wire import chain, codec
from wire.batch import Ack, Batch, Lane
from wire.chain import CHAINED, MAX_BASE_BYTES, Base
from wire.frame import squeeze

KEY_S: Final = 3600.0
WORTH: Final = 0.95  # a chained body is sent when it is at most so much of the self-contained one


class ChainedBody(msgspec.Struct, frozen=True):
    """What is sent of a batch. `plain` is what may become a base: nothing where the body leans on one itself."""

    data: bytes
    chained: bool
    plain: bytes


class Chains:
    """For one link."""

    def __init__(self) -> None:
        self._bases: dict[Lane, tuple[Base, float]] = {}
        self._spoken = False

    def body(self, batch: Batch, now_s: float) -> ChainedBody:
        """The smaller of the two bodies; may be called beside the event loop."""
        plain = codec.plain_batch(batch)
        whole = squeeze(plain)
        base, since_s = self._bases.get(batch.lane, (None, 0.0))
        if base is not None and self._spoken and now_s - since_s < KEY_S and len(plain) <= MAX_BASE_BYTES:
            data = chain.encode(plain, base, epoch=batch.epoch, lane=batch.lane)
            if len(data) <= WORTH * len(whole):
                return ChainedBody(data, True, b"")
        return ChainedBody(whole, False, plain)

    def taken(self, lane: Lane, body: ChainedBody, now_s: float) -> None:
        """The cloud has taken it."""
        if not body.chained:
            if len(body.plain) <= MAX_BASE_BYTES:
                self._bases[lane] = (Base(body.plain), now_s)
            else:
                self._bases.pop(lane, None)

    def refused(self, lane: Lane) -> None:
        """The cloud has not taken it: what it holds may be anything."""
        self._bases.pop(lane, None)

    def heard(self, ack: Ack) -> None:
        """What the cloud speaks."""
        self._spoken = CHAINED in ack.accepts
