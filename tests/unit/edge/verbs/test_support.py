"""`lamplighter-edge support`: from a node's answer, from the card of one that does not run, and where not even its
configuration can be read; and no secret of whatever was planted."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import zipfile
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import httpx
import msgspec
import pytest

from edge.acting.alarming import PREFIX
from edge.config import ConfigError, load
from edge.outbox.sqlite import SqliteOutbox
from edge.verbs import support
from wire.batch import Lane
from wire.entries import Alarm, Health, Visit
from wire.time import Utc

SECRET = "s3cr3t"
NODE = f"""
[node]
id = "cab-1"
data_dir = "data"

[cloud]
url = "https://lamplighter.example.org"
token = "lamp_0123456789_{SECRET}"

[[line]]
name = "broker"
protocol = "mqtt"
host = "127.0.0.1"
client_id = "cab-1"
username = "cab"
password = "{SECRET}"

[[line]]
name = "radio"
protocol = "ble"

[[device]]
id = "bin-1"
profile = "bn-1"
line = "broker"
address = {{ serial = "BN000001" }}
"""
NOW_US = 1_795_000_000_000_000
ZIP = b"PK of the node"


def type_in(
    folder: Path, *words: str, answer: Callable[[httpx.Request], httpx.Response] | None = None, locale: str = "C"
) -> tuple[int, str, str]:
    parser = argparse.ArgumentParser()
    support.add(parser.add_subparsers(dest="verb"))
    args = parser.parse_args(["support", *words, "--config", str(folder / "node.toml")])
    out, err = StringIO(), StringIO()

    def absent(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    try:
        found = load(args.config, {}, secrets=False)
    except ConfigError as error:
        found = error
    code = support.run(found, args, locale=locale, out=out, err=err, now_us=lambda: Utc(NOW_US),
                       transport=httpx.MockTransport(answer or absent))  # fmt: skip
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a node has left in its data directory, with a secret wherever one may be."""
    data = tmp_path_factory.mktemp("left") / "data"

    async def live() -> None:
        async with SqliteOutbox(data, node="cab-1", limit_bytes=32 << 20, now_us=lambda: NOW_US) as outbox:
            alarm = Alarm(id="a1", device="bin-1", rule="full", severity="high", state="raised", raised_us=NOW_US,
                          time_us=NOW_US, detail=f"mqtts://cab:{SECRET}@broker")  # fmt: skip
            entries = [
                Health(time_us=Utc(NOW_US - 60_000_000), verdict="ok"),
                Health(time_us=Utc(NOW_US), verdict="failed", reasons=(f"the broker wants password={SECRET}",)),
                Visit(visit="v1", by="Léa", act="began", time_us=Utc(NOW_US - 1)),
            ]
            await outbox.append({Lane.URGENT: entries}, kept={PREFIX + "a1": msgspec.msgpack.encode(alarm)})

    asyncio.run(live())
    (data / "devices.json").write_text(f'{{"versions": [], "address": {{"bind_key": "{SECRET}"}}}}')
    (data / "last-words.1.json").write_text(f'{{"late": "card", "log": ["Authorization: Bearer {SECRET}"]}}')
    return data


@pytest.fixture
def cabinet(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node that has run and ended, and a journal that has the secret, too."""
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "node.toml").write_text(NODE)
    journal = tmp_path / "bin" / "journalctl"
    journal.parent.mkdir()
    journal.write_text(f"#!/bin/sh\necho \"edge: what it was asked: $*\"\necho 'edge: password={SECRET} refused'\n")
    journal.chmod(0o755)
    monkeypatch.setenv("PATH", f"{journal.parent}:/usr/bin:/bin")
    return tmp_path


def parts_of(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as found:
        return {name: found.read(name).decode() for name in found.namelist()}


def test_a_running_node_makes_it(cabinet: Path) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path}")
        return httpx.Response(200, content=ZIP)

    file = cabinet / "x.zip"
    assert type_in(cabinet, str(file), answer=answer) == (0, f"written: {file} (0 kB)\n", "")
    assert (file.read_bytes(), asked) == (ZIP, ["GET /support"])


def test_where_none_runs_the_card_tells_what_it_knows(cabinet: Path) -> None:
    file = cabinet / "x.zip"
    code, _, err = type_in(cabinet, str(file))
    assert (code, err) == (0, "the node does not run, or does not answer: this is what is known without it\n")
    parts = parts_of(file)
    assert parts.keys() == {
        "about.json", "health.json", "alarms.json", "activity-log.json", "check.txt", "log.txt", "node.toml",
        "devices.json", "last-words.1.json", "packages.txt",
    }  # fmt: skip
    assert json.loads(parts["about.json"])["running"] is False
    assert json.loads(parts["health.json"])["verdict"] == "failed", "the last that it said"
    assert [a["id"] for a in json.loads(parts["alarms.json"])] == ["a1"]
    assert [d["by"] for d in json.loads(parts["activity-log.json"])["activities"]] == ["Léa"]
    assert "--unit=lamplighter-edge" in parts["log.txt"]
    assert "1 devices" in parts["check.txt"]
    assert [name for name, part in parts.items() if SECRET in part] == []


def test_a_node_that_hangs_is_done_without(cabinet: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("timed out", request=request)

    code, out, err = type_in(cabinet, str(cabinet / "x.zip"), answer=answer, locale="fr_FR.UTF-8")
    assert (code, out.partition(":")[0].strip()) == (0, "écrit")
    assert "ne répond pas" in err
    assert json.loads(parts_of(cabinet / "x.zip")["health.json"])["verdict"] == "failed"


def test_a_node_that_says_no_is_believed(cabinet: Path) -> None:
    refused = httpx.Response(403, json={"error": "jean is no technician here"})
    code, out, err = type_in(cabinet, str(cabinet / "x.zip"), answer=lambda _: refused)
    assert (code, out, err) == (1, "", "the node refuses: jean is no technician here\n")
    assert not (cabinet / "x.zip").exists()


def test_a_configuration_that_is_wrong_is_told_with_all_the_rest(cabinet: Path) -> None:
    (cabinet / "node.toml").write_text(NODE.replace('protocol = "ble"', 'protocol = "bel"'))
    assert type_in(cabinet, str(cabinet))[0] == 0
    parts = parts_of(cabinet / "cab-1-20261118T110640Z.zip")
    assert '"bel"' in parts["check.txt"]
    assert "the node does not start" in parts["check.txt"]
    assert json.loads(parts["health.json"])["verdict"] == "failed", "and the card lies where the file says"
    assert [name for name, part in parts.items() if SECRET in part] == []


@pytest.mark.parametrize("text", ["[node", "node = 3", '[node]\ndata_dir = "${NOWHERE}/x"', "\x00", ""])
def test_a_configuration_that_is_none_at_all(cabinet: Path, text: str) -> None:
    (cabinet / "node.toml").write_text(text)
    assert type_in(cabinet, str(cabinet / "x.zip"))[0] == 0
    assert parts_of(cabinet / "x.zip").keys() >= {"about.json", "check.txt", "node.toml", "packages.txt"}


def test_without_a_card_and_a_journal_it_says_so(cabinet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    (cabinet / "node.toml").write_text(NODE.replace('data_dir = "data"', 'data_dir = "elsewhere"'))
    assert type_in(cabinet, str(cabinet / "x.zip"))[0] == 0
    parts = parts_of(cabinet / "x.zip")
    assert "unable to open" in json.loads(parts["health.json"])["error"]
    assert "the journal cannot be read" in parts["log.txt"]


def test_what_is_there_stays(cabinet: Path) -> None:
    (cabinet / "x.zip").write_text("mine")
    code, out, err = type_in(cabinet, str(cabinet / "x.zip"))
    assert (code, out) == (1, "")
    assert "is there already" in err
    assert (cabinet / "x.zip").read_text() == "mine"
    code, _, err = type_in(cabinet, str(cabinet / "none" / "x.zip"))
    assert code == 1
    assert "No such file" in err
