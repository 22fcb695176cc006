"""`lamplighter-edge init` without lines to look on: what it asks, what it writes, and when it writes nothing."""

from __future__ import annotations

import argparse
import os
import socket
import tomllib
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from edge.config import load
from edge.verbs import init

TOKEN = "lamp_0123456789_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
GIVEN = ("--node", "cab-17", "--cloud", "https://l.example.org", "--at", "47.322,5.0415", "--time-zone", "Europe/Paris")


@pytest.fixture(autouse=True)
def _fresh_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "raspberrypi")


class Typed(StringIO):
    """A terminal, as far as it says so."""

    def __init__(self, text: str = "", *, terminal: bool = True) -> None:
        super().__init__(text)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def type_in(
    folder: Path, *words: str, typed: str = "", terminal: bool = False, locale: str = "C"
) -> tuple[int, str, str]:
    parser = argparse.ArgumentParser()
    init.add(parser.add_subparsers(dest="verb"))
    args = parser.parse_args(["init", *words, "--config", str(folder / "node.toml")])
    root = folder / "root"
    (root / "etc").mkdir(parents=True, exist_ok=True)
    (root / "etc/timezone").write_text("Europe/Paris\n")
    (root / "dev").mkdir(exist_ok=True)
    (root / "dev/ttyUSB0").touch()
    out, err = Typed(terminal=terminal), Typed()
    code = init.run(args, locale=locale, source=Typed(typed, terminal=terminal), out=out, err=err, root=root)
    return code, out.getvalue(), err.getvalue()


def written(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "node.toml").read_text())


def test_all_by_options(tmp_path: Path) -> None:
    code, out, err = type_in(
        tmp_path, *GIVEN, "--where", "rue de la Liberté 17", "--country", "FR", "--page",
        "--line", "rs485,protocol=modbus,serial=/dev/ttyUSB0,baud=19200",
        "--line", "broker,protocol=mqtt,host=127.0.0.1,client_id=cab-17",
        "--device", "lamp-1,line=rs485,profile=lx-1,unit=7,poll_s=30,name=Lampe",
        "--token-stdin", typed=f"{TOKEN}\n",
    )  # fmt: skip
    assert (code, err) == (0, "")
    config = load(tmp_path / "node.toml", {})
    assert (config.token, config.health.listen, config.health.names) == (TOKEN, "0.0.0.0:8470", ("cab-17.local",))
    assert config.site is not None
    assert (config.site.lat, config.site.lon, config.site.name, config.site.country) == (
        47.322,
        5.0415,
        "rue de la Liberté 17",
        "FR",
    )
    assert [(line.name, line.kind.name) for line in config.lines] == [("rs485", "modbus"), ("broker", "mqtt")]
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert TOKEN not in out
    assert "written: " in out
    assert out.splitlines()[-4:] == [
        "Next:",
        f"  lamplighter-edge check --config {tmp_path}/node.toml",
        f"  lamplighter-edge run --config {tmp_path}/node.toml",
        f"  lamplighter-edge status --config {tmp_path}/node.toml",
    ]


@pytest.mark.parametrize("left_out", ["--node", "--cloud", "--at"])
def test_without_a_terminal_what_is_missing_is_named(tmp_path: Path, left_out: str) -> None:
    where = GIVEN.index(left_out)
    words = (*GIVEN[:where], *GIVEN[where + 2 :], "--no-line")
    code, out, err = type_in(tmp_path, *words)
    assert (code, out, err) == (2, "", f"this has to be said: write {left_out}\n")
    assert not (tmp_path / "node.toml").exists()
    assert (
        "ceci doit être dit" in type_in(tmp_path, *GIVEN[:where], *GIVEN[where + 2 :], "--no-line", locale="fr_FR")[2]
    )


def test_lines_have_to_be_said_too(tmp_path: Path) -> None:
    assert type_in(tmp_path, *GIVEN)[::2] == (2, "this has to be said: write --line, --no-line\n")
    assert type_in(tmp_path, *GIVEN, "--no-line")[0] == 0
    assert written(tmp_path).keys() == {"node", "cloud", "site"}
    assert (written(tmp_path)["cloud"], written(tmp_path)["node"]) == (
        {"url": "https://l.example.org", "token_file": "token"}, {"id": "cab-17", "data_dir": "data"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--node", "a b"), "--node: letters, digits"),
        (("--cloud", "l.example.org"), "is no address of an aggregator"),
        (("--cloud", "http://l.example.org"), "plain http leaves the token readable"),
        (("--at", "47.322"), "--at: write latitude and longitude"),
        (("--at", "97.322,5"), "--at: write latitude and longitude"),
        (("--time-zone", "Europe/Paris2"), "--time-zone: there is no time zone"),
        (("--line", "rs485"), "its protocol"),
        (("--line", "rs485,modbus"), "--line: a line is written NAME,protocol="),
        (("--line", "x,protocol=modbus,serial=/dev/x,buad=3"), "did you mean"),
        (("--line", "x,protocol=modbus,host=a", "--device", "d,line=x,profile=lx-2,unit=1"), 'did you mean "lx-1"'),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_written(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    lines = () if "--line" in words else ("--no-line",)
    code, _, err = type_in(tmp_path, *GIVEN, *lines, *words)
    assert code in (1, 2)
    assert said in err or (said == "its protocol" and "protocol" in err)
    assert not list(tmp_path.glob("*node.toml*"))


def test_by_questions(tmp_path: Path) -> None:
    answers = [
        "cab 17", "cab-17",  # wrong, then right
        "http://l.example.org", "https://l.example.org",
        "",  # the token's file
        "47,322 5,0415", "47.322 5.0415",
        "rue de la Liberté 17",
        "",  # the time zone of the machine
        "n",
        "1", "", "x", "e", "",  # the serial port: 9600 baud, even parity, by the name rs485
        "9", "3", "10.0.0.2", "", "rs485", "gateway",  # a gateway: a number that is none, a name that is taken
        "",  # no more lines
        "n", "n",  # do not look on them
        "two words", TOKEN,
    ]  # fmt: skip
    code, out, err = type_in(tmp_path, typed="\n".join(answers) + "\n", terminal=True)
    assert (code, err) == (0, "")
    port = str(tmp_path / "root/dev/ttyUSB0")
    assert written(tmp_path)["line"] == [
        {"name": "rs485", "protocol": "modbus", "serial": port, "baud": 9600, "parity": "E"},
        {"name": "gateway", "protocol": "modbus", "host": "10.0.0.2", "port": 502},
    ]
    assert written(tmp_path)["site"]["time_zone"] == "Europe/Paris"
    assert "health" not in written(tmp_path)
    assert (tmp_path / "token").read_text() == f"{TOKEN}\n"
    assert "letters, digits" in out


def test_in_french_and_when_nothing_is_typed_any_more(tmp_path: Path) -> None:
    code, out, err = type_in(tmp_path, typed="cab-17\n", terminal=True, locale="fr_FR.UTF-8")
    assert (code, err) == (1, "l’entrée est finie ; rien n’a été écrit\n")
    assert "adresse de l’agrégateur" in out
    assert not list(tmp_path.glob("*node.toml*"))


def test_the_token_may_come_later(tmp_path: Path) -> None:
    code, out, _ = type_in(tmp_path, *GIVEN, "--where", "-", "--no-line", "--no-page", "--token-file", "secret/token",
                           typed="\n", terminal=True)  # fmt: skip
    assert code == 0
    assert f"sudo install -m 600 /dev/stdin {tmp_path}/secret/token" in out
    assert written(tmp_path)["cloud"]["token_file"] == "secret/token"


def test_a_file_that_is_there_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text("mine")
    code, out, err = type_in(tmp_path, terminal=True)
    assert (code, out) == (1, "")
    assert "write --force" in err
    code, out, _ = type_in(tmp_path, *GIVEN, "--no-line", "--force")
    assert (code, "the file of before: " in out) == (0, True)
    (kept,) = tmp_path.glob("node.toml.2*")
    assert kept.read_text() == "mine"


def test_a_folder_that_is_not_there_or_not_ours(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    init.add(parser.add_subparsers(dest="verb"))
    args = parser.parse_args(["init", "--config", str(tmp_path / "nowhere/node.toml")])
    err = StringIO()
    assert init.run(args, locale="C", source=Typed(), out=StringIO(), err=err) == 1
    assert "is no folder: make it first" in err.getvalue()
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        assert "use sudo" in type_in(tmp_path, *GIVEN)[2]


def test_a_token_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("old")
    code, _, err = type_in(tmp_path, *GIVEN, "--no-line", "--token-stdin", typed=TOKEN)
    assert (code, "the token was left as it is" in err, (tmp_path / "token").read_text()) == (1, True, "old")
    assert not (tmp_path / "node.toml").exists()
    assert type_in(tmp_path, *GIVEN, "--no-line")[0] == 0


def test_where_systemd_has_it_the_paths_are_those_of_the_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge.verbs import init_answers

    monkeypatch.setattr(init_answers, "SYSTEM", tmp_path)
    assert type_in(tmp_path, *GIVEN, "--no-line", "--token-stdin", typed=TOKEN)[0] == 0
    assert written(tmp_path)["node"]["data_dir"] == "/var/lib/lamplighter"
    assert written(tmp_path)["cloud"]["token_file"] == "${CREDENTIALS_DIRECTORY}/token"
    assert written(tmp_path)["control"] == {
        "socket": "/run/lamplighter/node.sock", "technicians": "lamplighter-technicians",
    }  # fmt: skip
    assert load(tmp_path / "node.toml", {"CREDENTIALS_DIRECTORY": str(tmp_path)}).token == TOKEN
