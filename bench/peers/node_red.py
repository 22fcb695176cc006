"""Node-RED: what many take for rules between messages.

It runs with its shipped settings, editor included; what is changed is named where it is set. Its one flow
(`node-red/flows.json`) is MQTT in → switch: level above a threshold or not → a function for each → MQTT out, at QoS 1
both ways.
`python -m bench.peers.node_red` installs it with npm, exactly what `node-red/package-lock.json` says.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from bench.stand import PEERS, Absent, BenchError, Stand

PINNED: Final = Path(__file__).with_name("node-red")
LOCK: Final = PINNED / "package-lock.json"
VERSION: Final[str] = json.loads((PINNED / "package.json").read_text(encoding="utf-8"))["dependencies"]["node-red"]
NAME: Final = f"Node-RED {VERSION}"
HOME: Final = PEERS / "node-red"
NODELAY: Final = PINNED / "nodelay.js"  # why: there
READY_S: Final = 60.0
# No news to its maker from a benchmark, and nobody else's port; all else as it comes.
SETTINGS: Final = """
module.exports = {{
    uiHost: "127.0.0.1",
    uiPort: {port},
    flowFile: "flows.json",
    telemetry: {{ enabled: false }},
}};
"""


def available() -> str | None:
    """None where it can be run; else why not, and how to get it."""
    if shutil.which("node") is None:
        return f"{NAME} needs Node.js: sudo apt-get install -y nodejs npm"
    if _stamp().exists() and _stamp().read_text() == _wanted():
        return None
    return f"{NAME} is not installed: python -m bench.peers.node_red"


def install(say: Callable[[str], None]) -> None:
    """Into a folder of its own, exactly what the lock says.

    Raises:
        BenchError: it cannot be had here.
    """
    if available() is None:
        return
    if shutil.which("npm") is None:
        raise BenchError(f"{NAME} needs npm: sudo apt-get install -y nodejs npm")
    say(f"installing {NAME}")
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PINNED / name, HOME)
    # Scripts of packages are not run: what they would build is optional.
    command = ["npm", "ci", "--omit=dev", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{NAME} cannot be installed: {done.stderr[-1000:]}")
    _stamp().write_text(_wanted())


def _stamp() -> Path:
    return HOME / "stamp"


def _wanted() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


class NodeRed:
    """One that runs. `started_s`: from being executed until its flow listens."""

    def __init__(self, stand: Stand, broker_port: int, topic: str, threshold: float, *, nodelay: bool) -> None:
        directory = stand.fresh("node-red")
        shutil.copy(PINNED / "flows.json", directory)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            (directory / "settings.js").write_text(SETTINGS.format(port=probe.getsockname()[1]))
        self.process = stand.start(
            "Node-RED",
            ["node", HOME / "node_modules/node-red/red.js", "-u", directory, "-s", directory / "settings.js"],
            side="test",
            environment={
                "BROKER_PORT": str(broker_port),
                "TOPIC_IN": topic,
                "THRESHOLD": str(threshold),
                **({"NODE_OPTIONS": f'--require "{NODELAY}"'} if nodelay else {}),
            },
        )
        self.process.wait_until(self._listens, "its flow does not listen", READY_S)
        self.started_s = time.time() - psutil.Process(self.process.process.pid).create_time()

    def _listens(self) -> bool:
        said = self.process.said()
        return "Started flows" in said and "Connected to broker" in said


def start(stand: Stand, broker_port: int, topic: str, *, threshold: float, nodelay: bool = False) -> NodeRed:
    """Start it; on `…/set` it tells who says on `…/state` that its `n` is not 1 although its level is above the
    threshold, or not 0 although it is not. `nodelay`: without Nagle's algorithm, which it has as shipped.

    Raises:
        Absent: it is not installed.
    """
    if (reason := available()) is not None:
        raise Absent(reason)
    return NodeRed(stand, broker_port, topic, threshold, nodelay=nodelay)


if __name__ == "__main__":
    install(print)
