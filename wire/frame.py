"""Frame: CBOR (RFC 8949) in one zstd frame (RFC 8878), opened with every bound checked before anything is expanded.

    MAX_BODY_BYTES    1 MiB   of one compressed body
    MAX_PLAIN_BYTES   4 MiB   of it decompressed, and no more than 256 KiB + 200 times what came; a frame that does
                              not state its size is refused
    MAX_DEPTH         12      nested containers

Text keys only, no duplicate keys, no indefinite lengths, nothing after the end, and of all CBOR tags only the typed
arrays of `wire.vector`.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final, Never

import cbor2
import zstandard

from wire import vector, vector_check
from wire.errors import Malformed, TooLarge

MAX_BODY_BYTES: Final = 1 << 20
MAX_PLAIN_BYTES: Final = 4 << 20
MAX_GROWTH: Final = 200  # times the compressed size; real bodies grow 3 to 30 times
GROWTH_FREE_BYTES: Final = 256 << 10
MAX_DEPTH: Final = 12
LEVEL: Final = 3

# Tags for which cbor2 has a decoder of its own; each is refused instead (regular expressions, cycles, giants …).
_BUILT_IN_TAGS: Final = (
    *range(6), 21, 22, 23, 24, 25, 28, 29, 30, 32, 33, 34, 35, 36, 37, 52, 54, 100, 256, 257, 258, 260, 261, 1004,
    43000, 55799,
)  # fmt: skip


def dumps(body: Mapping[str, Any]) -> bytes:
    """The CBOR of a body; typed arrays as `wire.vector` tags them."""
    return cbor2.dumps(body, encoders={array: _typed_out})


def squeeze(plain: bytes, base: zstandard.ZstdCompressionDict | None = None) -> bytes:
    """One frame, with its content's size and checksum. What `base` holds is referred to and not written again."""
    return zstandard.ZstdCompressor(level=LEVEL, dict_data=base, write_checksum=True).compress(plain)


def stretch(data: bytes, base: zstandard.ZstdCompressionDict | None = None) -> bytes:
    """What a frame holds.

    Raises:
        Malformed: also where it was made with another base: its checksum says so.
        TooLarge: over one of the bounds.
    """
    check_size(data)
    try:
        frame = zstandard.get_frame_parameters(data)
    except zstandard.ZstdError as error:
        raise Malformed(f"not a zstd frame: {error}") from error
    # The size must be known before: python-zstandard ignores max_output_size when the frame states one.
    if frame.content_size in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
        raise Malformed("the zstd frame does not state its content size")
    bound = min(MAX_PLAIN_BYTES, GROWTH_FREE_BYTES + MAX_GROWTH * len(data))
    if frame.content_size > bound:
        raise TooLarge(f"{frame.content_size} bytes decompressed; at most {bound} of {len(data)}")
    if base is not None and not frame.has_checksum:
        raise Malformed("a frame that leans on a base has a checksum")
    try:
        opener = zstandard.ZstdDecompressor(dict_data=base, max_window_size=MAX_PLAIN_BYTES)
        return opener.decompress(data, allow_extra_data=False)
    except (zstandard.ZstdError, MemoryError) as error:
        raise Malformed(f"the zstd frame does not open: {error}") from error


def check_size(data: bytes) -> None:
    """Pass if it is no larger than a body may be.

    Raises:
        TooLarge: it is.
    """
    if len(data) > MAX_BODY_BYTES:
        raise TooLarge(f"{len(data)} bytes; a body has at most {MAX_BODY_BYTES}")


def plain_bytes(data: bytes) -> int:
    """How large a body of ours is decompressed, by its frame's own word."""
    return zstandard.get_frame_parameters(data).content_size


def has_checksum(data: bytes) -> bool:
    """Whether a frame that opens is sure to hold what was put into it."""
    try:
        return zstandard.get_frame_parameters(data).has_checksum
    except zstandard.ZstdError:
        return False


def loads(data: bytes) -> object:
    """The one CBOR item of bytes from outside.

    Raises:
        Malformed: it is not CBOR as `schema.cddl` has it.
    """
    source = BytesIO(data)
    try:
        body = cbor2.CBORDecoder(
            source,
            tag_hook=_typed_in,
            semantic_decoders=dict.fromkeys(_BUILT_IN_TAGS, _refuse),
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        ).decode()
    except (cbor2.CBORDecodeError, UnicodeDecodeError, RecursionError, MemoryError) as error:
        raise Malformed(f"not CBOR as schema.cddl has it: {error}") from error
    if source.read(1):
        raise Malformed("bytes follow the end of the CBOR item")
    return body


def _typed_out(encoder: cbor2.CBOREncoder, items: array[Any]) -> None:
    encoder.encode(vector.tag(items))


def _typed_in(tag: cbor2.CBORTag, _immutable: bool) -> array[Any]:
    number, payload = tag.tag, tag.value
    if type(payload) is not bytes:
        raise ValueError(f"tag {number} holds no byte string")
    if (code := vector.OF_BYTES.get(number)) is not None:  # nearly all
        return array(code, payload)
    try:
        return vector_check.typed(number, payload)
    except Malformed as error:
        raise ValueError(str(error)) from error


def _refuse(_value: object, _immutable: bool) -> Never:
    raise ValueError("this tag is not accepted")
