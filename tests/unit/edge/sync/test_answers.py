"""What the city asks is answered at once or not at all, and nothing of it ends the node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import httpx

from edge.sync import answers
from edge.sync.answers import MAX_WAITING, Answers
from wire.why import MAX_ANSWER_BYTES, AskWhy, WhyAnswer

URL = "http://city/v1/nodes/cab-1/answers"


def why(asked: AskWhy) -> WhyAnswer:
    if asked.device == "bug":
        raise ZeroDivisionError
    rules = "x" * (MAX_ANSWER_BYTES if asked.device == "long" else 1)
    return WhyAnswer(id=asked.id, device=asked.device, time_us=1, rules=rules)


def told(status: int = 204) -> httpx.Response:
    """As it comes from a socket: not read yet."""

    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    return httpx.Response(status, content=nothing())


async def answered(handler: Callable[[httpx.Request], httpx.Response], *devices: str) -> Answers:
    """What becomes of questions about these devices."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        made = Answers(client, URL, why)
        for n, device in enumerate(devices):
            made.ask(AskWhy(id=f"w{n}", device=device))
        task = asyncio.create_task(made.run())
        for _ in range(10_000):
            if made.sent + made.failed == len(devices):
                break
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert made.alive.late() is None
        return made


async def test_each_question_has_its_answer() -> None:
    seen: list[tuple[str, str, str]] = []

    def city(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        seen.append((str(request.url), body["id"], body["device"]))
        return told()

    made = await answered(city, "lamp-1", "lamp-2")
    assert seen == [(URL, "w0", "lamp-1"), (URL, "w1", "lamp-2")]
    assert (made.sent, made.failed) == (2, 0)


async def test_what_fails_ends_nothing() -> None:
    def city(request: httpx.Request) -> httpx.Response:
        match json.loads(request.content)["device"]:
            case "gone":
                raise httpx.ConnectError("no route")
            case "older":
                return told(404)
            case _:
                return told()

    made = await answered(city, "gone", "older", "long", "bug", "lamp-1")
    assert (made.sent, made.failed) == (1, 4)


async def test_questions_that_are_too_many_are_left_out() -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: told())) as client:
        made = Answers(client, URL, why)
        for n in range(MAX_WAITING + 3):
            made.ask(AskWhy(id=f"w{n}", device="lamp-1"))
        assert made.failed == 3


async def test_a_city_that_never_answers_is_given_up() -> None:
    async def city(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    before = answers.ANSWER_S
    try:
        answers.ANSWER_S = 0.0  # type: ignore[misc]
        async with httpx.AsyncClient(transport=httpx.MockTransport(city)) as client:
            made = Answers(client, URL, why)
            made.ask(AskWhy(id="w", device="lamp-1"))
            task = asyncio.create_task(made.run())
            for _ in range(10_000):
                if made.failed:
                    break
                await asyncio.sleep(0)
            task.cancel()
            assert made.failed == 1
    finally:
        answers.ANSWER_S = before  # type: ignore[misc]
