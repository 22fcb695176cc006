from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.config import Config, load
from edge.control import on_site
from edge.control.blinking import Blink
from edge.control.on_site import (
    CARD_S,
    DEFAULT_FOR_S,
    MAX_FOR_S,
    AlarmActGiven,
    BadRequest,
    BlinkGiven,
    CommandGiven,
    OnSite,
    OrderProgress,
    RelinquishGiven,
    read,
)
from edge.control.order_records import HowFar, NodeOrder
from support.acting import NODE, RULES, UTC0, Cabinet, S, live
from wire.entries import Result
from wire.orders import AlarmAct, Command, Down, Relinquish
from wire.sample import Clock

SET: dict[str, Any] = {"order": "command", "by": "jean", "device": "lamp-1", "point": "dim_level", "value": 80}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "node.toml").write_text(NODE)
    (tmp_path / "rules.toml").write_text(RULES)
    return load(tmp_path / "node.toml", {})


def body(**changed: Any) -> bytes:
    return json.dumps(SET | changed).encode()


# ---- what is asked for


def test_a_request_is_read_with_what_it_leaves_out() -> None:
    told = read(body())
    assert told == CommandGiven(by="jean", device="lamp-1", point="dim_level", value=80, for_s=DEFAULT_FOR_S)
    assert read(b'{"order": "relinquish", "by": "j", "device": "d", "point": "p"}') == RelinquishGiven(
        by="j", device="d", point="p"
    )
    shelve = b'{"order": "alarm_act", "by": "j", "alarm": "a", "act": "shelve", "for_s": 3600, "note": "n"}'
    assert read(shelve) == AlarmActGiven(by="j", alarm="a", act="shelve", for_s=3600.0, note="n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 16_000, "not JSON"),
        (b"[]", "must be an object"),
        (b"{}", "order: there is no such order; write one of command, relinquish, blink, alarm_act"),
        (b'{"order": 3}', "order: there is no such order"),
        (b'{"order": "comand"}', 'order: there is no such order (did you mean "command"?)'),
        (b'{"order": "bundle"}', "order: there is no such order"),
        (body(by="x" * 201), "by: must have at most 200, not 201"),
        (body(level="emergency"), "level: no such key"),
        (body(id="mine"), "id: no such key"),
        (body(expires_us=1), "expires_us: no such key"),
        (body(for_s=9), "for_s: must be a number from 10.0 to 2678400.0, not 9"),
        (body(for_s=MAX_FOR_S + 1), "for_s: must be a number"),
        (body(value=None), "value: must be"),
        (body(value=[80]), "value: must be"),
        (
            b'{"order": "blink", "device": "d", "point": "p", "for_s": 601}',
            "for_s: must be a number from 10.0 to 600.0",
        ),
        (b'{"order": "blink", "device": "d", "point": "p", "value": 3}', "value: no such key"),
        (b'{"order": "alarm_act", "by": "j", "alarm": "a", "act": "shelve"}', "a shelved alarm must come back"),
        (b'{"order": "alarm_act", "by": "j", "alarm": "a", "act": "clear"}', 'act: is "clear"'),
        (b'{"order": "alarm_act", "by": "j", "alarm": "a", "act": "acknowledge", "for_s": 60}', "for shelve only"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_write(text: bytes, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(text)
    assert says in str(caught.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(BadRequest) as caught:
        read(body(by=3, pont="x", for_s="2h"))
    assert [p.partition(":")[0] for p in caught.value.problems] == ["pont", "by", "for_s"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
ORDERS = st.fixed_dictionaries(
    {"order": st.sampled_from(["command", "relinquish", "blink", "alarm_act"])},
    optional=dict.fromkeys(("by", "device", "point", "value", "for_s", "alarm", "act", "note"), JSON),
)


@given(st.one_of(st.binary(max_size=200), JSON.map(lambda v: json.dumps(v).encode()),
                 ORDERS.map(lambda v: json.dumps(v).encode())))  # fmt: skip
@settings(deadline=None)
def test_nothing_that_comes_is_more_than_unreadable(text: bytes) -> None:
    with contextlib.suppress(BadRequest):
        assert len(read(text).by) <= 200


# ---- what becomes of it


class Desk:
    """Keeps what it is given; the card is slow when told to be."""

    def __init__(self) -> None:
        self.taken: list[NodeOrder] = []
        self.known: dict[str, HowFar] = {}
        self.knows = True
        self.card_s = 0.0
        self.numbers = iter(range(100))

    def take(self, order: NodeOrder) -> None:
        self.taken.append(order)
        if self.knows:
            self.known[order.id] = HowFar(stage="accepted")

    async def durable(self) -> None:
        await asyncio.sleep(self.card_s)

    def on_site(self) -> OnSite:
        return OnSite(
            take=self.take,
            how_far=self.known.get,
            durable=self.durable,
            now=lambda: (UTC0, Clock(7, synced=False)),
            draw_id=lambda: f"{next(self.numbers)}",
        )


async def test_orders_are_the_technician_s_by_the_node_s_own_time() -> None:
    desk = Desk()
    site = desk.on_site()
    told = await site.give(CommandGiven(by="jean", device="d", point="p", value=80, for_s=60.0))
    assert told == OrderProgress(id="site-0", stage="accepted", final=False)
    await site.give(RelinquishGiven(by="jean", device="d", point="p"))
    await site.give(AlarmActGiven(by="jean", alarm="a", act="shelve", for_s=3600.0, note="n"))
    await site.give(AlarmActGiven(by="jean", alarm="a", act="acknowledge"))
    await site.give(BlinkGiven(by="jean", device="d", point="p"), visit="v1")
    later = UTC0 + round(DEFAULT_FOR_S * 1e6)
    assert desk.taken == [
        Command(id="site-0", by="jean", issued_us=UTC0, expires_us=UTC0 + 60 * S, device="d", point="p", value=80,
                level="technician"),
        Relinquish(id="site-1", by="jean", issued_us=UTC0, expires_us=later, device="d", point="p",
                   level="technician"),
        AlarmAct(id="site-2", by="jean", issued_us=UTC0, expires_us=UTC0 + 3600 * S, alarm="a", act="shelve",
                 until_us=UTC0 + 3600 * S, note="n"),
        AlarmAct(id="site-3", by="jean", issued_us=UTC0, expires_us=later, alarm="a", act="acknowledge"),
        Blink(id="site-4", by="jean", issued_us=UTC0, expires_us=UTC0 + 120 * S, device="d", point="p", visit="v1"),
    ]  # fmt: skip


async def test_how_far_is_asked_by_id() -> None:
    desk = Desk()
    desk.known["x"] = HowFar(stage="failed", final=True, read_back=3, detail="no answer")
    site = desk.on_site()
    assert site.told("x") == OrderProgress(id="x", stage="failed", final=True, read_back=3, detail="no answer")
    assert site.told("y") is None


async def test_a_card_that_takes_nothing_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_site, "CARD_S", 0.01)
    desk = Desk()
    desk.card_s = 60
    told = await desk.on_site().give(CommandGiven(by="j", device="d", point="p", value=1))
    assert (told.stage, told.final) == ("accepted", False)
    assert "waits for the card" in told.detail
    assert CARD_S == 2.0


async def test_an_order_that_nobody_has_room_to_remember_was_refused() -> None:
    desk = Desk()
    desk.knows = False
    told = await desk.on_site().give(CommandGiven(by="j", device="d", point="p", value=1))
    assert (told.stage, told.final) == ("refused", True)
    assert "too many orders" in told.detail


def on_site_of(cabinet: Cabinet) -> OnSite:
    numbers = itertools.count()
    return OnSite(
        take=lambda order: cabinet.autonomy.desk.take(order, on_site=True),
        how_far=cabinet.autonomy.desk.how_far,
        durable=cabinet.commit.insist,
        now=cabinet.clock,
        draw_id=lambda: f"{next(numbers)}",
    )


@pytest.mark.parametrize("synced", [True, False])
def test_a_technician_acts_also_where_nobody_knows_the_time(config: Config, *, synced: bool) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.open()
        site = on_site_of(cabinet)
        given = cabinet.clock()[0]
        far = Command(id="far", by="ops", issued_us=given, expires_us=given + 60 * S, device="lamp-1",
                      point="dim_level", value=20.0)  # fmt: skip
        cabinet.autonomy.desk.take(far)
        told = await site.give(CommandGiven(by="jean", device="lamp-1", point="dim_level", value=80, for_s=10.0))
        assert told.stage == "accepted"
        assert (await cabinet.told(Result))[-1].stage == "accepted", "on the card when it is told"
        await asyncio.sleep(2)
        told = site.told(told.id)
        assert told is not None
        assert (told.stage, told.read_back) == ("verified", 80.0)
        assert cabinet.lamp is not None
        began, value = cabinet.lamp.writes[-1]
        assert value == 80
        await asyncio.sleep(12)
        ended, after = cabinet.lamp.writes[-1]
        assert after == (20 if synced else 100), "what lies below has it again"
        assert ended - began < 10.2, "not late, though nobody has woken whoever looks at time"
        far_told = site.told("far")
        assert far_told is not None
        assert far_told.stage == ("verified" if synced else "refused")

    live(config, story, synced=synced)


@pytest.mark.parametrize("synced", [True, False])
def test_a_technician_acknowledges_and_shelves_also_where_nobody_knows_the_time(
    config: Config, *, synced: bool
) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.open()
        cabinet.say("bin-1", fill_level=95.0)
        await asyncio.sleep(1)
        (alarm,) = cabinet.autonomy.alarming.standing()
        site = on_site_of(cabinet)
        told = await site.give(AlarmActGiven(by="jean", alarm=alarm.id, act="acknowledge"))
        assert (told.stage, told.final) == ("verified", True)
        assert cabinet.alarms()["bin-1", "full"] == "acknowledged"
        await site.give(AlarmActGiven(by="jean", alarm=alarm.id, act="shelve", for_s=60.0))
        (alarm,) = cabinet.autonomy.alarming.standing()
        assert (alarm.state, alarm.by) == ("shelved", "jean")
        await asyncio.sleep(66)
        assert cabinet.alarms()["bin-1", "full"] == "acknowledged", "the shelf has ended"
        told = await site.give(AlarmActGiven(by="jean", alarm="nothing", act="acknowledge"))
        assert (told.stage, "no alarm nothing stands" in told.detail) == ("refused", True)

    live(config, story, synced=synced)


def test_from_afar_nobody_speaks_as_the_technician(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        given = cabinet.clock()[0]
        far = Command(id="far", by="ops", issued_us=given, expires_us=given + 60 * S, device="lamp-1",
                      point="dim_level", value=20.0, level="technician")  # fmt: skip
        cabinet.autonomy.down(Down(server_us=given, order=far))
        told = on_site_of(cabinet).told("far")
        assert told is not None
        assert (told.stage, told.detail) == (
            "refused", "the level technician is for whoever stands at the cabinet"
        )  # fmt: skip

    live(config, story)
