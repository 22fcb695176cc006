"""`lamplighter-edge quarantine`, against answers that a node gives."""

from __future__ import annotations

import argparse
import json
from io import StringIO
from pathlib import Path

import httpx
import pytest

from edge.config import Config, load
from edge.verbs import quarantine

NODE = """
[node]
id = "cab-1"
data_dir = "data"

[cloud]
url = "https://lamplighter.example.org"
token = "x"
"""
ROW = {"lane": "bulk", "through_seq": 812, "bytes": 340, "aside_us": 1_800_000_000_000_000, "sendable": True}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "node.toml").write_text(NODE)
    return load(tmp_path / "node.toml", {})


def type_in(
    config: Config, *words: str, answer: object, locale: str = "C"
) -> tuple[int, str, str, list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def node(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=answer)

    parser = argparse.ArgumentParser()
    quarantine.add(parser.add_subparsers(dest="verb"))
    args = parser.parse_args(["quarantine", *words, "--config", "node.toml"])
    out, err = StringIO(), StringIO()
    code = quarantine.run(config, args, locale=locale, out=out, err=err, transport=httpx.MockTransport(node))
    return code, out.getvalue(), err.getvalue(), asked


def test_the_list_tells_what_and_why_without_control_characters(config: Config) -> None:
    rows = [
        {**ROW, "id": 3, "reason": "set aside by the node: no \x1b[31mfives"},
        {**ROW, "id": 4, "reason": "damaged on the card: no frame", "aside_us": None, "sendable": False},
    ]
    code, out, err, asked = type_in(config, "list", answer=rows)
    assert (code, err, [r.url.path for r in asked]) == (0, "", ["/quarantine"])
    first, second = out.splitlines()
    assert first.split(maxsplit=6) == [
        "3", "2027-01-15T08:00:00Z", "bulk", "812", "340", "B", "set aside by the node: no \\x1b[31mfives",
    ]  # fmt: skip
    assert second.endswith("[damaged] damaged on the card: no frame")
    assert type_in(config, "list", answer=[], locale="fr_FR")[1] == "rien n'est mis de côté\n"


def test_all_or_some_are_sent_again(config: Config) -> None:
    code, out, _, (asked,) = type_in(config, "send", answer={"sent": 2, "unreadable": 0})
    assert (code, out, json.loads(asked.content)) == (0, "2 rows are on their way again\n", {"ids": None})
    code, _, err, (asked,) = type_in(config, "send", "3", "4", answer={"sent": 1, "unreadable": 1})
    assert (code, json.loads(asked.content)) == (1, {"ids": [3, 4]})
    assert err == "1 rows cannot be read any more and stay\n"
