"""An answer in pieces: no more is made than is taken, and half of one is never taken for a whole one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from starlette.types import Message

from cloud.api.pieces import PiecesResponse
from cloud.history.contract import TooMuch
from cloud.log.contract import Unavailable


class Reader:
    """Whoever asked: takes pieces until it has had enough, then goes, or stops reading."""

    def __init__(self, takes: int = 1_000, *, goes: bool = False) -> None:
        self.takes, self.goes = takes, goes
        self.bodies: list[bytes] = []
        self.ended = False
        self.gone = asyncio.Event()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200
            assert b"content-length" not in dict(message["headers"])
            return
        if len(self.bodies) >= self.takes:
            if self.goes:
                self.gone.set()
                return
            await asyncio.Event().wait()
        self.bodies.append(message["body"])
        self.ended = not message.get("more_body", False)

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}


async def answered(reader: Reader, last: Callable[[], Any] = lambda: None) -> tuple[int, int]:
    """How many pieces were made, and how often what was held was closed."""
    made = closed = 0

    async def pieces() -> AsyncGenerator[bytes]:
        nonlocal made
        for _ in range(20):
            made += 1
            yield b"%d," % made
            await asyncio.sleep(0)
        last()

    def close() -> None:
        nonlocal closed
        closed += 1

    async with AsyncExitStack() as held:
        held.callback(close)
        answer = PiecesResponse(pieces(), held.pop_all(), {}, "text/csv", cut_s=0.01)
    await answer({"type": "http", "path": "/v1/history"}, reader.receive, reader.send)
    return made, closed


async def test_all_of_it_arrives() -> None:
    reader = Reader()
    assert await answered(reader) == (20, 1)
    assert b"".join(reader.bodies).count(b",") == 20
    assert reader.ended


@pytest.mark.parametrize("goes", [False, True])
async def test_who_takes_nothing_or_goes_has_no_more_made_for_it(goes: bool) -> None:
    reader = Reader(3, goes=goes)
    made, closed = await answered(reader)
    assert made <= 6
    assert closed == 1
    assert not reader.ended


@pytest.mark.parametrize("error", [Unavailable("the store"), TooMuch("of it"), RuntimeError("a fault")])
async def test_what_fails_in_the_middle_does_not_end_as_if_it_were_whole(error: Exception) -> None:
    def fail() -> None:
        raise error

    reader = Reader()
    if isinstance(error, RuntimeError):
        with pytest.raises(RuntimeError):
            await answered(reader, fail)
    else:
        assert await answered(reader, fail) == (20, 1)
    assert not reader.ended
