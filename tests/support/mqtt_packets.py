"""MQTT 5 packets as bytes, put together by hand and not by the library that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

PINGRESP, DISCONNECT = b"\xd0\x00", b"\xe0\x00"
CONTENT_TYPE = b"\x03\x00\x01j"


def framed(head: int, body: bytes) -> bytes:
    """A packet with its length written in."""
    length, size = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        size.append(digit | (128 if length else 0))
        if not length:
            return bytes([head]) + bytes(size) + body


def publish(
    payload: bytes = b"{}", *, topic: bytes = b"a/b", mid: int = 1, qos: int = 1, flags: int = 0, props: bytes = b""
) -> bytes:
    """A PUBLISH."""
    number = mid.to_bytes(2) if qos else b""
    body = len(topic).to_bytes(2) + topic + number + bytes([len(props)]) + props + payload
    return framed(0x30 | qos << 1 | flags, body)


def cut(data: bytes, at: Sequence[int]) -> list[bytes]:
    """Bytes in pieces, cut at these places."""
    places = [0, *sorted(min(len(data), a) for a in at), len(data)]
    return [data[a:b] for a, b in pairwise(places)]
