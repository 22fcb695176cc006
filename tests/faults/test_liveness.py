"""Parts that never return: a line begins anew by itself; for a commit, the event loop and drivers that do not end its
watchdog ends the node, and the next one tells the city why. The aggregator's likewise, for its writer and event loop.
This test stands for systemd, on a real socket.
"""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stage import Actor, Stage
from support.node_process import wait_for
from support.verdict import verdict

SUPPORT = Path(__file__).parents[1] / "support"
LATE = [sys.executable, SUPPORT / "late_node.py"]
LATE_CLOUD = [sys.executable, "-P", SUPPORT / "late_cloud.py"]
WATCHDOG_S = 0.4
pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def late(stage: Stage) -> Path:
    """The file that says what is."""
    return stage.directory / "late"


@pytest.fixture
def systemd(stage: Stage) -> Iterator[socket.socket]:
    """Where the node says that it lives."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(stage.directory / "notify"))
        told.settimeout(20)
        yield told


def environment(stage: Stage, late: Path) -> dict[str, str]:
    return {
        "LATE": str(late), "NOTIFY_SOCKET": str(stage.directory / "notify"), "WATCHDOG_USEC": f"{WATCHDOG_S * 1e6:.0f}",
    }  # fmt: skip


def start(stage: Stage, late: Path) -> Actor:
    return stage.start_node(environment(stage, late), LATE)


def pats(told: socket.socket, seconds: float) -> int:
    """How often it says so within so many seconds."""
    until, found = time.monotonic() + seconds, 0
    while (left := until - time.monotonic()) > 0:
        told.settimeout(left)
        try:
            found += told.recv(200) == b"WATCHDOG=1"
        except TimeoutError:
            break
    return found


def committed(stage: Stage) -> int:
    return stage.health()["counters"]["samples_committed"]


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("loop", "the event loop has not turned for"),
        ("commit", "commit: a commit has taken"),
        ("stubborn", "lines: the end of 3 drivers"),
    ],
)
def test_what_only_a_new_process_brings_back(
    stage: Stage, late: Path, systemd: socket.socket, word: str, why: str
) -> None:
    node = start(stage, late)
    wait_for(lambda: committed(stage) > 20, "it runs")
    assert pats(systemd, 2) > 1
    began = time.time()
    late.write_text(word)
    words = stage.directory / "node" / "last-words.json"
    wait_for(words.exists, "it says why")
    while pats(systemd, 10 * WATCHDOG_S):  # systemd's patience would have been over
        assert late.exists()
    node.process.send_signal(signal.SIGABRT)
    assert node.process.wait(20) == -signal.SIGABRT
    log = (stage.directory / "node.log").read_text()
    assert why in log
    assert "Current thread" in log, "the journal has what every thread did"
    late.unlink()
    start(stage, late)
    wait_for(lambda: any(a["rule"] == "restarted" for a in stage.get("/v1/alarms")["alarms"]), "the city knows")
    (told,) = [a for a in stage.get("/v1/alarms")["alarms"] if a["rule"] == "restarted"]
    assert why in told["detail"]
    assert "version" in told["detail"]
    assert "runs; health at" in told["detail"], "the last lines of its log"
    assert not words.exists(), "it is told once"
    lost_since = [began + i / 2 for i in range(round(2 * (time.time() - began)) + 1)]  # nothing was committed
    verdict(stage, lost_since)


def test_a_stuck_line_begins_anew_and_the_node_does_not(stage: Stage, late: Path, systemd: socket.socket) -> None:
    node = start(stage, late)
    wait_for(lambda: committed(stage) > 20, "it runs")
    late.write_text("line")
    wait_for(lambda: stage.health()["counters"]["line_restarts"] >= 1, "the line begins anew", 30)
    late.unlink()
    assert pats(systemd, 2) > 1
    before = stage.health()["counters"]["polls"]
    wait_for(lambda: stage.health()["counters"]["polls"] > before + 10, "and is polled")
    assert node.process.poll() is None
    log = stage.directory / "node.log"
    assert "no attempt has ended for" in log.read_text()
    reasons = stage.health()["reasons"]
    assert any("opened anew" in r and "no attempt has ended for" in r for r in reasons), "it is still told"
    late.write_text("stubborn")
    wait_for(lambda: "does not end, and is left behind" in log.read_text(), "a driver is deaf", 30)
    node.process.terminate()
    assert node.process.wait(20) == 0
    assert "the driver of line" in log.read_text().rpartition("lamplighter-edge: ")[2]
    assert "card" not in log.read_text().rpartition("lamplighter-edge: ")[2]


@pytest.mark.parametrize(
    ("word", "why"),
    [("loop", "the event loop has not turned for"), ("writer", "writer: a transaction has taken")],
)
def test_what_only_a_new_aggregator_brings_back(
    stage: Stage, late: Path, systemd: socket.socket, word: str, why: str
) -> None:
    assert stage.cloud is not None
    stage.cloud.end()
    cloud = stage.start_cloud(environment(stage, late), LATE_CLOUD)
    stage.start_node()
    wait_for(lambda: committed(stage) > 20, "readings come")
    assert pats(systemd, 2) > 1
    late.write_text(word)
    words = stage.data / "last-words.json"
    wait_for(words.exists, "it says why")
    while pats(systemd, 10 * WATCHDOG_S):  # systemd's patience would have been over
        assert late.exists()
    cloud.process.send_signal(signal.SIGABRT)
    assert cloud.process.wait(20) == -signal.SIGABRT
    late.unlink()
    stage.start_cloud(environment(stage, late), LATE_CLOUD)
    wait_for(lambda: any(a["rule"] == "store" for a in stage.get("/v1/alarms")["alarms"]), "an alarm tells")
    (told,) = [a for a in stage.get("/v1/alarms")["alarms"] if a["rule"] == "store"]
    assert why in told["text"]["fr"]
    assert not words.exists(), "it is told once"
    assert verdict(stage).lost == []
