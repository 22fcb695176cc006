"""A stream is read within bounds, and otherwise as it came. Real sockets: tests/unit/edge/sync/test_downlink.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import httpx
import pytest
from httpx_sse import EventSource
from hypothesis import given
from hypothesis import strategies as st

from groundwork.bounded_sse import BoundedResponse, Oversized


class Pieces(httpx.AsyncByteStream):
    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


async def events(*pieces: bytes, event_chars: int = 1_000, stream_bytes: int = 10_000, encoding: str = "") -> list[str]:
    headers = {"Content-Type": "text/event-stream"} | ({"Content-Encoding": encoding} if encoding else {})
    response = httpx.Response(200, headers=headers, stream=Pieces(*pieces))
    bounded = BoundedResponse(response, event_chars=event_chars, stream_bytes=stream_bytes)
    return [sent.data async for sent in EventSource(cast("httpx.Response", bounded)).aiter_sse()]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=40), max_size=5), st.data())
async def test_wherever_it_is_cut_the_same_is_read(texts: list[str], data: st.DataObject) -> None:
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    whole = "".join(f"data: {text}{end}{end}" for text in texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert await events(*pieces) == texts


async def test_an_event_without_an_end_and_a_stream_without_one_are_read_no_further() -> None:
    with pytest.raises(Oversized, match="more than 50 characters"):
        await events(b"data: x\n\n", *[b"data: " + b"y" * 20 + b"\n"] * 3, event_chars=50)
    with pytest.raises(Oversized, match="has brought 100 bytes"):
        await events(*[b"data: y\n\n"] * 20, stream_bytes=100)


async def test_what_is_compressed_is_not_read() -> None:
    with pytest.raises(Oversized, match="'zstd', which nobody has asked for"):
        await events(b"", encoding="zstd")
