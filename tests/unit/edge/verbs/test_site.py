from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.config import Config, load
from edge.control.on_site import DEFAULT_FOR_S
from edge.verbs import site as cli_site
from edge.verbs.asking import EXIT_FAILED
from edge.verbs.site import LOOK_S, WAIT_S, span

NODE = """
[node]
id = "cab-1"
data_dir = "data"
profile_dirs = ["profiles"]

[cloud]
url = "https://lamplighter.example.org"
token = "x"

[[line]]
name = "bus"
protocol = "modbus"
host = "127.0.0.1"

[[line]]
name = "broker"
protocol = "mqtt"
host = "127.0.0.1"
client_id = "cab-1"

[[device]]
id = "lamp-001"
profile = "own"
line = "bus"
address = { unit = 1 }

[[device]]
id = "bin-1"
profile = "bn-1"
line = "broker"
address = { serial = "BN000001" }
"""
PROFILE = """
kind = "streetlight"
driver = "modbus"
model = "a lamp with a point of each type"
source = ["a test"]

[point.dim_level]
type = "float"
unit = "%"
range = [0, 100]
writable = true
at = { holding = 2, scale = 0.1 }

[point.step]
type = "int"
range = [-5, 5]
writable = true
at = { holding = 3, as = "i16" }

[point.heater]
type = "bool"
writable = true
at = { holding = 4 }

[point.mode]
type = "text"
writable = true
at = { holding = 5, choices = { 0 = "auto", 1 = "manual" } }

[point.lamp_fault]
type = "bool"
at = { holding = 6 }
"""


def told(stage: str, **more: Any) -> dict[str, Any]:
    return {"id": "site-1", "stage": stage, "final": stage not in ("accepted", "applied"), **more}


class Node:
    """Answers with one stage after the other, the last one again and again; time goes on by sleeping."""

    def __init__(self, *stages: dict[str, Any]) -> None:
        self.stages = list(stages)
        self.given: list[Any] = []
        self.asked: list[str] = []
        self.time_s = 0.0

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        if request.method == "POST":
            assert request.headers["Content-Type"] == "application/json"
            assert "origin" not in request.headers
            self.given.append(json.loads(request.content))
        stage = self.stages.pop(0) if len(self.stages) > 1 else self.stages[0]
        return httpx.Response(202 if request.method == "POST" else 200, json=stage)

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds

    def monotonic(self) -> float:
        return self.time_s


DONE = (told("accepted"), told("accepted"), told("applied"), told("verified", read_back=80.0))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "own.toml").write_text(PROFILE)
    (tmp_path / "node.toml").write_text(NODE)
    return load(tmp_path / "node.toml", {})


def type_in(
    config: Config, node: Node, words: Sequence[str], *, locale: str = "C", user: str = "jean"
) -> tuple[int, str, str]:
    parser = argparse.ArgumentParser()
    cli_site.add(parser.add_subparsers(dest="verb"))
    args = parser.parse_args([*words, "--config", "node.toml"])
    out, err = StringIO(), StringIO()
    code = cli_site.run(config, args, locale=locale, user=user, out=out, err=err, monotonic=node.monotonic,
                        sleep=node.sleep, transport=httpx.MockTransport(node.answer))  # fmt: skip
    return code, out.getvalue(), err.getvalue()


def test_it_is_told_how_far_it_comes_until_it_is_read_back(config: Config) -> None:
    node = Node(*DONE)
    code, out, err = type_in(config, node, ["set", "lamp-001", "dim_level", "80"])
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "accepted",
        "applied: the device was told",
        "verified in 0.3 s, read back 80 %",
        "it holds for 2 h; to end it before: lamplighter-edge release lamp-001 dim_level",
    ]
    assert node.given == [
        {"order": "command", "by": "jean", "device": "lamp-001", "point": "dim_level", "value": 80,
         "for_s": DEFAULT_FOR_S}
    ]  # fmt: skip
    assert node.asked == ["POST /orders", *["GET /orders/site-1"] * 3]


def test_in_french(config: Config) -> None:
    words = ["set", "lamp-001", "dim_level", "80 %", "--for", "1d", "--by", "j.martin"]
    node = Node(*DONE)
    code, out, _ = type_in(config, node, words, locale="fr_FR.UTF-8")
    assert code == 0
    assert out.splitlines() == [
        "accepté",
        "appliqué : l'appareil a reçu l'ordre",
        "vérifié en 0.3 s, relu 80 %",
        "cela tient 1 j ; pour y mettre fin avant : lamplighter-edge release lamp-001 dim_level",
    ]
    assert (node.given[0]["by"], node.given[0]["for_s"]) == ("j.martin", 86_400)


def test_giving_back_says_who_has_it_now(config: Config) -> None:
    node = Node(told("accepted"), told("verified", read_back=35.0, detail="now plan always"))
    code, out, err = type_in(config, node, ["release", "lamp-001", "dim_level"])
    assert (code, out, err) == (0, "accepted\nverified in 0.1 s, read back 35 %: now plan always\n", "")
    assert node.given == [{"order": "relinquish", "by": "jean", "device": "lamp-001", "point": "dim_level"}]


@pytest.mark.parametrize(
    ("stage", "says", "dit"),
    [
        (told("refused", detail="no"), "refused: no\n", "refusé : no\n"),
        (told("failed", detail="no answer"), "failed: no answer\n", "échoué : no answer\n"),
        (told("expired"), "expired\n", "expiré\n"),
        (told("superseded"), "superseded by a later order\n", "remplacé par un ordre plus récent\n"),
        (told("failed", detail="x\x1b[2J"), "failed: x\\x1b[2J\n", "échoué : x\\x1b[2J\n"),
    ],
)
def test_what_was_not_done_is_told_with_the_reason(config: Config, stage: Any, says: str, dit: str) -> None:
    words = ["set", "lamp-001", "dim_level", "80"]
    assert type_in(config, Node(stage), words) == (EXIT_FAILED, "", says)
    assert type_in(config, Node(stage), words, locale="fr") == (EXIT_FAILED, "", dit)


def test_it_is_not_waited_for_for_ever(config: Config) -> None:
    node = Node(told("applied"))
    code, out, err = type_in(config, node, ["set", "lamp-001", "dim_level", "80"])
    assert (code, out) == (EXIT_FAILED, "applied: the device was told\n")
    assert err.startswith("not verified after 30 s (applied: the device was told); the node goes on by itself")
    assert WAIT_S <= node.time_s <= WAIT_S + LOOK_S
    assert len(node.asked) <= WAIT_S / LOOK_S + 2


@pytest.mark.parametrize(
    ("point", "text", "value"),
    [
        ("dim_level", "72.5", 72.5),
        ("dim_level", "72,5", 72.5),
        ("dim_level", "72%", 72),
        ("dim_level", "1e1", 10.0),
        ("step", "-3", -3),
        ("step", "3.0", 3.0),
        ("heater", "on", True),
        ("heater", "OFF", False),
        ("heater", "true", True),
        ("heater", "non", False),
        ("heater", "1", True),
        ("mode", "manual", "manual"),
    ],
)
def test_a_value_is_read_by_the_point_s_type(config: Config, point: str, text: str, value: object) -> None:
    node = Node(told("verified"))
    assert type_in(config, node, ["set", "lamp-001", point, text])[0] == 0
    (given,) = node.given
    assert (given["value"], type(given["value"])) == (value, type(value))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["lamp-01", "dim_level", "80"], 'there is no device "lamp-01" (did you mean "lamp-001"?)'),
        (["lamp-001", "dim_levl", "80"], 'no writable point "dim_levl" (did you mean "dim_level"?)'),
        (["lamp-001", "lamp_fault", "on"], 'no writable point "lamp_fault"'),
        (["bin-1", "fill_level", "3"], "bin-1 has no point that can be set"),
        (["lamp-001", "dim_level", "full"], 'dim_level takes a number, such as 80, not "full"'),
        (["lamp-001", "dim_level", "nan"], "dim_level takes a number"),
        (["lamp-001", "dim_level", "101"], "dim_level takes 0 to 100 %, not 101"),
        (["lamp-001", "step", "1.5"], "step takes a whole number"),
        (["lamp-001", "heater", "80"], 'heater takes on or off, not "80"'),
        (["lamp-001", "mode", "manuel"], "mode takes auto, manual, not 'manuel'"),
        (["lamp-001", "dim_level", "80", "--for", "9s"], "--for is 10 s to 31 d"),
        (["lamp-001", "dim_level", "80", "--for", "32d"], "--for is 10 s to 31 d"),
    ],
)
def test_what_cannot_be_is_told_before_the_node_is_asked(config: Config, words: list[str], says: str) -> None:
    node = Node(told("verified"))
    code, out, err = type_in(config, node, ["set", *words])
    assert (code, out, node.asked) == (EXIT_FAILED, "", [])
    assert says in err
    assert type_in(config, node, ["set", *words], locale="fr")[0] == EXIT_FAILED


def test_for_whom_is_said_beside_and_nobody_need_say_it(config: Config) -> None:
    node = Node(told("verified"))
    assert type_in(config, node, ["release", "lamp-001", "mode"], user="")[0] == 0
    assert type_in(config, node, ["release", "lamp-001", "mode", "--by", "j\x1b"], user="")[0] == 0
    assert [given["by"] for given in node.given] == ["", r"j\x1b"]


def test_a_node_that_says_no_is_heard(config: Config) -> None:
    node = Node()
    node.answer = lambda _request: httpx.Response(403, json={"error": "log in on it"})  # type: ignore[method-assign]
    words = ["release", "lamp-001", "mode"]
    assert type_in(config, node, words) == (EXIT_FAILED, "", "the node refuses: log in on it\n")
    assert type_in(config, node, words, locale="fr")[2] == "le nœud refuse : log in on it\n"


@pytest.mark.parametrize(
    ("length_s", "says"), [(10, "10 s"), (60, "1 min"), (5400, "90 min"), (7200, "2 h"), (86_400, "1 d"), (90, "2 min")]
)
def test_lengths_in_words(length_s: float, says: str) -> None:
    assert span(length_s, "en") == says
    assert span(86_400, "fr") == "1 j"
