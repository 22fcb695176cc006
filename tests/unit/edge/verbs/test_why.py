from __future__ import annotations

import argparse
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import httpx
import msgspec
import pytest

from edge.config import Config, load
from edge.control.decided import Decided
from edge.verbs import why as cli_why
from edge.verbs.asking import EXIT_FAILED

NODE = """
[node]
id = "cab-1"
data_dir = "data"

[cloud]
url = "https://lamplighter.example.org"
token = "x"

[health]
listen = "{listen}"

[[line]]
name = "bus"
protocol = "modbus"
host = "127.0.0.1"

[[device]]
id = "lamp-001"
profile = "lx-1"
line = "bus"
address = {{ unit = 1 }}
"""
LEVEL = Decided(device="lamp-001", point="dim_level", value=35.0, why={"en": "35 % because", "fr": "35 % par"},
                levels=())  # fmt: skip
Answer = Callable[[httpx.Request], httpx.Response]


def gives(*found: Decided) -> Answer:
    return lambda _request: httpx.Response(200, content=msgspec.json.encode(found))


def nobody(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("Connection refused", request=request)


def config(folder: Path, listen: str) -> Config:
    (folder / "node.toml").write_text(NODE.format(listen=listen))
    return load(folder / "node.toml", {})


def ask(
    folder: Path, *words: str, answer: Answer = nobody, listen: str = "127.0.0.1:8470", locale: str = "C"
) -> tuple[int, str, str]:
    parser = argparse.ArgumentParser()
    cli_why.add(parser.add_subparsers(dest="verb"))
    args = parser.parse_args(["why", *words, "--config", "node.toml"])
    out, err = StringIO(), StringIO()
    code = cli_why.run(config(folder, listen), args, locale=locale, out=out, err=err,
                       transport=httpx.MockTransport(answer))  # fmt: skip
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:8470", "http://127.0.0.1:8470/control/lamp-001"),
        ("0.0.0.0:81", "http://127.0.0.1:81/control/lamp-001"),
        ("[::]:82", "http://[::1]:82/control/lamp-001"),
        (":83", "http://127.0.0.1:83/control/lamp-001"),
    ],
)
def test_the_node_is_asked_where_it_serves(tmp_path: Path, listen: str, url: str) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return gives(LEVEL)(request)

    assert ask(tmp_path, "lamp-001", answer=answer, listen=listen) == (0, "dim_level: 35 % because\n", "")
    assert asked == [url]


def test_the_language_is_that_of_the_locale_unless_one_is_asked_for(tmp_path: Path) -> None:
    assert ask(tmp_path, "lamp-001", answer=gives(LEVEL), locale="fr_FR.UTF-8")[1] == "dim_level: 35 % par\n"
    assert ask(tmp_path, "lamp-001", "--lang", "en", answer=gives(LEVEL), locale="fr")[1] == "dim_level: 35 % because\n"
    assert ask(tmp_path, "lamp-001", "--lang", "fr", answer=gives())[1].startswith("rien n'est imposé")
    assert ask(tmp_path, "lamp-001", answer=gives())[1].startswith("nothing is held")


def test_a_device_that_is_not_there_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    assert ask(tmp_path, "lamp-01") == (EXIT_FAILED, "", 'there is no device "lamp-01" (did you mean "lamp-001"?)\n')
    assert "il n'y a pas d'appareil « lamp-01 »" in ask(tmp_path, "lamp-01", locale="fr")[2]


def test_a_node_that_does_not_answer_is_told(tmp_path: Path) -> None:
    code, out, err = ask(tmp_path, "lamp-001")
    assert (code, out) == (EXIT_FAILED, "")
    assert err == ("the node does not answer at http://127.0.0.1:8470/control/lamp-001: Connection refused;"
                   " does it run?\n")  # fmt: skip
    assert "tourne-t-il ?" in ask(tmp_path, "lamp-001", locale="fr")[2]


def test_something_else_that_answers_is_told(tmp_path: Path) -> None:
    for answer in (httpx.Response(404), httpx.Response(302, headers={"Location": "http://x/"}), httpx.Response(503)):
        code, _, err = ask(tmp_path, "lamp-001", answer=lambda _, a=answer: a)
        assert code == EXIT_FAILED
        assert f"answers {answer.status_code}" in err
    for body in (b"<html>", b'[{"device": 3}]', b"\xff", b""):
        code, _, err = ask(tmp_path, "lamp-001", answer=lambda _, b=body: httpx.Response(200, content=b))
        assert code == EXIT_FAILED
        assert "does not answer" in err


def test_a_port_that_the_node_picks_is_found_in_the_file_that_it_writes(tmp_path: Path) -> None:
    code, _, err = ask(tmp_path, "lamp-001", listen="127.0.0.1:0")
    assert code == EXIT_FAILED
    assert "--endpoints FILE" in err
    assert "--endpoints FICHIER" in ask(tmp_path, "lamp-001", listen="127.0.0.1:0", locale="fr")[2]
    file = tmp_path / "endpoints.json"
    words = ["lamp-001", "--endpoints", str(file)]
    code, _, err = ask(tmp_path, *words, listen="127.0.0.1:0")
    assert code == EXIT_FAILED
    assert "endpoints.json cannot be read" in err
    for text in ('{"health": "http://127.0.0.1:x/health"}', "{", "{}", ""):
        file.write_text(text)
        assert "cannot be read" in ask(tmp_path, *words, listen="127.0.0.1:0")[2], text
    file.write_text('{"health": "http://127.0.0.1:4321/health"}')
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return gives(LEVEL)(request)

    assert ask(tmp_path, *words, answer=answer, listen="127.0.0.1:0")[0] == 0
    assert asked == ["http://127.0.0.1:4321/control/lamp-001"]


def test_what_a_terminal_would_obey_is_shown(tmp_path: Path) -> None:
    why = {"en": "35 % by \x1b]0;owned\x07\nforged \u202eline", "fr": ""}
    found = Decided(device="lamp-001", point="dim_level", value="\x1b[2J", why=why, levels=())
    _, out, err = ask(tmp_path, "lamp-001", answer=gives(found))
    assert "\\x1b]0;owned\\x07\\nforged \\u202eline" in out
    assert not {"\x1b", "\x07", "\u202e"} & set(out + err)
    broken = lambda _request: httpx.Response(404, content=msgspec.json.encode({"error": "no \x1b[2J\nforged"}))  # noqa: E731
    _, out, err = ask(tmp_path, "lamp-001", answer=broken)
    assert "\x1b" not in out + err
