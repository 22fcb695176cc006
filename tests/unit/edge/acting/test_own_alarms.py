from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edge.acting.autonomy import LOOK_S
from edge.acting.own_alarms import LINE_DOWN_S, STUCK_S, WELL_S
from edge.acting.restarted import MAX_CHARS, TEXTS, how_ended
from edge.alarms.own import UPLINK_REFUSED
from edge.config import Config, load
from edge.control.arbitration import Held
from groundwork.last_words import LastWords
from groundwork.marker import Stood
from support.acting import NODE, RULES, Cabinet, Lamp, live
from wire.entries import Alarm


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "node.toml").write_text(NODE)
    (tmp_path / "rules.toml").write_text(RULES)
    return load(tmp_path / "node.toml", {})


def test_a_dead_line_is_one_alarm_and_explains_those_of_its_devices(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.open()
        cabinet.lamp = None
        cabinet.faults["bus"] = "no route"
        cabinet.autonomy.control.hold(("lamp-1", "dim_level"), "hypervisor", Held(value=5.0, by="m"))
        cabinet.autonomy.actuators.wake(("lamp-1", "dim_level"))
        await asyncio.sleep(LINE_DOWN_S - 1)
        assert cabinet.alarms() == {}
        await asyncio.sleep(LOOK_S + 2)
        assert cabinet.alarms() == {("cab-1", "line-bus"): "raised"}
        await asyncio.sleep(120)
        assert cabinet.alarms()["lamp-1", "not-as-set"] == "suppressed"
        assert not [a for a in await cabinet.told(Alarm) if (a.device, a.state) == ("lamp-1", "raised")]
        cabinet.lamp = Lamp()
        cabinet.faults.clear()
        cabinet.open()
        await asyncio.sleep(400)
        assert cabinet.alarms() == {("cab-1", "line-bus"): "returned"}, "the other has gone without a word"

    live(config, story)


def test_a_line_that_opens_and_fails_again_and_again_is_down(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.open()
        for _ in range(12):
            cabinet.faults["bus"] = "reset"
            await asyncio.sleep(6)
            cabinet.faults.clear()
            cabinet.autonomy.opened(["lamp-1"])
            await asyncio.sleep(LOOK_S + 1)
        assert cabinet.alarms() == {("cab-1", "line-bus"): "raised"}
        assert len([a for a in await cabinet.told(Alarm) if a.rule == "line-bus"]) == 1, "without a word between"
        await asyncio.sleep(WELL_S + LOOK_S + 12)
        assert cabinet.alarms() == {("cab-1", "line-bus"): "returned"}

    live(config, story)


def test_a_line_that_never_opens_is_down_too(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.autonomy.opened(["lamp-1"])
        await asyncio.sleep(LINE_DOWN_S + 2 * LOOK_S)
        assert cabinet.alarms() == {("cab-1", "line-broker"): "raised"}

    live(config, story)


def test_a_line_s_alarm_outlives_a_restart_until_the_line_is_found_well(config: Config) -> None:
    async def down(cabinet: Cabinet) -> None:
        cabinet.open()
        cabinet.faults["bus"] = "reset"
        await asyncio.sleep(60)

    kept = live(config, down)

    async def still(cabinet: Cabinet) -> None:
        cabinet.autonomy.opened(["bin-1"])
        await asyncio.sleep(25)  # nobody knows of the bus yet
        assert cabinet.alarms() == {("cab-1", "line-bus"): "raised"}
        cabinet.open()
        await asyncio.sleep(40)
        assert cabinet.alarms() == {("cab-1", "line-bus"): "returned"}

    live(config, still, kept=kept, later_s=100)


def test_a_point_that_cannot_be_set_is_an_alarm_after_a_while_which_returns(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.open()
        assert cabinet.lamp is not None
        cabinet.lamp.stubborn = True
        cabinet.say("bin-1", fill_level=60.0)
        await asyncio.sleep(STUCK_S)
        assert ("lamp-1", "not-as-set") not in cabinet.alarms()
        await asyncio.sleep(LOOK_S + 5)
        assert cabinet.alarms()["lamp-1", "not-as-set"] == "raised"
        (alarm,) = [a for a in await cabinet.told(Alarm) if a.rule == "not-as-set"]
        assert alarm.detail == "dim_level should be 70: no answer"
        assert alarm.text["fr"] == "dim_level ne peut être réglé à 70"
        cabinet.lamp.stubborn = False
        await asyncio.sleep(400)
        assert cabinet.alarms()["lamp-1", "not-as-set"] == "returned"

    live(config, story)


def test_after_a_restart_a_point_that_is_well_again_lets_its_alarm_return(config: Config) -> None:
    async def stuck(cabinet: Cabinet) -> None:
        cabinet.open()
        assert cabinet.lamp is not None
        cabinet.lamp.stubborn = True
        cabinet.say("bin-1", fill_level=60.0)
        await asyncio.sleep(STUCK_S + 10)
        assert cabinet.alarms()["lamp-1", "not-as-set"] == "raised"

    kept = dict(live(config, stuck))
    for held in (kept, {k: b for k, b in kept.items() if not k.startswith("slot/")}):

        async def again(cabinet: Cabinet) -> None:
            await asyncio.sleep(10)
            assert cabinet.alarms()["lamp-1", "not-as-set"] == "raised", "the line is not open yet"
            cabinet.open()
            await asyncio.sleep(30)
            assert cabinet.alarms()["lamp-1", "not-as-set"] == "returned"

        live(config, again, kept=held, later_s=200)


def test_a_cloud_that_refuses_is_one_alarm_until_it_takes_something_also_after_a_restart(config: Config) -> None:
    key = ("cab-1", UPLINK_REFUSED)

    async def refused(cabinet: Cabinet) -> None:
        look = cabinet.autonomy._look_at_uplink
        look(None, takes=False)
        assert key not in cabinet.alarms()
        for _ in range(3):
            look("the cloud refuses what is sent to it", takes=True)
        assert cabinet.alarms()[key] == "raised"
        assert len([a for a in await cabinet.told(Alarm) if a.rule == UPLINK_REFUSED]) == 1

    async def after(cabinet: Cabinet) -> None:
        look = cabinet.autonomy._look_at_uplink
        look(None, takes=False)
        assert cabinet.alarms()[key] == "raised", "nothing has been taken yet"
        look(None, takes=True)
        await asyncio.sleep(120)  # the dead time of alarms
        assert cabinet.alarms()[key] == "returned"

    kept = live(config, refused)
    live(config, after, kept=kept, later_s=1000)


def test_a_node_that_its_watchdog_has_ended_says_why_once(config: Config) -> None:
    log = tuple(f"line {n} " + "x" * 200 for n in range(20))
    words = LastWords(
        time_us=1_795_000_000_000_000,
        late="commit: a commit has taken 601 s",
        version="0.1.0",
        python="3.11.7",
        log=log,
        stacks="",
    )

    async def story(cabinet: Cabinet) -> None:
        told: list[bool] = []
        cabinet.autonomy.follows(None, lambda: told.append(True))
        assert ("cab-1", "restarted") not in cabinet.alarms()
        cabinet.autonomy.follows(how_ended((words,), None, boot=1, oom=0, cut_short=False), lambda: told.append(True))
        assert told == [], "it is not on the card yet"
        await asyncio.sleep(400)
        assert told == [True]
        assert cabinet.alarms()["cab-1", "restarted"] == "returned", "it waits to be acknowledged"
        raised, returned = [a for a in await cabinet.told(Alarm) if a.rule == "restarted"]
        assert (raised.state, returned.state) == ("raised", "returned")
        assert raised.detail.startswith("commit: a commit has taken 601 s (2026-11-18 11:06:40 UTC, version 0.1.0")
        assert "line 19" in raised.detail, "the newest lines find room first"
        assert len(raised.detail) == MAX_CHARS

    live(config, story)


@pytest.mark.parametrize(
    ("stood", "cut_short", "cause", "why"),
    [
        (None, False, None, ""),
        (Stood(1), False, "killed", "it was killed, or crashed"),
        (Stood(1, why="KeyError: x"), False, "failed", "it ended by an error: KeyError: x"),
        (
            Stood(1, oom=2),
            False,
            "memory",
            "it was killed, perhaps for want of memory: the kernel has ended 3 processes",
        ),
        (Stood(0, oom=9), False, "power", "the machine went down while it ran"),
        (Stood(1), True, "killed", "it was killed"),
        (None, True, "power", "the machine went down while it ran"),
    ],
)
def test_how_the_one_before_has_ended(
    config: Config, stood: Stood | None, cut_short: bool, cause: str | None, why: str
) -> None:
    ended = how_ended((), stood, boot=1, oom=5 if stood is not None and stood.oom else 0, cut_short=cut_short)
    if cause is None:
        assert ended is None
        return
    assert ended is not None
    assert ended.cause == cause
    assert ended.why.startswith(why)

    async def story(cabinet: Cabinet) -> None:
        cabinet.autonomy.follows(ended, lambda: None)
        await asyncio.sleep(400)
        raised = next(a for a in await cabinet.told(Alarm) if a.rule == "restarted")
        assert raised.text == TEXTS[ended.cause]
        assert raised.detail.startswith(why)
        assert raised.severity == ("low" if cause == "power" else "medium")

    live(config, story)
