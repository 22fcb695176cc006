"""How the node is shipped: its unit, and its container image."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stage import BIN, ROOT
from support.node_process import wait_for

UNIT = ROOT / "systemd/lamplighter-edge.service"
IMAGE = ROOT / "Dockerfile.edge"
EXPOSURE_MOST = 20  # tenths, of 100; it is at 19, and every tenth that is left is explained in the unit or below

# What systemd-analyze still counts against it, and why it stays.
EXPOSED = {
    "SystemCallFilter=~@clock": "adjtimex reads whether the clock is synchronised",
    "SystemCallFilter=~@privileged": "the same call",
    "ProtectClock=": "the same call",
    "RootDirectory=/RootImage=": "a virtual environment and the system's Python",
    "SupplementaryGroups=": "dialout",
    "PrivateDevices=": "serial lines",
    "DeviceAllow=": "serial lines",
    "RestrictAddressFamilies=~AF_UNIX": "D-Bus",
    "RestrictAddressFamilies=~AF_(INET|INET6)": "the cloud, brokers, gateways",
    "PrivateNetwork=": "the same",
    "IPAddressDeny=": "the same; a site may name addresses in a drop-in",
    "ProcSubset=": "boot_id",
    "PrivateUsers=": "groups",
    "UMask=": "the group may read",
}


def test_the_unit_is_sound(tmp_path: Path, need: Callable[[str], str]) -> None:
    """As systemd reads it, with the program where this checkout has it."""
    text = UNIT.read_text()
    program = re.search(r"^ExecStart=(\S+)", text, flags=re.MULTILINE)
    assert program is not None
    assert program[1] in (ROOT / "docs/operations.md").read_text(), "it is installed where the unit looks for it"
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace(program[1], str(BIN / "lamplighter-edge")))
    done = subprocess.run(
        [need("systemd-analyze"), "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    mine = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, mine) == (0, []), done.stderr


def test_the_unit_is_hardened(need: Callable[[str], str]) -> None:
    analyze = [need("systemd-analyze"), "security", "--offline=true"]
    done = subprocess.run(
        [*analyze, f"--threshold={EXPOSURE_MOST}", "--no-pager", UNIT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1]
    listed = subprocess.run([*analyze, "--json=short", UNIT], capture_output=True, text=True, check=False)
    exposed = {row["name"] for row in json.loads(listed.stdout) if row["set"] is False}
    assert exposed <= EXPOSED.keys(), "a new exposure: close it, or say why it stays"


def test_the_unit_says_what_operations_say() -> None:
    text = UNIT.read_text()
    for line in (
        "Type=notify",
        "User=lamplighter",
        "StateDirectory=lamplighter",
        "ConfigurationDirectory=lamplighter",
        "RestartPreventExitStatus=78",
        "Restart=always",
        "StartLimitIntervalSec=0",
        "LoadCredential=token:/etc/lamplighter/token",
        "SupplementaryGroups=dialout",
        "DeviceAllow=char-ttyUSB rw",
    ):
        assert f"\n{line}\n" in text
    watchdog = re.search(r"^WatchdogSec=(\d+)$", text, flags=re.MULTILINE)
    assert watchdog is not None
    assert f"after {watchdog[1]} s in which" in (ROOT / "docs/operations.md").read_text().replace("\n", " ")
    assert "AF_UNIX" in text, "D-Bus, by which BlueZ is reached"


def test_the_image_takes_only_what_is_locked() -> None:
    text = IMAGE.read_text()
    assert text.count("--require-hashes") == 2
    assert re.search(r"^ARG BASE=[\w.-]+:[\w.-]+$", text, flags=re.MULTILINE), "a name, and no registry's host"
    assert re.search(r"^USER \d+:\d+$", text, flags=re.MULTILINE), (
        "a number: an orchestrator can see that it is not root"
    )
    assert "HEALTHCHECK" in text
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert {"wire", "drivers", "edge", "cloud", "groundwork", "pyproject.toml", "requirements-edge.lock"} <= set(sent)
    assert all((ROOT / name).exists() for name in sent)


class Buildah:
    """buildah with a store of its own, without a daemon and without mounts that a container could not make."""

    def __init__(self, program: str, directory: Path) -> None:
        self._base = [
            program,
            "--storage-driver",
            "vfs",
            "--root",
            f"{directory}/root",
            "--runroot",
            f"{directory}/run",
        ]

    def __call__(self, *args: object, timeout_s: float = 600) -> str:
        done = subprocess.run(
            [*self._base, *map(str, args)], capture_output=True, text=True, check=False, timeout=timeout_s, cwd=ROOT
        )
        assert done.returncode == 0, f"{args}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout.strip()

    def start(self, *args: object, log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as out:
            return subprocess.Popen(
                [*self._base, *map(str, args)], stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )


@pytest.fixture
def buildah(tmp_path: Path, need: Callable[[str], str]) -> Iterator[Buildah]:
    if os.geteuid() != 0:
        pytest.skip("building an image in a chroot needs root")
    program, debootstrap = need("buildah"), need("debootstrap")
    run = Buildah(program, tmp_path / "store")
    base = tmp_path / "base"
    made = subprocess.run(
        [debootstrap, "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm", base],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no base can be made here: {made.stdout[-300:]}")
    tar = tmp_path / "base.tar"
    with tarfile.open(tar, "w") as file:
        file.add(base, "/", filter=lambda info: None if info.isdev() else info)
    container = run("from", "scratch")
    run("add", "-q", container, tar, "/")
    run("commit", "-q", container, "lamplighter-test-base")
    run("rm", container)
    yield run
    run("rm", "--all")


CONFIG = """
[node]
id = "cab-1"
data_dir = "/var/lib/lamplighter"

[cloud]
url = "http://127.0.0.1:9"
token = "secret"

[health]
listen = "127.0.0.1:8470"

[[line]]
name = "table"
protocol = "fake"
"""


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_image_builds_starts_and_is_healthy(buildah: Buildah, tmp_path: Path) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8470)) == 0:
            pytest.skip("port 8470 is taken: the chroot shares this machine's network")
    authorities = Path("/etc/ssl/certs/ca-certificates.crt")
    pip = tmp_path / "pip.conf"
    pip.write_text("[global]\ncert = /etc/host-ca.crt\ndisable-pip-version-check = true\n")
    buildah(
        "bud", "--isolation", "chroot", "--format", "docker", "--build-arg", "BASE=localhost/lamplighter-test-base",
        "--volume", f"{authorities}:/etc/host-ca.crt:ro", "--volume", f"{pip}:/etc/pip.conf:ro",
        "-f", IMAGE, "-t", "lamplighter-edge-test", ROOT,
    )  # fmt: skip
    about: Any = json.loads(buildah("inspect", "--type", "image", "lamplighter-edge-test"))["Docker"]["config"]
    assert about["User"] == "8470:8470"
    assert about["Volumes"] == {"/var/lib/lamplighter": {}}
    assert about["Entrypoint"] + about["Cmd"] == [
        "/opt/lamplighter/bin/lamplighter-edge", "run", "--config", "/etc/lamplighter/node.toml",
    ]  # fmt: skip
    assert about["Healthcheck"]["Test"][0] == "CMD"
    health = about["Healthcheck"]["Test"][1:]

    config = tmp_path / "node.toml"
    config.write_text(CONFIG)
    container = buildah("from", "localhost/lamplighter-edge-test")
    buildah("copy", "-q", container, config, "/etc/lamplighter/node.toml")
    inside = ["run", "--isolation", "chroot", container, "--"]
    assert "the configuration is sound" in buildah(*inside, about["Entrypoint"][0], "check", *about["Cmd"][1:])
    assert buildah(*inside, "id", "-u") == "8470"
    listed = buildah(*inside, "/opt/lamplighter/bin/python", "-c", "import edge, drivers, wire; print('in')")
    assert listed == "in"
    log = tmp_path / "node.log"
    node = buildah.start(*inside, *about["Entrypoint"], *about["Cmd"], log=log)
    try:
        wait_for(lambda: _answers(node, log), "it serves health", timeout_s=60)
        found = httpx.get("http://127.0.0.1:8470/health")
        assert (found.status_code, found.json()["verdict"]) == (200, "degraded")
        buildah(*inside, *health)
        (pid,) = _children(node.pid, "lamplighter-edge")
        os.kill(pid, signal.SIGTERM)
        assert node.wait(60) == 0, log.read_text()
    finally:
        node.kill()
        node.wait()
    with pytest.raises(AssertionError, match="URLError"):
        buildah(*inside, *health)


def _answers(node: subprocess.Popen[bytes], log: Path) -> bool:
    assert node.poll() is None, log.read_text()
    try:
        return httpx.get("http://127.0.0.1:8470/health").status_code == 200
    except httpx.TransportError:
        return False


def _children(pid: int, name: str) -> list[int]:
    """Processes below one whose command line names a program, the deepest first."""
    below: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            rest = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended since
        below.setdefault(int(rest[1]), []).append(int(stat.parent.name))
    todo, found = [pid], list[int]()
    while todo:
        for child in below.get(todo.pop(), []):
            todo.append(child)
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            if not below.get(child) and any(name.encode() in w for w in words):
                found.append(child)
    return found
