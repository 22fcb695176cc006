"""One suite for every store of orders: an order, its key and its notice are kept together, or none of them is."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from cloud.problem import Problem
from cloud.records import orders as bounds
from cloud.records.keys import KEPT_US, Answered, Keyed
from cloud.records.orders import MAX_OPEN, MAX_OPEN_BUNDLES, STEP, Draft, Kept
from cloud.views.order_stages import WORD_US
from support.cloud_batches import SECOND, START_US, Sender, Ticking, send
from support.cloud_records import KINDS, Records, records_of
from wire.batch import Lane
from wire.entries import Result, Stage
from wire.orders import AlarmAct, Bundle, Command, Order

ANSWER = Answered(202, b'{"group":"g"}')
LIFE_US = 60 * SECOND


@pytest.fixture
def now() -> Ticking:
    return Ticking()


@pytest.fixture(params=KINDS)
async def kept(request: pytest.FixtureRequest, tmp_path: Path, now: Ticking) -> AsyncIterator[Records]:
    async with records_of(request.param, tmp_path, now) as records:
        yield records


def command(name: str, group: str = "g") -> Order:
    return Command(
        id=name,
        group=group,
        by="room",
        issued_us=START_US,
        expires_us=START_US + LIFE_US,
        device="a",
        point="p",
        value=1,
    )


def bundle(name: str, group: str = "b") -> Bundle:
    return Bundle(
        id=name,
        group=group,
        by="room",
        issued_us=START_US,
        expires_us=START_US + LIFE_US,
        kind="plan",
        version="1",
        text="é" * 900,
    )


def act(name: str, alarm: str) -> Order:
    return AlarmAct(
        id=name, by="room", issued_us=START_US, expires_us=START_US + LIFE_US, alarm=alarm, act="acknowledge"
    )


def keyed(key: str, digest: bytes = b"digest") -> Keyed:
    return Keyed(f"token {key}", digest)


async def take(kept: Records, *orders: Order, key: str = "", node: str = "cab-1") -> Answered:
    drafts = [Draft(o, node, "streetlight") for o in orders]
    return await kept.orders.take(drafts, keyed(key or orders[0].id), ANSWER, START_US, lambda: None)


async def say(kept: Records, sender: Sender, order: str, *stages: Stage) -> None:
    entries = [Result(order=order, stage=stage, time_us=1) for stage in stages]
    await send(kept.log, sender.batch(*entries, lane=Lane.URGENT))


async def ids(kept: Records) -> list[str]:
    return [k.order.id for k in await kept.orders.newest(None, 2**53, 10_000, open_=False)][::-1]


async def one(kept: Records, name: str) -> Kept:
    found = await kept.orders.one(name)
    assert found is not None
    return found


async def test_order_key_and_notice_are_kept_before_it_is_taken(kept: Records) -> None:
    heads: list[int] = []
    drafts = [Draft(command("1"), "cab-1", "streetlight"), Draft(command("2"), "cab-2")]
    answer = await kept.orders.take(drafts, keyed("k"), ANSWER, START_US, lambda: heads.append(kept.log.reach().head))
    assert (answer, heads) == (ANSWER, [2])
    assert await kept.orders.answered(keyed("k")) == ANSWER
    assert [(n.told.node, n.told.subject) for n in await kept.notices() if n.told] == [("cab-1", "a"), ("cab-2", "a")]
    assert [(t["id"], t["stage"], t["device_kind"]) for t in await kept.told()] == [
        ("1", "issued", "streetlight"),
        ("2", "issued", None),
    ]
    expected = Kept(
        order_no=1,
        node="cab-1",
        stage="issued",
        sent_us=None,
        ended_us=None,
        own_end=None,
        kind="streetlight",
        order=command("1"),
    )
    assert replace(await one(kept, "1"), order_no=1) == expected
    assert await kept.orders.one("3") is None


async def test_a_request_that_is_sent_again_is_answered_again_and_not_done(kept: Records) -> None:
    taken: list[str] = []

    async def ask(name: str) -> Answered:
        drafts = [Draft(command(name), "cab-1")]
        return await kept.orders.take(
            drafts, keyed("k"), Answered(202, name.encode()), START_US, lambda: taken.append(name)
        )

    assert await kept.orders.answered(keyed("k")) is None
    answers = await asyncio.gather(ask("1"), ask("2"), ask("3"))
    assert answers == [Answered(202, b"1")] * 3
    assert await ask("4") == await kept.orders.answered(keyed("k")) == answers[0]
    assert taken == await ids(kept) == [t["id"] for t in await kept.told()] == ["1"]


async def test_a_key_that_was_used_for_another_request_changes_nothing(kept: Records) -> None:
    await take(kept, command("1"), key="k")
    for asking in (
        kept.orders.answered(keyed("k", b"other")),
        kept.orders.take([Draft(command("2"), "cab-1")], keyed("k", b"other"), ANSWER, START_US, lambda: None),
    ):
        with pytest.raises(Problem, match="used for another request") as refused:
            await asking
        assert refused.value.status == 422
    assert await ids(kept) == [t["id"] for t in await kept.told()] == ["1"]
    await kept.orders.take([Draft(command("3"), "cab-1")], Keyed("other k", b""), ANSWER, START_US, lambda: None)


async def test_one_node_without_room_and_nothing_is_kept(kept: Records) -> None:
    await take(kept, *(command(str(i)) for i in range(MAX_OPEN - 1)), key="most")
    await take(kept, *(bundle(f"b{i}") for i in range(MAX_OPEN_BUNDLES)), node="cab-2", key="bundles")
    for orders, node, words in (
        ([command("x"), command("y")], "cab-1", f"cab-1 has {MAX_OPEN - 1} open orders and may have {MAX_OPEN}"),
        ([bundle("x")], "cab-2", f"{MAX_OPEN_BUNDLES} open bundles"),
    ):
        drafts = [Draft(command("z"), "cab-3"), *(Draft(o, node) for o in orders)]
        head = kept.log.reach().head
        with pytest.raises(Problem, match=words) as refused:
            await kept.orders.take(drafts, keyed("k"), ANSWER, START_US, lambda: pytest.fail("it was not taken"))
        assert refused.value.status == 429
        assert await kept.orders.answered(keyed("k")) is None
        assert [await kept.orders.one(n) for n in "xyz"] == [None] * 3
        assert kept.log.reach().head == head
    await say(kept, Sender("cab-1"), "0", "refused")
    assert await take(kept, command("x"), command("y"), key="k") == ANSWER


async def test_what_is_given_to_a_node_is_marked_as_sent_before(kept: Records, now: Ticking) -> None:
    await take(kept, *(command(n) for n in "123"))
    await take(kept, command("other"), node="cab-2")
    assert await kept.orders.unheard("cab-1", now()) == [("1", False), ("2", False), ("3", False)]
    now.tick(1)
    assert await kept.orders.sending([("2", False), ("1", False), ("none", False)], now()) == [
        command("2"),
        command("1"),
    ]
    assert [((await one(kept, n)).stage, (await one(kept, n)).sent_us) for n in "123"] == [
        ("sent", now()),
        ("sent", now()),
        ("issued", None),
    ]
    assert await kept.orders.unheard("cab-1", now()) == [("1", True), ("2", True), ("3", False)]
    sent_us = now()
    now.tick(1)
    assert await kept.orders.sending([("1", True)], now()) == [command("1")]
    assert (await one(kept, "1")).sent_us == sent_us, "when it was sent first"
    await say(kept, Sender(), "2", "accepted")
    assert await kept.orders.unheard("cab-1", now()) == [("1", True), ("3", False)]
    assert await kept.orders.sending([("2", True)], now()) == []
    now.now_us = START_US + LIFE_US
    assert await kept.orders.unheard("cab-1", now()) == []
    assert await kept.orders.sending([("1", True), ("3", False)], now()) == []
    assert (await one(kept, "3")).stage == "issued"


async def test_what_nodes_say_moves_an_order_forward_and_the_first_end_stays(kept: Records, now: Ticking) -> None:
    await take(kept, command("1"))
    sender = Sender()
    await say(kept, Sender("cab-2"), "1", "failed")
    assert (await one(kept, "1")).stage == "issued", "another node's word"
    await say(kept, sender, "1", "applied", "accepted")
    assert ((await one(kept, "1")).stage, (await one(kept, "1")).sent_us) == ("applied", now())
    now.tick(5)
    await say(kept, sender, "1", "verified", "failed")
    assert ((await one(kept, "1")).stage, (await one(kept, "1")).ended_us) == ("verified", now())


async def test_what_the_aggregator_ends_is_told_once(kept: Records, now: Ticking) -> None:
    await take(kept, *(command(n) for n in "1234"))
    await kept.orders.sending([(n, False) for n in "234"], now())
    sender = Sender()
    await say(kept, sender, "3", "accepted")
    await say(kept, sender, "4", "verified")
    taken = await kept.told()
    for at_us, count in (
        (LIFE_US - 1, 0),
        (LIFE_US, 1),
        (LIFE_US, 0),
        (LIFE_US + WORD_US - 1, 0),
        (LIFE_US + WORD_US, 2),
        (LIFE_US + WORD_US, 0),
    ):
        assert await kept.orders.end_due(START_US + at_us) == count
    assert [(t["order"], t["stage"]) for t in (await kept.told())[len(taken) :]] == [
        ("1", "expired"),
        ("2", "failed"),
        ("3", "failed"),
    ]
    for name, stage, at_us in (("1", "expired", LIFE_US), ("2", "failed", LIFE_US + WORD_US)):
        ended = await one(kept, name)
        assert ended.own_end is not None
        assert (ended.own_end.stage, ended.own_end.time_us, ended.ended_us) == (
            stage,
            START_US + at_us,
            START_US + at_us,
        )
    await say(kept, sender, "2", "verified")
    assert [(await one(kept, n)).stage for n in "1234"] == ["expired", "failed", "failed", "verified"]


async def test_so_many_are_ended_and_forgotten_in_one_step(kept: Records, now: Ticking) -> None:
    await take(kept, *(command(str(i)) for i in range(STEP + 1)))
    await take(kept, bundle("b"), node="cab-2")
    now.now_us += LIFE_US
    assert [await kept.orders.end_due(now()) for _ in range(3)] == [STEP, 2, 0]
    assert len(await kept.told()) == 2 * (STEP + 2)
    now.now_us += bounds.KEPT_US
    assert await kept.orders.prune(now()) == 2, "the keys"
    assert await kept.orders.text_of("b") == bundle("b").text
    now.now_us += 1
    assert [await kept.orders.prune(now()) for _ in range(3)] == [STEP, 2, 0]
    assert (await ids(kept), await kept.orders.text_of("b")) == ([], None)


async def test_of_those_that_have_ended_so_many_are_kept(
    kept: Records, now: Ticking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[type(kept.orders).__module__], "KEPT", 2)
    await take(kept, *(command(str(i)) for i in range(4)), key="k")
    sender = Sender()
    for name in "310":  # the oldest end goes first
        now.tick(1)
        await say(kept, sender, name, "failed")
    assert [await kept.orders.prune(now()) for _ in range(2)] == [1, 0]
    assert await ids(kept) == ["0", "1", "2"]


async def test_a_key_is_kept_as_long_as_it_is_said(kept: Records) -> None:
    await take(kept, command("1"), key="k")
    assert await kept.orders.prune(START_US + KEPT_US) == 0
    assert await kept.orders.answered(keyed("k", b"digest")) == ANSWER
    assert await kept.orders.prune(START_US + KEPT_US + 1) == 1
    assert await kept.orders.answered(keyed("k", b"other")) is None


async def test_groups_and_nodes_come_in_pages(kept: Records) -> None:
    for i in range(6):
        await take(kept, command(f"a{i}", "a"), command(f"c{i}", "c"), node=f"cab-{i % 2}")
    first = await kept.orders.of_group("a", 0, 4)
    assert [k.order.id for k in first] == ["a0", "a1", "a2", "a3"]
    second = await kept.orders.of_group("a", first[-1].order_no, 4)
    assert [k.order.id for k in second] == ["a4", "a5"]
    assert await kept.orders.of_group("a", second[-1].order_no, 4) == []
    await say(kept, Sender("cab-1"), "a5", "accepted", "failed")
    assert await kept.orders.stages_of("a") == {"issued": 5, "failed": 1}
    assert await kept.orders.stages_of("none") == {}
    for node, open_, expected in (
        (None, False, ["c5", "a5", "c4"]),
        (None, True, ["c5", "c4", "a4"]),
        ("cab-1", False, ["c5", "a5", "c3"]),
        ("cab-1", True, ["c5", "c3", "a3"]),
    ):
        found = await kept.orders.newest(node, 2**53, 3, open_=open_)
        assert [k.order.id for k in found] == expected
    next_ = await kept.orders.newest("cab-1", found[-1].order_no, 3, open_=True)
    assert [k.order.id for k in next_] == ["c1", "a1"]


async def test_a_bundle_s_text_is_kept_once_for_its_group(kept: Records, now: Ticking) -> None:
    drafts = [Draft(bundle(n), f"cab-{n}") for n in "12"]
    await kept.orders.take(drafts, keyed("k"), ANSWER, now(), lambda: None)
    textless = [replace(bundle(n), text="") for n in "12"]
    assert [(await one(kept, n)).order for n in "12"] == textless
    assert await kept.orders.sending([("2", False)], now()) == [textless[1]]
    assert await kept.orders.of_node("cab-1", ["1", "2", "none"]) == {"1": textless[0]}
    assert await kept.orders.text_of("b") == bundle("1").text
    assert all("text" not in t and t["chars"] == 900 for t in await kept.told())


async def test_what_is_asked_of_an_alarm_until_it_is_confirmed(kept: Records) -> None:
    await take(kept, act("1", "x"), act("2", "y"), act("3", "x"))
    await take(kept, act("4", "x"), node="cab-2")
    asked = [("cab-1", "x"), ("cab-2", "x"), ("cab-2", "y")]
    found = await kept.orders.acts(asked)
    assert {k: [o.order.id for o in v] for k, v in found.items()} == {("cab-1", "x"): ["1", "3"], ("cab-2", "x"): ["4"]}
    await say(kept, Sender("cab-2"), "4", "verified")
    await say(kept, Sender("cab-1"), "3", "accepted")
    found = await kept.orders.acts(asked)
    assert {k: [o.order.id for o in v] for k, v in found.items()} == {("cab-1", "x"): ["1", "3"]}
