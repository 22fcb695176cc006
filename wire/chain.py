"""Chain: a body written as what is new in it, beside one that both ends hold.

Names, shapes, and typical values come again in every body. A chained body is a zstd frame whose dictionary is the
plain CBOR of its base: the last self-contained body of the same lane that the cloud has taken. Nobody stores anything
chained: the cloud writes it out in full before it looks at it, and both ends keep a base only as long as they like.
Losing it costs bytes and never data: the cloud answers a body whose base it does not have with 409, as it does any
batch that does not fit, and the node sends it again in full.

A base is named by a digest of its bytes and not by its place, and a frame carries the checksum of what is in it. So a
chained body gives exactly what was written, or nothing.

Bounds: those of `wire.frame`; a base has at most MAX_BASE_BYTES.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec
import zstandard

from wire import frame
from wire.batch import DIGEST_BYTES, Lane
from wire.errors import Malformed, Unsupported

CHAINED: Final = 2  # among the versions of bodies: what `Ack.accepts` lists
MAX_BASE_BYTES: Final = 256 << 10


class Base:
    """A self-contained body's plain bytes, as both ends know them."""

    __slots__ = ("_dictionary", "name")

    def __init__(self, plain: bytes) -> None:
        self.name = name_of(plain)
        self._dictionary = zstandard.ZstdCompressionDict(plain, dict_type=zstandard.DICT_TYPE_RAWCONTENT)

    def squeeze(self, plain: bytes) -> bytes:
        """A frame of what is not in the base."""
        return frame.squeeze(plain, self._dictionary)

    def stretch(self, data: bytes) -> bytes:
        """What a frame holds.

        Raises:
            Malformed, TooLarge.
        """
        return frame.stretch(data, self._dictionary)


def name_of(plain: bytes) -> bytes:
    """What a base is called."""
    return blake2b(plain, digest_size=DIGEST_BYTES).digest()


class Chained(msgspec.Struct, frozen=True):
    """A body that leans on `base`. Epoch and lane stand outside the frame: a refusal must name them."""

    v: int
    epoch: int
    lane: Lane
    base: bytes
    frame: bytes


def encode(plain: bytes, base: Base, *, epoch: int, lane: Lane) -> bytes:
    """The chained body of a batch whose plain bytes (`wire.codec.plain_batch`) these are."""
    return frame.dumps(
        {"v": CHAINED, "epoch": epoch, "lane": lane.value, "base": base.name, "frame": base.squeeze(plain)}
    )


def decode(data: bytes) -> Chained:
    """A chained body from outside, its frame unopened.

    Raises:
        Malformed, Unsupported, TooLarge.
    """
    frame.check_size(data)
    try:
        chained = msgspec.convert(frame.loads(data), Chained, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise Malformed(f"chained body: {error}") from error
    if chained.v != CHAINED:
        raise Unsupported(f"version {chained.v} of chained bodies is not spoken here", (1, CHAINED))
    if not 0 <= chained.epoch < 2**63 or len(chained.base) != DIGEST_BYTES:
        raise Malformed("a chained body names an epoch or a base that cannot be")
    return chained
