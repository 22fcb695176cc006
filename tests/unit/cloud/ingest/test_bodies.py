"""No node can keep the others out: what is held of one, and of all, has a bound, and is let go again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.requests import Request
from starlette.types import Message

from cloud.ingest import bodies
from cloud.ingest.bodies import Bodies
from cloud.problem import Problem
from wire.errors import Malformed, TooLarge


def request(chunks: list[bytes]) -> Request:
    left: Iterator[bytes] = iter(chunks)

    async def receive() -> Message:
        chunk = next(left, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    return Request({"type": "http", "headers": [(b"content-type", b"x/y")]}, receive)


def test_a_node_has_two_and_others_have_theirs() -> None:
    held = Bodies()
    with held.of("a"), held.of("b"):
        with held.of("a"):
            with pytest.raises(Problem) as refused, held.of("a"):
                pass
            assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "1")
            with held.of("b"):
                pass
        with held.of("a"):
            pass


async def test_what_is_held_has_a_bound_and_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "HELD_BYTES", 100)
    held = Bodies()
    for _ in range(3):
        with held.of("a") as first, held.of("b") as second:
            assert await first.read(request([b"x" * 40, b"y" * 20]), "x/y") == b"x" * 40 + b"y" * 20
            with pytest.raises(Problem) as refused:
                await second.read(request([b"x" * 30, b"x" * 30]), "x/y")
            assert refused.value.status == 503


async def test_a_body_is_neither_empty_nor_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_BODY_BYTES", 100)
    held = Bodies()
    with held.of("a") as body, pytest.raises(Malformed):
        await body.read(request([]), "x/y")
    with held.of("a") as body, pytest.raises(TooLarge):
        await body.read(request([b"x" * 60, b"x" * 60]), "x/y")
