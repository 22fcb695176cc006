"""One node process with a configuration of the test's own, and nothing else around it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from stage import BIN, Actor

PROFILES = {
    "counter": """
        kind = "counter"
        driver = "fake"
        model = "a table"
        source = ["none"]
        [point.n]
        type = "int"
        at = { start = 0, step = 1 }
        """,
}
COUNTERS = """
[[line]]
name = "table"
protocol = "fake"

[[device]]
id = "c-1"
profile = "counter"
line = "table"
address = {}
poll_s = 0.1
"""
HEAD = """
[node]
id = "cab-1"
data_dir = "data"
profile_dirs = ["profiles"]

[cloud]
url = "http://127.0.0.1:9"      # the discard port: nobody is there
token = "{token}"
timeout_s = 1

[outbox]
commit_interval_s = {commit_s}
limit_bytes = {limit_bytes}

[health]
listen = "127.0.0.1:{port}"
interval_s = 1

[clock]
trust_system = {trusted}
"""


class NodeProcess:
    """`lamplighter-edge run` in a directory; start it again for another life with the same data."""

    def __init__(
        self,
        directory: Path,
        lines: str,
        *,
        commit_s: float = 0.1,
        port: int = 0,
        token: str = "secret",
        limit_bytes: int = 512 << 20,
        trusted: bool = True,
        environment: Mapping[str, str] = {},
        command: Sequence[str | Path] = (BIN / "lamplighter-edge",),
    ) -> None:
        self.directory = directory
        self.config = directory / "node.toml"
        (directory / "profiles").mkdir(parents=True, exist_ok=True)
        for name, text in PROFILES.items():
            (directory / "profiles" / f"{name}.toml").write_text(text)
        head = HEAD.format(
            commit_s=commit_s, port=port, token=token, limit_bytes=limit_bytes, trusted=str(trusted).lower()
        )
        self.config.write_text(head + lines)
        self.config.chmod(0o600)  # it holds a token
        self._environment, self._command = environment, command
        self._lives = 0
        self.actor = self._start()

    def _start(self) -> Actor:
        self._lives += 1
        self._ready = self.directory / f"ready-{self._lives}.json"
        command = [*self._command, "run", "--config", self.config, "--endpoints", self._ready]
        return Actor("the node", command, self.directory / f"node-{self._lives}.log", self._environment)

    def again(self) -> None:
        self.actor = self._start()

    def ready(self) -> str:
        """The health URL, once it serves."""
        return self.endpoints()["health"]

    def endpoints(self) -> dict[str, Any]:
        """What it has told of where it is, once it serves."""
        return self.actor.wait_for(self._ready)

    def health(self) -> dict[str, Any]:
        return httpx.get(self.ready(), timeout=10).json()

    def end(self) -> tuple[int, float]:
        """SIGTERM; the exit code and how long it took."""
        started = time.monotonic()
        return self.actor.end(), time.monotonic() - started

    def said(self) -> str:
        return self.actor.said()

    @property
    def data(self) -> Path:
        return self.directory / "data"


def wait_for(what: Callable[[], object], words: str, timeout_s: float = 15) -> None:
    """Look again and again."""
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {words}"
        time.sleep(0.02)
