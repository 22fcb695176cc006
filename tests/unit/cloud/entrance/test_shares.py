"""One token cannot have what is for all, and is told which bound it has met."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from cloud.entrance import shares as module
from cloud.entrance.shares import AT_ONCE, Most, Shares
from cloud.problem import Problem
from cloud.records.tokens import Grant, Role


def grant(name: str, role: Role = "reader") -> Grant:
    return Grant(id=name, role=role, node="n" if role == "node" else None, name="", created_us=1, revoked_us=None)


def test_feeds_of_one_token_are_bounded() -> None:
    shares = Shares(Most(feeds=2))
    with ExitStack() as open_:
        for _ in range(2):
            open_.enter_context(shares.feed(grant("a")))
        with pytest.raises(Problem) as refused, shares.feed(grant("a")):
            pass
        assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "30")
        assert "--token-feeds" in refused.value.detail
        with shares.feed(grant("b")):
            pass
    with shares.feed(grant("a")):
        pass
    assert not shares._feeds


def test_requests_of_one_token_and_of_all_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALL_REQUESTS", 3)
    shares = Shares(Most(requests=2))
    with ExitStack() as open_:
        for _ in range(2):
            open_.enter_context(shares.request(grant("a")))
        with pytest.raises(Problem) as refused, shares.request(grant("a")):
            pass
        assert refused.value.status == 429
        assert "at most 2" in refused.value.detail
        open_.enter_context(shares.request(grant("b")))
        with pytest.raises(Problem) as refused, shares.request(grant("c")):
            pass
        assert refused.value.status == 503
        with shares.request(grant("cab-1", "node")):  # nodes have their own places
            pass
    assert (shares._others, shares._nodes, shares._of_token) == (0, 0, {})


async def test_questions_of_one_token_leave_a_reader_to_the_rest() -> None:
    shares = Shares()
    go = asyncio.Event()
    asking = 0

    async def ask(name: str) -> None:
        nonlocal asking
        with shares.request(grant(name)):
            async with shares.question(grant(name)):
                asking += 1
                await go.wait()
                asking -= 1

    tasks = [asyncio.create_task(ask("a")) for _ in range(20)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert asking == AT_ONCE
    tasks.append(asyncio.create_task(ask("b")))
    for _ in range(5):
        await asyncio.sleep(0)
    assert asking == AT_ONCE + 1
    go.set()
    await asyncio.gather(*tasks)
    assert (asking, shares._asking, shares._others) == (0, {}, 0)
