"""`status` and `devices` print what the node's pages say, and end with a code that a script can act on."""

from __future__ import annotations

import argparse
from io import StringIO
from pathlib import Path

import httpx
import msgspec
import pytest

from edge.config import load
from edge.verbs import status
from edge.web.glance import ChangedHere, DeviceLine, Summary, Task
from wire.time import Utc

NODE = """
[node]
id = "cab-1"
data_dir = "data"

[cloud]
url = "https://lamplighter.example.org"
token = "x"

[health]
listen = "127.0.0.1:8470"
"""
WELL = Summary(
    node="cab-1", state="well", sentence="This cabinet is working", queue="Connected: last confirmed 4 s ago",
    devices=3, version="0.1.0",
)  # fmt: skip
TASK = Task(
    weight="act",
    title="Lamp 12 does not answer",
    check="Others on this line answer: check its supply and address.",
    said="no answer within 1 s",
    device="lamp-012",
)
NOTE = Task(weight="note", title="The city cannot be reached", said="The city cannot be reached")
LINES = [
    DeviceLine(id="lamp-001", name="Rue Monge 1", line="north", state="well", words="4 s ago"),
    DeviceLine(id="bin-1", name="", line="broker", state="act", words="silent since 14:02"),
]


def ask(folder: Path, *words: str, answer: object = WELL, locale: str = "C") -> tuple[int, str, str, list[str]]:
    parser = argparse.ArgumentParser()
    status.add(parser.add_subparsers(dest="verb"))
    (folder / "node.toml").write_text(NODE)
    args = parser.parse_args([*words, "--config", str(folder / "node.toml")])
    out, err, asked = StringIO(), StringIO(), list[str]()

    def answers(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        if answer is None:
            raise httpx.ConnectError("Connection refused", request=request)
        return httpx.Response(200, content=msgspec.json.encode(answer))

    code = status.run(load(args.config, {}), args, locale=locale, out=out, err=err,
                      transport=httpx.MockTransport(answers))  # fmt: skip
    return code, out.getvalue(), err.getvalue(), asked


def test_all_is_well(tmp_path: Path) -> None:
    code, out, err, asked = ask(tmp_path, "status")
    assert (code, err, asked) == (0, "", ["/summary?lang=en"])
    assert out.splitlines() == [
        "cab-1: This cabinet is working",
        "",
        "Connected: last confirmed 4 s ago.",
        "3 devices, 0 alarms; lamplighter 0.1.0",
    ]


@pytest.mark.parametrize(("state", "expected"), [("act", 1), ("failed", 2), ("else", 1)])
def test_what_to_do_stands_first(tmp_path: Path, state: str, expected: int) -> None:
    told = msgspec.structs.replace(WELL, state=state, sentence="1 device needs you", tasks=(TASK,), notes=(NOTE,),
                                   left_out=7, oldest="3 h")  # fmt: skip
    code, out, _, _ = ask(tmp_path, "status", answer=told)
    assert code == expected
    assert out.splitlines()[:9] == [
        "cab-1: 1 device needs you",
        "",
        "!  Lamp 12 does not answer",
        "   Others on this line answer: check its supply and address.",
        "   (no answer within 1 s)",
        "",
        "-  The city cannot be reached",
        "",
        "and 7 more",
    ]
    assert "The oldest reading that waits is 3 h old." in out


def test_it_asks_in_the_language_of_who_types(tmp_path: Path) -> None:
    _, out, _, asked = ask(tmp_path, "status", locale="fr_FR.UTF-8")
    assert asked == ["/summary?lang=fr"]
    assert "3 appareils, 0 alarmes" in out
    assert ask(tmp_path, "status", "--lang", "en", locale="fr_FR.UTF-8")[3] == ["/summary?lang=en"]


@pytest.mark.parametrize("verb", ["status", "devices"])
def test_a_node_that_does_not_run_says_what_to_do(tmp_path: Path, verb: str) -> None:
    code, out, err, _ = ask(tmp_path, verb, answer=None)
    assert (code, out) == (3, "")
    assert "does it run?" in err
    assert "systemctl status lamplighter-edge" in err


def test_devices_are_a_table(tmp_path: Path) -> None:
    code, out, _, asked = ask(tmp_path, "devices", answer=LINES)
    assert (code, asked) == (0, ["/summary/devices?lang=en"])
    assert out.splitlines() == [
        "ok  lamp-001  Rue Monge 1  north   4 s ago",
        "!   bin-1                  broker  silent since 14:02",
    ]
    assert ask(tmp_path, "devices", answer=[])[1] == ""


def test_a_device_that_was_changed_here_is_marked_with_who_and_when(tmp_path: Path) -> None:
    here = ChangedHere(words="replaced by Léa, 14:02", act="replaced", by="Léa", time_us=Utc(1))
    _, out, _, _ = ask(tmp_path, "devices", answer=[msgspec.structs.replace(LINES[0], changed=here), LINES[1]])
    assert out.splitlines() == [
        "ok  lamp-001  Rue Monge 1  north   4 s ago [replaced by Léa, 14:02]",
        "!   bin-1                  broker  silent since 14:02",
    ]


@pytest.mark.parametrize(("verb", "answer"), [("status", WELL), ("devices", LINES)])
def test_for_programs(tmp_path: Path, verb: str, answer: object) -> None:
    _, out, _, _ = ask(tmp_path, verb, "--json", answer=answer)
    assert msgspec.json.decode(out) == msgspec.json.decode(msgspec.json.encode(answer))


def test_what_an_answer_holds_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    told = msgspec.structs.replace(WELL, sentence="\x1b[2Jgone")
    assert "\x1b" not in ask(tmp_path, "status", answer=told)[1]
