from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edge.acting import autonomy, rebuild
from edge.acting.alarming import Alarming
from edge.acting.autonomy import LOOK_S, NAP_S, Autonomy
from edge.acting.rebuild import REBUILD_S
from edge.config import Config, load
from edge.control.orders import OrderBook
from edge.rules.engine import Engine
from support.acting import NODE, RULES, UTC0, Cabinet, S, breaks, bundle, live, other
from support.leaping import leap
from wire.columns import Columns
from wire.entries import Alarm, ClockFix, Mark, Result
from wire.orders import Command, Down
from wire.sample import Clock, Sample


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "node.toml").write_text(NODE)
    (tmp_path / "rules.toml").write_text(RULES)
    return load(tmp_path / "node.toml", {})


# ---- time ------------------------------------------------------------------------------------------------------------


def test_nothing_to_do_is_a_look_now_and_then(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.open()
        await asyncio.sleep(60)
        before = cabinet.turns
        await asyncio.sleep(600)
        assert 600 / LOOK_S - 2 <= cabinet.turns - before <= 600 / LOOK_S + 2

    live(config, story)


@pytest.mark.parametrize("due_us", [0, -1, -(10**12)])
def test_what_is_due_for_ever_does_not_make_it_spin(
    config: Config, due_us: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def due(_: Alarming) -> int:
        return UTC0 + due_us

    monkeypatch.setattr(Alarming, "due_us", due)

    async def story(cabinet: Cabinet) -> None:
        await asyncio.sleep(10)
        assert 10 < cabinet.turns <= 10 / NAP_S + 1
        assert cabinet.autonomy.turn(dict) == NAP_S

    live(config, story)


def test_a_sample_that_begins_something_moves_the_next_look_forward(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.open()
        await asyncio.sleep(20.5)
        began = asyncio.get_running_loop().time()
        cabinet.say("bin-1", fill_level=60.0)
        await asyncio.sleep(3)
        assert cabinet.lamp is not None
        ((at, value),) = cabinet.lamp.writes
        assert value == 70
        assert 2 <= at - began < 2.2, "for_s has just passed"
        cabinet.say("bin-1", fill_level=None)
        await asyncio.sleep(40)
        assert [v for _, v in cabinet.lamp.writes] == [70, 100]
        assert 29.9 <= cabinet.lamp.writes[1][0] - at < 30.2, "and the hold ends when it ends"

    live(config, story)


def test_an_alarm_s_deadline_moves_the_next_look_forward_too(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.open()
        await asyncio.sleep(20.5)
        cabinet.say("bin-1", fill_level=95.0)
        await asyncio.sleep(1.6)
        (alarm,) = cabinet.autonomy.alarming.standing()
        assert alarm.escalated

    rules = RULES.replace('severity = "high"', 'severity = "high", respond_within_s = 2').split("[[rule]]")
    live(other(config, rules="[[rule]]".join(rules[:2])), story)


@pytest.mark.parametrize(
    ("where", "what"), [(OrderBook, "advance"), (Alarming, "advance"), (Engine, "advance"), (Engine, "due_us")]
)
def test_a_part_that_breaks_stops_no_other_and_is_counted(
    config: Config, where: type, what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.faults["broker"] = "ConnectionRefusedError"
        await asyncio.sleep(30)
        assert cabinet.autonomy.mishaps.count == 0

        monkeypatch.setattr(where, what, breaks)
        cabinet.autonomy.opened(["lamp-1"])
        await asyncio.sleep(30)
        assert cabinet.autonomy.mishaps.count >= 5
        assert cabinet.alarms()["cab-1", "line-broker"] == "raised"
        assert cabinet.turns < 60, "and it does not try again without a pause"

    live(config, story)
    assert 1 <= len([r for r in caplog.records if "ZeroDivisionError" in (r.exc_text or r.message)]) <= 2


def test_an_order_that_breaks_the_desk_is_counted_and_the_next_one_is_taken(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.open()
        now_us = cabinet.clock()[0]
        order = Command(id="o1", by="m", issued_us=now_us, expires_us=now_us + 60 * S, device="lamp-1",
                        point="dim_level", value=10.0)  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(OrderBook, "take", breaks)
            cabinet.autonomy.down(Down(server_us=now_us, order=order))
        assert cabinet.autonomy.mishaps.count == 1
        cabinet.autonomy.down(Down(server_us=now_us, order=order))
        await asyncio.sleep(1)
        assert [r.stage for r in await cabinet.told(Result)] == ["accepted", "applied", "verified"]

    live(config, story)


# ---- rules -----------------------------------------------------------------------------------------------------------


async def _full(cabinet: Cabinet) -> None:
    cabinet.open()
    cabinet.say("bin-1", fill_level=95.0)
    await asyncio.sleep(10)
    assert cabinet.alarms() == {("bin-1", "full"): "raised"}


@pytest.mark.parametrize(
    ("rules", "node"),
    [
        (RULES.replace('"full"', '"brimful"'), NODE),
        (RULES.replace('"Full" } }', '"Full" } }\ntag = "t"').replace("alarm =", "# alarm ="), NODE),
        (RULES.replace('kind = "bin" }', 'id = "bin-2" }'), NODE.replace('id = "bin-1"', 'id = "bin-2"')),
    ],
    ids=["another name", "no alarm", "the device is gone"],
)
def test_alarms_that_nothing_would_raise_any_more_return(config: Config, rules: str, node: str) -> None:
    kept = live(config, _full)

    async def again(cabinet: Cabinet) -> None:
        await asyncio.sleep(15)
        assert cabinet.alarms() == {("bin-1", "full"): "returned"}

    live(other(config, rules=rules, node=node), again, kept=kept, later_s=100)


def test_rules_from_the_city_take_over_what_stands_and_let_go_of_the_rest(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        await _full(cabinet)
        key = ("lamp-1", "dim_level")
        top = cabinet.autonomy.control.top(key)
        assert top is not None
        assert top[1].by == "look"
        kept, detail = cabinet.autonomy.adopt(bundle(RULES.split('[[rule]]\nname = "look"', maxsplit=1)[0]))
        assert ("bundle/rules" in kept, detail) == (True, "1 rule, 1 of 2 devices of this node watched")
        top = cabinet.autonomy.control.top(key)
        assert top is not None
        assert top[0] == "default"
        assert cabinet.alarms() == {("bin-1", "full"): "raised"}
        cabinet.say("bin-1", fill_level=10.0)  # the first that the new rules hear
        await asyncio.sleep(15)
        assert cabinet.alarms() == {("bin-1", "full"): "returned"}

    live(config, story)


def test_a_rule_that_is_newer_than_what_it_asks_is_raised_at_the_start_and_once(config: Config) -> None:
    """History shows it to be true and no alarm of it stands: the rule was added meanwhile."""

    async def story() -> None:
        cabinet = Cabinet(config)
        now_us = cabinet.clock()[0]
        for ago_s, fill in ((100, 20.0), (50, 95.0), (40, 95.0)):
            sample = Sample("bin-1", now_us - ago_s * S, cabinet.clock.clock, {"fill_level": fill})
            cabinet.commit.add([sample], None, live=False)
        ahead = Sample("bin-1", now_us + 90 * S, cabinet.clock.clock, {"fill_level": 5.0})
        cabinet.commit.add([ahead], None, live=False)
        await cabinet.commit.flush()
        async with cabinet:
            assert {e.rule: e.state for e in cabinet.autonomy.ruling.explain("bin-1")} == {"full": "true",
                                                                                          "look": "true"}  # fmt: skip
            assert cabinet.alarms() == {("bin-1", "full"): "raised"}
            (alarm,) = await cabinet.told(Alarm)
            assert alarm.values["fill_level"] == 95.0
            cabinet.autonomy.ruling.raise_missing()
            assert await cabinet.told(Alarm) == [alarm], "it stands already"
            due_us = cabinet.autonomy.ruling.due_us()
            assert due_us is not None
            assert due_us <= 60 * S, "a sample of a time to come has not moved the rules' time"

    leap(story())


@pytest.mark.parametrize("how", ["breaks", "lasts"])
def test_a_history_that_cannot_be_read_lets_the_rules_start_afresh(
    config: Config, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def history(_from_us: int, to_us: int) -> AsyncIterator[Columns]:
        yield Columns.of([Sample("bin-1", to_us - S, Clock(7, synced=True), {"fill_level": 95.0})])
        if how == "breaks":
            raise OSError("the card is gone")
        for _ in range(1000):
            await asyncio.sleep(1)
            yield Columns.of([Sample("bin-1", to_us - S, Clock(7, synced=True), {"fill_level": 95.0})])

    async def story() -> None:
        cabinet = Cabinet(config)
        began = asyncio.get_running_loop().time()
        await cabinet.autonomy.rebuild(history)
        assert asyncio.get_running_loop().time() - began <= REBUILD_S + 2
        assert {e.state for e in cabinet.autonomy.ruling.explain("bin-1")} == {"over"}
        await cabinet.autonomy.close()

    leap(story())
    assert "afresh" in caplog.text if how == "lasts" else "local history" in caplog.text


def test_how_much_history_rules_need(config: Config) -> None:
    rules = Autonomy.__module__ and rebuild.lookback_us(rules_of(config, RULES))
    assert rules == 3600 * S
    long = RULES.replace("for_s = 2", "for_s = 7200").replace("hold_s = 30", "hold_s = 3600")
    assert rebuild.lookback_us(rules_of(config, long)) == 3 * 3600 * S


def rules_of(config: Config, text: str) -> Any:
    return autonomy.Bundles(config).rules_of(bundle(text))


# ---- the clock -------------------------------------------------------------------------------------------------------


NIGHT = """
[[rule]]
name = "night"
on = { kind = "bin" }
when = "hour >= 18.0 && hour < 19.0"
tag = "evening"

[[rule]]
name = "full"
on = { kind = "bin" }
when = "fill_level > 90.0"
alarm = { severity = "high", respond_within_s = 3600, text = { en = "Full" } }
command = { on = { kind = "streetlight" }, point = "dim_level", value = 70, hold_s = 1000 }
"""


def test_when_true_time_is_found_deadlines_and_holds_keep_their_length_and_the_sky_moves(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.open()
        await asyncio.sleep(1)
        began_us = cabinet.clock()[0]
        cabinet.say("bin-1", fill_level=95.0)
        (alarm,) = cabinet.autonomy.alarming.standing()
        assert (alarm.boot, alarm.respond_by_us) == (7, began_us + 3600 * S)
        await asyncio.sleep(100)
        assert await cabinet.told(Mark) == []
        cabinet.ahead_us = (72 + 6) * 3600 * S  # it was half past twelve in Paris
        cabinet.synced = True
        fix = cabinet.clock.check()
        assert fix is not None
        cabinet.autonomy.corrected(fix)
        (alarm,) = cabinet.autonomy.alarming.standing()
        assert abs(alarm.raised_us - (cabinet.clock()[0] - 100 * S)) < S
        assert alarm.respond_by_us == alarm.raised_us + 3600 * S
        top = cabinet.autonomy.control.top(("lamp-1", "dim_level"))
        assert top is not None
        assert top[1].until_us is not None
        assert abs(top[1].until_us - (cabinet.clock()[0] + 900 * S)) < S
        await asyncio.sleep(65)
        assert [m.tag for m in await cabinet.told(Mark)] == ["evening"], "the rules look at the right sky"

    live(other(config, rules=NIGHT), story, synced=False)


@pytest.mark.slow
def test_without_the_time_for_a_day_rules_know_nothing_of_the_sky(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.open()
        cabinet.say("bin-1", fill_level=1.0)
        await asyncio.sleep(100)
        (night, _) = cabinet.autonomy.ruling.explain("bin-1")
        assert night.decided is not None
        await asyncio.sleep(86_400)
        (night, _) = cabinet.autonomy.ruling.explain("bin-1")
        assert (night.decided, night.values) == (None, {})

    live(other(config, rules=NIGHT), story, synced=False)


def test_a_correction_that_breaks_in_one_part_reaches_the_others(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(cabinet: Cabinet) -> None:
        looked: list[int] = []
        monkeypatch.setattr(Alarming, "corrected", breaks)
        monkeypatch.setattr(cabinet.autonomy.planning, "look_again", lambda: looked.append(1))
        cabinet.autonomy.corrected(ClockFix(boot=7, offset_us=1, error_us=1))
        assert cabinet.autonomy.mishaps.count == 1
        assert looked == [1]

    live(config, story)


# ---- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_node_without_rules_and_plan_does_not_load_what_only_they_need(config: Config) -> None:
    program = """
import sys
from pathlib import Path
from edge.cli import load
load(Path(sys.argv[1]), {})
maps = Path("/proc/self/maps").read_text()
print("/cel/" in maps, "holidays" in sys.modules)
"""
    folder = config.rules[0].parent

    def loaded() -> str:
        words = [sys.executable, "-c", program, str(folder / "node.toml")]
        return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    assert loaded() == "True False", "rules need the language of conditions"
    (folder / "node.toml").write_text(NODE.replace('rules = ["rules.toml"]', ""))
    assert loaded() == "False False"
