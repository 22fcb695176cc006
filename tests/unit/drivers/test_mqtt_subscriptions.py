"""What is asked of a broker, what is taken back, and what is remembered of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from drivers.errors import NotStored
from drivers.mqtt import subscriptions
from drivers.mqtt.subscriptions import Subscriptions

KEY = "mqtt/node@broker:1883/topics"


class Card:
    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.writes = 0
        self.hangs = False
        self.refuses = False

    async def _answer(self) -> None:
        if self.refuses:
            raise NotStored("full")
        if self.hangs:
            await asyncio.Event().wait()

    async def kept(self, prefix: str) -> Mapping[str, bytes]:
        await self._answer()
        return {k: v for k, v in self.values.items() if k.startswith(prefix)}

    async def keep(self, values: Mapping[str, bytes | None]) -> None:
        await self._answer()
        self.writes += 1
        self.values.update({k: v for k, v in values.items() if v is not None})


class Broker:
    """Keeps the subscriptions of one session."""

    def __init__(self, *refuses: str) -> None:
        self.has: dict[str, int] = {}
        self.refuses = refuses
        self.asked: list[str] = []

    async def subscribe(self, topics: Sequence[str], identifier: int = 0) -> list[str]:
        self.asked += topics
        self.has |= dict.fromkeys((t for t in topics if t not in self.refuses), identifier)
        return [t for t in topics if t in self.refuses]

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        for name in filters:
            del self.has[name]


async def run(filters: Sequence[str], card: Card | None, broker: Broker, *, resumed: bool = True) -> Subscriptions:
    one = Subscriptions(filters, KEY, card)
    await one.remember()
    assert await one.settle(broker, resumed) == one.plan(resumed) or one.refused
    return one


async def test_what_is_no_longer_wanted_is_taken_back_also_after_a_restart() -> None:
    card, broker = Card(), Broker()
    await run(["site/+/up", "bins/1/up"], card, broker, resumed=False)
    await run(["site/1/up"], card, broker)
    assert broker.has == {"site/1/up": 0}
    writes = card.writes
    await run(["site/1/up"], card, broker)
    assert card.writes == writes  # nothing new to remember


async def test_what_was_asked_for_is_remembered_before_it_is_asked_for() -> None:
    card, broker = Card(), Broker()

    class Dies(Broker):
        async def subscribe(self, topics: Sequence[str], identifier: int = 0) -> list[str]:
            await broker.subscribe(topics, identifier)
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await run(["a/1"], card, Dies())
    await run(["a/2"], card, broker)
    assert broker.has == {"a/2": 0}


async def test_an_older_version_asked_for_each_and_remembered_none() -> None:
    broker = Broker()
    broker.has = {"site/+/up": 0, "site/1/up": 0}
    await run(["site/+/up", "site/1/up"], Card(), broker)
    assert broker.has == {"site/+/up": 0}


async def test_a_session_that_the_broker_forgot_has_nothing_to_take_back() -> None:
    card, broker = Card(), Broker()
    await run(["a/1"], card, broker, resumed=False)
    broker.has.clear()
    await run(["a/2"], card, broker, resumed=False)
    assert broker.has == {"a/2": 0}


async def test_where_a_wildcard_is_refused_what_it_covers_is_asked_for_by_itself() -> None:
    card, broker = Card(), Broker("#", "site/+/up")
    one = await run(["site/1/up", "site/+/up", "#", "bins/1"], card, broker, resumed=False)
    assert broker.has == {"site/1/up": 0, "bins/1": 0}
    assert one.refused == ["#", "site/+/up"]


@pytest.mark.parametrize("fault", ["hangs", "refuses"])
async def test_a_card_that_does_not_answer_keeps_no_line_from_working(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(subscriptions, "KEEP_S", 0.01)
    card, broker = Card(), Broker()
    setattr(card, fault, True)
    await run(["a/1"], card, broker, resumed=False)
    assert broker.has == {"a/1": 0}
    assert "may be left at the broker" in caplog.messages[0]


async def test_without_a_memory_it_works_as_well() -> None:
    broker = Broker()
    one = await run(["a/+/c", "a/b/+"], None, broker, resumed=False)
    assert len(set(broker.has.values())) == 2
    await one.settle(broker, True)
    assert len(broker.asked) == 4
