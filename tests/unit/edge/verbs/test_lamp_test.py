"""`lamplighter-edge test`: one order, a countdown, and the lamp is given back; against a node that is made up."""

from __future__ import annotations

import argparse
import json
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.config import Config, load
from edge.verbs import lamp_test
from support.acting import NODE


class Answers:
    """A node that verifies at once, or says what it says; time goes on by sleeping."""

    def __init__(self, stage: str = "verified") -> None:
        self.stage, self.given, self.time_s, self.stop_s = stage, list[Any](), 0.0, 1e9

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.given.append(json.loads(request.content))
        return httpx.Response(202, json={"id": "site-1", "stage": self.stage, "final": True, "detail": ""})

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds
        if self.time_s >= self.stop_s:
            raise KeyboardInterrupt


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "node.toml").write_text(NODE)
    (tmp_path / "rules.toml").write_text("")
    return load(tmp_path / "node.toml", {})


def type_in(config: Config, node: Answers, *words: str, locale: str = "C") -> tuple[int, str, str]:
    parser = argparse.ArgumentParser()
    lamp_test.add(parser.add_subparsers(dest="verb"))
    args = parser.parse_args(["test", *words, "--config", "node.toml"])
    out, err = StringIO(), StringIO()
    code = lamp_test.run(config, args, locale=locale, user="jean", out=out, err=err, sleep=node.sleep,
                         monotonic=lambda: node.time_s, transport=httpx.MockTransport(node.answer))  # fmt: skip
    return code, out.getvalue(), err.getvalue()


BACK = {"order": "relinquish", "by": "jean", "device": "lamp-1", "point": "dim_level"}


@pytest.mark.parametrize(
    ("what", "order"),
    [
        ("blink", {"order": "blink", "for_s": 30}),
        ("on", {"order": "command", "value": 100, "for_s": 30}),
        ("off", {"order": "command", "value": 0, "for_s": 30}),
        ("60 %", {"order": "command", "value": 60, "for_s": 30}),
    ],
)
def test_one_order_a_countdown_and_it_is_given_back(config: Config, what: str, order: dict[str, Any]) -> None:
    node = Answers()
    code, out, err = type_in(config, node, "lamp-1", what, "--for", "30s")
    assert (code, err) == (0, "")
    assert node.given == [{"by": "jean", "device": "lamp-1", "point": "dim_level", **order}, BACK]
    lefts = [line.split(" in ")[1] for line in out.split("\r")[1:]]
    assert [int(left.split()[0]) for left in lefts] == list(range(30, 0, -1))
    assert out.endswith("lamp-1 is given back: it follows plan and rules again\n")


def test_whoever_has_seen_it_ends_it(config: Config) -> None:
    node = Answers()
    node.stop_s = 4
    code, out, _ = type_in(config, node, "lamp-1", "blink", locale="fr_FR.UTF-8")
    assert code == 0
    assert node.time_s == 4
    assert node.given[-1] == BACK
    assert "clignote : retour en automatique dans 120 s" in out


def test_what_is_not_taken_is_told(config: Config) -> None:
    code, _, err = type_in(config, Answers("refused"), "lamp-1", "blink")
    assert (code, err) == (1, "refused\n")
    for words, says in (
        (("lamp-1", "blink", "--for", "11m"), "10 min at most"),
        (("lamp-1", "on", "--for", "9s"), "--for is"),
        (("lamp-2", "on"), 'did you mean "lamp-1"'),
        (("bin-1", "blink"), "no point that can be set"),
        (("lamp-1", "bright"), "takes a number"),
    ):
        node = Answers()
        code, _, err = type_in(config, node, *words)
        assert (code, node.given) == (1, [])
        assert says in err
