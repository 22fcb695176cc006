"""Questions to nodes: one for all who ask the same, bounded, and nobody waits longer than is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud.metrics import Metrics
from cloud.orders import why
from cloud.orders.downlink import ASKS, Downlink, Pace, _Line
from cloud.orders.why import Whys
from cloud.sqlite.tokens import SqliteTokens
from cloud.store import opened
from support.cloud_batches import Ticking
from wire.why import AskWhy, WhyAnswer


class Asking:
    """A city with nodes on its downlink."""

    def __init__(self, whys: Whys, downlink: Downlink) -> None:
        self.whys, self.downlink = whys, downlink

    def connect(self, node: str, *, answers: bool = True) -> _Line:
        line = self.downlink._lines[node] = _Line()
        line.answers = answers
        return line

    def answer(self, node: str, asked: AskWhy, *, known: bool = True) -> None:
        """As the route does with what a node has posted."""
        self.whys.heard(node, WhyAnswer(id=asked.id, device=asked.device, time_us=1, known=known))


@pytest.fixture
async def city(tmp_path: Path) -> AsyncIterator[Asking]:
    now = Ticking()
    tokens = SqliteTokens(tmp_path)
    async with opened(tmp_path, now) as store:
        link = Downlink(store.orders, tokens, Metrics(), now, Pace(), print)
        yield Asking(Whys(store.views, link, now, print, ask_s=0.05), link)
    tokens.close()


async def test_who_asks_the_same_waits_for_the_same_answer_whoever_leaves(city: Asking) -> None:
    line = city.connect("cab-1")
    tasks = [asyncio.create_task(city.whys._ask("cab-1", "lamp-1")) for _ in range(3)]
    await asyncio.sleep(0)
    (asked,) = line.asks
    tasks[0].cancel()
    await asyncio.sleep(0)
    city.answer("cab-2", asked)  # of another node: not what was asked for
    city.answer("cab-1", AskWhy(id="w-other", device="lamp-1"))
    assert not tasks[1].done()
    city.answer("cab-1", asked)
    city.answer("cab-1", asked)  # again: nobody waits for it
    assert [(await task)[0] is not None for task in tasks[1:]] == [True, True]
    assert tasks[0].cancelled()
    assert not city.whys._waiting


async def test_why_a_node_was_not_asked_or_has_not_answered_is_said(city: Asking) -> None:
    assert await city.whys._ask("cab-1", "lamp-1") == (None, "node cab-1 has no downlink open now")
    city.connect("cab-1", answers=False)
    answer, note = await city.whys._ask("cab-1", "lamp-1")
    assert (answer, "cannot be asked" in note) == (None, True)
    line = city.connect("cab-1")
    assert await city.whys._ask("cab-1", "lamp-1") == (None, "node cab-1 did not answer within 0.05 s")
    assert not city.whys._waiting, "it is forgotten then"
    asking = asyncio.create_task(city.whys._ask("cab-1", "lamp-9"))
    await asyncio.sleep(0)
    city.answer("cab-1", line.asks[-1], known=False)
    assert await asking == (None, "node cab-1 does not have this device now")


async def test_questions_are_bounded(city: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    line = city.connect("cab-1")
    line.asks.extend(AskWhy(id=f"w{n}", device="x") for n in range(ASKS))
    assert "too many" in (await city.whys._ask("cab-1", "lamp-1"))[1]
    line.asks.clear()
    monkeypatch.setattr(why, "AT_ONCE", 0)
    assert "too many" in (await city.whys._ask("cab-1", "lamp-1"))[1]
