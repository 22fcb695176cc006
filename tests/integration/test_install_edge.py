"""scripts/install-edge as far as files go: below a prefix, by anybody. The whole of it: scripts/clean-root --node."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from stage import ROOT

SCRIPT = ROOT / "scripts/install-edge"
UNIT = "etc/systemd/system/lamplighter-edge.service"
ANNOUNCED = "etc/avahi/services/lamplighter.service"
BROKER = "etc/mosquitto/conf.d/lamplighter.conf"


def install(prefix: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *words, "--prefix", prefix], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def files(prefix: Path) -> dict[str, str]:
    return {str(p.relative_to(prefix)): p.read_text() for p in sorted(prefix.rglob("*")) if p.is_file()}


def test_what_it_writes_and_that_again_changes_nothing(tmp_path: Path) -> None:
    done = install(tmp_path, "--broker", "--mdns")
    assert done.returncode == 0, done.stderr
    first = files(tmp_path)
    assert first.keys() == {UNIT, ANNOUNCED, BROKER}
    assert first[UNIT].strip() == (ROOT / "systemd/lamplighter-edge.service").read_text().strip()
    modes = {
        name: (tmp_path / name).stat().st_mode & 0o777 for name in ("etc/lamplighter", "var/lib/lamplighter", UNIT)
    }
    assert modes == {"etc/lamplighter": 0o755, "var/lib/lamplighter": 0o750, UNIT: 0o644}
    assert f"StateDirectoryMode=0{modes['var/lib/lamplighter']:o}" in first[UNIT], "as the unit would make it"
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    again = install(tmp_path, "--broker", "--mdns")
    assert (again.returncode, "wrote" in again.stdout) == (0, False)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before


def test_the_broker_is_the_one_of_the_page(tmp_path: Path) -> None:
    done = install(tmp_path, "--broker")
    page = (ROOT / "docs/mqtt-broker.md").read_text()
    assert files(tmp_path)[BROKER].strip() in page
    assert "autosave_on_changes true" in files(tmp_path)[BROKER]
    assert "ca.pem, broker.pem and broker.key" in done.stdout, "it is not started without its certificates"


def test_the_page_is_announced_with_the_port_of_the_node(tmp_path: Path) -> None:
    def announced() -> dict[str, str]:
        services = ET.fromstring(files(tmp_path)[ANNOUNCED]).findall("service")
        return {s.findtext("type", ""): s.findtext("port", "") for s in services}

    install(tmp_path, "--mdns")
    assert announced() == {"_http._tcp": "8470", "_lamplighter._tcp": "8470"}
    (tmp_path / "etc/lamplighter/node.toml").write_text('[health]\nlisten = "0.0.0.0:8080"\n')
    assert "wrote" in install(tmp_path, "--mdns").stdout
    assert announced() == {"_http._tcp": "8080", "_lamplighter._tcp": "8080"}


def test_an_upgrade_and_a_removal_keep_what_is_the_nodes(tmp_path: Path) -> None:
    install(tmp_path, "--mdns", "--broker")
    own = {
        "etc/lamplighter/node.toml": "mine",
        "etc/lamplighter/token": "secret",
        "var/lib/lamplighter/outbox.db": "all",
    }
    for name, text in own.items():
        (tmp_path / name).write_text(text)
    (tmp_path / UNIT).write_text("of before")
    install(tmp_path)
    assert "ExecStart=" in files(tmp_path)[UNIT]
    venv, link = tmp_path / "opt/lamplighter/bin", tmp_path / "usr/local/bin/lamplighter-edge"
    venv.mkdir(parents=True)
    link.parent.mkdir(parents=True)
    link.symlink_to("/opt/lamplighter/bin/lamplighter-edge")
    done = install(tmp_path, "--remove")
    assert (done.returncode, "kept: " in done.stdout) == (0, True), done.stderr
    assert files(tmp_path) == own
    assert not link.is_symlink()
    assert not venv.exists()
    assert install(tmp_path, "--remove").returncode == 0, "twice is once"
    assert install(tmp_path, "--remove", "--purge").returncode == 0
    assert files(tmp_path) == {}


def test_a_command_of_somebody_else_is_left(tmp_path: Path) -> None:
    link = tmp_path / "usr/local/bin/lamplighter-edge"
    link.parent.mkdir(parents=True)
    link.symlink_to("/home/jean/lamplighter-edge")
    install(tmp_path, "--remove", "--purge")
    assert link.is_symlink()


@pytest.mark.parametrize("words", [["--purge"], ["--technician"], ["--brokr"], ["--prefix"]])
def test_a_wrong_line_says_what_there_is(words: list[str], tmp_path: Path) -> None:
    done = subprocess.run([SCRIPT, "--prefix", tmp_path, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "scripts/install-edge --remove [--purge]" in done.stderr
    assert files(tmp_path) == {}


def test_a_careful_person_can_read_it() -> None:
    lines = SCRIPT.read_text().splitlines()
    assert len(lines) < 200
    assert max(map(len, lines)) <= 120
    told = set(re.findall(r"--[a-z]+", "\n".join(line for line in lines[:21] if line.startswith("#"))))
    taken = set(re.findall(r"^\s+(--[a-z]+)\)", SCRIPT.read_text(), flags=re.MULTILINE))
    assert taken <= told
    page = (ROOT / "docs/operations.md").read_text()
    assert all(re.search(rf"`[^`]*{option}\b", page) for option in taken - {"--prefix"})
