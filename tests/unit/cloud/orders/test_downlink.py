"""The downlink's bounds: so many texts under way at a time, and nobody's other orders wait for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloud.metrics import Metrics
from cloud.orders import downlink
from cloud.orders.downlink import PIECE_BYTES, Downlink, Pace, _Line
from cloud.records.keys import Answered, Keyed
from cloud.records.orders import Draft
from cloud.sqlite.tokens import SqliteTokens
from cloud.store import Store, opened
from cloud.times import DAY_US
from support.cloud_batches import START_US, Ticking
from wire.orders import Bundle, Command, Order

NODES = ("cab-1", "cab-2")
TEXT = "x" * 3 * PIECE_BYTES


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path, Ticking()) as made:
        given: dict[str, Any] = {"by": "room", "issued_us": START_US, "expires_us": START_US + DAY_US}
        for node in NODES:
            bundle = Bundle(id=f"b-{node}", group=f"b-{node}", kind="plan", version="1", text=TEXT, **given)
            command = Command(id=f"c-{node}", group=f"c-{node}", device="lamp", point="dim", value=1, **given)
            orders: list[Order] = [bundle, command]
            for order in orders:
                await made.orders.take(
                    [Draft(order, node)], Keyed(order.id, b""), Answered(202, b"{}"), START_US, lambda: None
                )
        yield made


def ids(written: bytes) -> list[str]:
    """The orders in what was written, "" where only the time is."""
    downs = [json.loads(d.removeprefix(b"data: ")) for d in written.split(b"\n\n") if d]
    return [d.get("order", {"id": ""})["id"] for d in downs]


async def test_a_text_that_is_not_there_takes_no_place_of_those_that_are(store: Store, tmp_path: Path) -> None:
    await store.writer.do(lambda c: c.execute("DELETE FROM texts WHERE grp = 'b-cab-1'"))
    tokens = SqliteTokens(tmp_path)
    try:
        link = Downlink(store.orders, tokens, Metrics(), Ticking(), Pace(), print)
        gone, there = [(await store.orders.sending([(f"b-{node}", False)], START_US))[0] for node in NODES]
        assert await link._whole(_Line(), gone) is None
        assert not link._carrying
        whole = await link._whole(_Line(), there)
        assert isinstance(whole, Bundle)
        assert whole.text == TEXT
    finally:
        tokens.close()


async def test_nodes_that_have_asked_are_forgotten(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = SqliteTokens(tmp_path)
    try:
        link = Downlink(store.orders, tokens, Metrics(), Ticking(), Pace(), print)
        link._asks_once("cab-1")
        link._asks_once("cab-2")
        assert link.reachable("cab-1")
        monkeypatch.setattr(downlink, "ASKED_S", 0.0)
        link._asks_once("cab-2")
        assert not link.reachable("cab-1")
        assert set(link._asked_s) <= {"cab-2"}
    finally:
        tokens.close()


async def test_a_node_whose_text_must_wait_gets_its_other_orders(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downlink, "BUNDLES", 1)
    monkeypatch.setattr(downlink, "LATER_S", 0)
    tokens = SqliteTokens(tmp_path)
    try:
        link = Downlink(store.orders, tokens, Metrics(), Ticking(), Pace(), print)
        tokens.create("node", "cab-2", "", 1)
        (grant,) = tokens.all()
        slow, other = _Line(), _Line()
        first = link._once("cab-1", slow)
        begun = await anext(first)
        assert len(begun) == PIECE_BYTES
        assert ids(b"".join([p async for p in link._once("cab-2", _Line())])) == ["c-cab-2", ""]
        second = link._stream("cab-2", other, grant)
        assert [ids(await anext(second)) for _ in range(2)] == [[""], ["c-cab-2"]]
        assert ids(begun + b"".join([p async for p in first])) == ["b-cab-1", "c-cab-1", ""]
        async with asyncio.timeout(5):
            pieces = [await anext(second) for _ in range(4)]
        assert ids(b"".join(pieces)) == ["b-cab-2"]
        await second.aclose()
    finally:
        tokens.close()


async def test_a_node_whose_text_must_wait_hears_that_it_is_heard(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downlink, "BUNDLES", 0)
    monkeypatch.setattr(downlink, "LATER_S", 0)
    tokens = SqliteTokens(tmp_path)
    try:
        link = Downlink(store.orders, tokens, Metrics(), Ticking(), Pace(beat_s=0.01), print)
        tokens.create("node", "cab-2", "", 1)
        (grant,) = tokens.all()
        stream = link._stream("cab-2", _Line(), grant)
        async with asyncio.timeout(5):
            heard = [ids(await anext(stream)) for _ in range(4)]
        assert heard == [[""], ["c-cab-2"], [""], [""]]
        await stream.aclose()
    finally:
        tokens.close()


async def test_a_reader_that_goes_in_the_middle_of_a_text_holds_no_place(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downlink, "BUNDLES", 1)
    tokens = SqliteTokens(tmp_path)
    try:
        link = Downlink(store.orders, tokens, Metrics(), Ticking(), Pace(), print)
        gone = _Line()
        first = link._once("cab-1", gone)
        await anext(first)
        link._left("cab-1", gone)
        assert ids(b"".join([p async for p in link._once("cab-2", _Line())])) == ["b-cab-2", "c-cab-2", ""]
        await first.aclose()
    finally:
        tokens.close()
