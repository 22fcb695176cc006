"""Whatever a driver does with a question, whoever asks goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from drivers.errors import Refused, Unreachable
from edge.control.answering import answered, nobody_cares
from groundwork.liveness import END_S
from support.leaping import leap


def test_it_answers_or_says_why_not() -> None:
    async def good() -> int:
        return 7

    async def refuses() -> int:
        raise Refused("no")

    async def story() -> None:
        assert await answered(good(), 1, "lamp", nobody_cares) == 7
        with pytest.raises(Refused):
            await answered(refuses(), 1, "lamp", nobody_cares)

    leap(story())


def test_one_that_gives_up_by_itself_is_no_end_of_whoever_asks() -> None:
    async def gives_up() -> None:
        raise asyncio.CancelledError

    async def story() -> None:
        with pytest.raises(Unreachable):
            await answered(gives_up(), 1, "lamp", nobody_cares)

    leap(story())


def test_one_that_does_not_even_end_is_left_behind_and_told() -> None:
    left: list[tuple[str, Any]] = []

    async def story() -> None:
        over, loop = asyncio.Event(), asyncio.get_running_loop()

        async def deaf() -> None:
            while not over.is_set():
                try:
                    await over.wait()
                except asyncio.CancelledError:
                    continue

        async def mute() -> None:
            await asyncio.Event().wait()

        with pytest.raises(Unreachable, match="no answer within 5 s"):
            await answered(mute(), 5, "lamp", lambda *what: left.append(what))
        assert left == [], "it has ended when it was cancelled"
        began = loop.time()
        with pytest.raises(Unreachable, match="no answer within 5 s"):
            await answered(deaf(), 5, "lamp", lambda *what: left.append(what))
        assert loop.time() - began == pytest.approx(5 + END_S)
        ((device, answer),) = left
        assert device == "lamp"
        over.set()
        await answer

    leap(story())
