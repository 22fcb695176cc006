from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from edge.config import Config, load
from edge.verbs import alarms as cli_alarms
from edge.verbs.asking import EXIT_FAILED
from support.acting import NODE, RULES, S
from wire.entries import Alarm

NOW = round(datetime(2026, 11, 20, 20, 0, tzinfo=UTC).timestamp() * 1e6)  # 21:00 in Paris
HOUR = 3600 * S


def alarm(name: str, device: str = "lamp-1", rule: str = "dark", **more: Any) -> Alarm:
    given: dict[str, Any] = {
        "severity": "low", "state": "raised", "raised_us": NOW - HOUR, "time_us": NOW - HOUR, **more,
    }  # fmt: skip
    return Alarm(id=name, device=device, rule=rule, **given)


class Node:
    """Has alarms, and does what it is told as it says."""

    def __init__(self, *alarms: Alarm, after: Sequence[Alarm] | None = None, left_out: int = 0) -> None:
        self.alarms: Sequence[Alarm] = alarms
        self.after = after
        self.left_out = left_out
        self.result = {"id": "site-1", "stage": "verified", "final": True, "detail": ""}
        self.given: list[Any] = []
        self.troubles: list[str] = []
        self.time_s = 0.0

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.given.append(json.loads(request.content))
            if self.after is not None:
                self.alarms = self.after
        if request.url.path.startswith("/orders"):
            return httpx.Response(202, json=self.result)
        if request.url.path == "/health":
            return httpx.Response(503 if self.troubles else 200, json={"verdict": "failed", "reasons": self.troubles})
        headers = {"Left-Out": str(self.left_out)} if self.left_out else {}
        return httpx.Response(200, content=msgspec.json.encode(self.alarms), headers=headers)

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds

    def monotonic(self) -> float:
        return self.time_s


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "node.toml").write_text(NODE)
    (tmp_path / "rules.toml").write_text(RULES)
    return load(tmp_path / "node.toml", {})


def type_in(config: Config, node: Node, *words: str, locale: str = "C", colours: bool = False) -> tuple[int, str, str]:
    parser = argparse.ArgumentParser()
    cli_alarms.add(parser.add_subparsers(dest="verb"))
    listen = ["--endpoints", str(config.rules[0].parent / "endpoints.json")]
    (config.rules[0].parent / "endpoints.json").write_text('{"health": "http://127.0.0.1:81/health"}')
    args = parser.parse_args([*words, "--config", "node.toml", *listen])
    out, err = StringIO(), StringIO()
    code = cli_alarms.run(config, args, locale=locale, user="jean", out=out, err=err, colours=colours,
                          now_us=lambda: NOW, monotonic=node.monotonic, sleep=node.sleep,
                          transport=httpx.MockTransport(node.answer))  # fmt: skip
    return code, out.getvalue(), err.getvalue()


# ---- the table


def test_no_alarm_is_told_as_such(config: Config) -> None:
    assert type_in(config, Node(), "alarms") == (0, "no alarm stands\n", "")
    assert type_in(config, Node(), "alarms", locale="fr") == (0, "aucune alarme en cours\n", "")


def test_what_health_knows_stands_below_the_alarms(config: Config) -> None:
    node = Node()
    node.troubles = ["the cloud is out of reach: 401", "device bin-1: never heard since the start 5 min ago \x1b[2J"]
    code, out, err = type_in(config, node, "alarms")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "no alarm stands",
        "the node's health:",
        "  the cloud is out of reach: 401",
        "  device bin-1: never heard since the start 5 min ago \\x1b[2J",
    ]


def test_a_line_an_alarm_in_the_site_s_time(config: Config) -> None:
    one = alarm("a1b2c3", severity="high", respond_by_us=NOW + HOUR, text={"en": "Dark", "fr": "Éteint"})
    other = alarm("d4", "bin-1", "full", raised_us=NOW - 30 * HOUR, state="shelved", until_us=NOW + 2 * HOUR)
    code, out, _ = type_in(config, Node(one, other), "alarms")
    assert code == 0
    assert out.splitlines() == [
        "since             severity  device  rule  state                respond by  id      what",
        "20:00             high      lamp-1  dark  raised               22:00       a1b2c3  Dark",
        "2026-11-19 15:00  low       bin-1   full  shelved until 23:00              d4",
    ]
    french = type_in(config, Node(one, other), "alarms", locale="fr_FR")[1].splitlines()
    assert french[0].split() == [
        "depuis", "gravité", "appareil", "règle", "état", "à", "traiter", "avant", "id", "quoi",
    ]  # fmt: skip
    assert french[1].split() == ["20:00", "haute", "lamp-1", "dark", "apparue", "22:00", "a1b2c3", "Éteint"]
    assert "mise en sourdine jusqu'à 23:00" in french[2]


def test_the_one_to_look_at_first_is_on_top(config: Config) -> None:
    in_order = [
        alarm("late", severity="urgent", respond_by_us=NOW - 1),
        alarm("soon", severity="urgent", respond_by_us=NOW + HOUR),
        alarm("whenever", severity="urgent", raised_us=NOW - 2 * HOUR),
        alarm("gone", severity="urgent", state="returned", active=False, respond_by_us=NOW - HOUR),
        alarm("low"),
        alarm("seen", severity="urgent", state="acknowledged", acknowledged=True),
        alarm("explained", severity="urgent", state="suppressed", cause="seen"),
        alarm("silent", severity="medium", state="shelved", until_us=NOW + HOUR),
    ]
    out = type_in(config, Node(*reversed(in_order)), "alarms")[1].splitlines()
    assert [next(w for w in line.split() if w in {a.id for a in in_order}) for line in out[1:]] == [
        a.id for a in in_order
    ]
    assert "20:59 (late)" in out[1]
    assert "(late)" not in "".join(out[2:]), "what has gone is late for nobody"


def test_times_of_a_clock_that_was_not_set_are_marked(config: Config) -> None:
    out = type_in(config, Node(alarm("a", boot=7, respond_by_us=NOW - 60 * S)), "alarms")[1]
    assert "~20:00" in out
    assert "~20:59" in out
    assert "late" not in out


def test_colours_are_for_terminals_and_nothing_else_reaches_them(config: Config) -> None:
    alarms = [alarm("a", severity="urgent", rule="r\x1b[2J"), alarm("b", severity="urgent", state="acknowledged")]
    out = type_in(config, Node(*alarms), "alarms")[1]
    assert "\x1b" not in out
    coloured = type_in(config, Node(*alarms), "alarms", colours=True)[1].splitlines()
    assert coloured[1].startswith("\x1b[1;31m")
    assert coloured[1].endswith("\x1b[0m")
    assert coloured[1].count("\x1b") == 2
    assert "\x1b" not in coloured[0] + coloured[2]


def test_what_is_left_out_is_told(config: Config) -> None:
    assert type_in(config, Node(alarm("a"), left_out=7), "alarms")[1].endswith("\nand 7 more\n")


# ---- acts


@pytest.mark.parametrize("words", [["a1b2c3"], ["a1b2"], ["lamp-1", "dark"]])
def test_an_alarm_is_named_by_id_or_device_and_rule(config: Config, words: list[str]) -> None:
    mine, other = alarm("a1b2c3"), alarm("d4e5f6", "lamp-1", "other")
    node = Node(mine, other, after=[msgspec.structs.replace(mine, state="acknowledged"), other])
    assert type_in(config, node, "acknowledge", *words) == (0, "lamp-1 dark: acknowledged\n", "")
    assert node.given == [{"order": "alarm_act", "by": "jean", "alarm": "a1b2c3", "act": "acknowledge"}]


def test_a_device_is_enough_where_one_alarm_stands_on_it(config: Config) -> None:
    node = Node(alarm("a1b2c3"), alarm("d4e5f6", "bin-1"), after=[])
    assert type_in(config, node, "acknowledge", "lamp-1", "--by", "j.martin", locale="fr") == (
        0, "lamp-1 dark : close\n", "",
    )  # fmt: skip
    assert node.given[0]["by"] == "j.martin"


def test_where_several_fit_none_is_taken(config: Config) -> None:
    node = Node(alarm("aaaa1"), alarm("aaaa2", rule="other"))
    for word in ("lamp-1", "aaaa"):
        code, out, err = type_in(config, node, "acknowledge", word)
        assert (code, out) == (EXIT_FAILED, "")
        assert err == "2 alarms fit; write device and rule, or an id: lamp-1 dark, lamp-1 other\n"
    code, _, err = type_in(config, node, "acknowledge", "lamp-1", "drak")
    assert code == EXIT_FAILED
    assert "no alarm of lamp-1 with the rule drak stands" in err
    assert node.given == []


def test_one_that_does_not_stand_is_left_to_the_node_which_knows_cleared_ones(config: Config) -> None:
    node = Node()
    assert type_in(config, node, "acknowledge", "a1b2c3") == (0, "a1b2c3: cleared\n", "")
    node.result = {"id": "site-1", "stage": "refused", "final": True, "detail": "no alarm aa stands on this node"}
    assert type_in(config, node, "acknowledge", "aa") == (
        EXIT_FAILED, "", "refused: no alarm aa stands on this node\n",
    )  # fmt: skip


def test_shelving_says_until_when_and_why(config: Config) -> None:
    mine = alarm("a1b2c3")
    node = Node(mine, after=[msgspec.structs.replace(mine, state="shelved", until_us=NOW + 8 * HOUR)])
    words = ["shelve", "a1b2c3", "--for", "8h", "--note", "cable"]
    assert type_in(config, node, *words) == (0, "lamp-1 dark: shelved until 2026-11-21 05:00\n", "")
    assert node.given == [
        {"order": "alarm_act", "by": "jean", "alarm": "a1b2c3", "act": "shelve", "for_s": 28_800.0, "note": "cable"}
    ]
    node = Node(*node.alarms, after=[mine])
    assert type_in(config, node, "unshelve", "a1b2c3") == (0, "lamp-1 dark: raised\n", "")
    assert node.given[0]["act"] == "unshelve"
    assert type_in(config, node, "shelve", "a1b2c3", "--for", "1s") == (EXIT_FAILED, "", "--for is 10 s to 31 d\n")
    with pytest.raises(SystemExit):
        type_in(config, node, "shelve", "a1b2c3")


def test_a_node_whose_card_takes_nothing_is_not_waited_for_for_ever(config: Config) -> None:
    node = Node(alarm("a1b2c3"))
    node.result = {"id": "site-1", "stage": "accepted", "final": False, "detail": ""}
    code, _, err = type_in(config, node, "acknowledge", "a1b2c3")
    assert (code, "waits for its card" in err) == (EXIT_FAILED, True)
    assert node.time_s < 40
