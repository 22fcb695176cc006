"""Cabinet: our own two ends as they ship, as real processes on a stand: an aggregator, and nodes that push to it.

Both draw their ports, use tokens, and keep their shipped defaults but for what a row sets on purpose. The aggregator is
the far end of what is measured here, so it runs on the load's side unless it is itself under test.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from bench.stand import BIN, PEERS, ROOT, BenchError, Process, Side, Stand

READY_S: Final = 120.0
LEAST_URGENT: Final = ("nice", "-n", "19")

EDGE: Final = PEERS / "edge"

Table = Mapping[str, Any]


def shipped_edge() -> Path:
    """`lamplighter-edge` in an environment like the one in Dockerfile.edge: what the node needs, compiled, and no more.

    The bench's own holds more, and some libraries import whatever they find.

    Raises:
        BenchError: it cannot be made here.
    """
    uv, python = BIN / "uv", EDGE / "bin/python"
    wheels = EDGE / "wheel"
    shutil.rmtree(wheels, ignore_errors=True)
    install = [uv, "pip", "install", "-q", "--python", python, "--compile-bytecode", "--no-deps"]
    for command in (
        [uv, "venv", "-q", "--allow-existing", "--python", sys.executable, EDGE],
        # What an older lock had and this one has not must go: httpx, for one, imports rich where it finds it.
        [
            uv,
            "pip",
            "sync",
            "-q",
            "--python",
            python,
            "--compile-bytecode",
            "--require-hashes",
            ROOT / "requirements-edge.lock",
        ],
        [BIN / "hatchling", "build", "-t", "wheel", "-d", wheels],
        [*install, "--reinstall", "--find-links", wheels, "--no-index", "lamplighter"],
    ):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"the node cannot be installed: {done.stderr[-1000:]}")
    return EDGE / "bin/lamplighter-edge"


class City:
    """A running aggregator with an empty store, and what a reader sees of it.

    `yielding` lets it step aside for everything else on its core: in a city it has a machine of its own. With `readers`
    it has so many reader processes, at `readers_url`.
    """

    def __init__(self, stand: Stand, *, side: Side = "load", yielding: bool = False, readers: int = 0) -> None:
        self.directory = stand.fresh("city")
        ready = self.directory / "endpoints.json"
        self._http = httpx.Client(timeout=30, headers={"Authorization": f"Bearer {self.token('reader')}"})
        run = [BIN / "lamplighter-cloud", "run", "--data", self.data, "--port", "0", "--endpoints", ready]
        run += ["--token-feeds", "2000", "--token-requests", "4096"]  # one reader's token stands for many
        run += ["--readers", str(readers), "--readers-port", "0"] if readers else []
        self.process = stand.start("aggregator", [*(LEAST_URGENT if yielding else ()), *run], side=side)
        self.process.wait_until(ready.exists, "no endpoints", READY_S)
        told = json.loads(ready.read_text())
        self.url: str = told["url"].rstrip("/")
        self.readers_url: str = (told["readers_url"] or self.url).rstrip("/")

    @property
    def data(self) -> Path:
        """Its store."""
        return self.directory / "store"

    def token(self, role: str, node: str = "") -> str:
        """A new token."""
        command = [BIN / "lamplighter-cloud", "token", "create", "--data", self.data, "--role", role]
        done = subprocess.run(
            [*command, *(["--node", node] if node else [])], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BenchError(f"no token: {done.stderr}")
        return done.stdout.strip().splitlines()[-1]

    def get(self, path: str, **params: Any) -> Any:
        """What it answers to a reader."""
        return self._http.get(self.url + path, params=params).raise_for_status().json()

    def metric(self, name: str) -> float:
        """The value of a metric without labels.

        Raises:
            BenchError: there is none.
        """
        for line in self._http.get(f"{self.url}/metrics").raise_for_status().text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        raise BenchError(f"no metric {name}")

    def ledger(self, node: str) -> dict[str, Any]:
        """What it holds of a node. Empty for a node that it has never heard of."""
        answer = self._http.get(f"{self.url}/v1/nodes/{node}")
        return {} if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()["ledger"]

    def readings_of(self, node: str) -> int:
        """How many readings of a node it holds.

        Raises:
            BenchError: some are missing.
        """
        ledger = self.ledger(node)
        if ledger and (ledger["missing"]["samples"] or ledger["missing"]["unfinished_seqs"]):
            raise BenchError(f"{node} has lost something: {ledger['missing']}")
        return ledger.get("readings", 0)

    def rows_of(self, device: str) -> list[dict[str, Any]]:
        """All samples of a device."""
        rows: list[dict[str, Any]] = []
        more: dict[str, Any] = {"from": "2020-01-01T00:00:00Z", "limit": 5000}
        while True:
            page = self.get(f"/v1/devices/{device}/readings", **more)
            rows += page["rows"]
            if page["next"] is None:
                return rows
            more["cursor"] = page["next"]


class Node:
    """One node and its configuration. `start` runs it; it may be started again."""

    def __init__(
        self,
        stand: Stand,
        city: City,
        lines: Sequence[Table],
        devices: Sequence[Table],
        *,
        name: str = "cab-bench",
        profiles: Mapping[str, str] | None = None,
        settings: Mapping[str, Table] | None = None,
        data: Path | None = None,
    ) -> None:
        """`profiles` are profiles of its own, as TOML by name; `settings` are tables of the file, such as
        `{"outbox": {"commit_interval_s": 1}}`, each key in place of its default; `data` is where a node that
        ran before has its outbox."""
        self._stand, self.name = stand, name
        self.directory = stand.fresh(name)
        self.data = data or self.directory / "data"
        token = self.directory / "token"
        token.touch(mode=0o600)
        token.write_text(city.token("node", name))
        own = self.directory / "profiles"
        own.mkdir()
        for profile, text in (profiles or {}).items():
            (own / f"{profile}.toml").write_text(text)
        tables: dict[str, dict[str, Any]] = {
            "node": {"id": name, "data_dir": str(self.data), "profile_dirs": [str(own)]},
            "cloud": {"url": city.url, "token_file": str(token)},
            "health": {"listen": "127.0.0.1:0"},
            "clock": {"trust_system": True},
        }
        for table, keys in (settings or {}).items():
            tables.setdefault(table, {}).update(keys)
        parts = [f"[{table}]\n{_keys(keys)}" for table, keys in tables.items()]
        parts += [f"[[line]]\n{_keys(line)}" for line in lines]
        parts += [f"[[device]]\n{_keys({'lon': 5.04, 'lat': 47.32, **device})}" for device in devices]
        self.config = self.directory / "node.toml"
        self.config.write_text("\n".join(parts))
        self._starts = 0
        self.process: Process
        self.health_url = ""

    def start(
        self,
        *,
        side: Side = "test",
        environment: Mapping[str, str] | None = None,
        command: Sequence[str | Path] = (BIN / "lamplighter-edge",),
    ) -> float:
        """Start it; how many seconds it took from there until it served."""
        self._starts += 1
        ready = self.directory / f"{self._starts}.json"
        began_s = time.time()
        run = [*command, "run", "--config", self.config, "--endpoints", ready]
        self.process = self._stand.start(self.name, run, side=side, environment=environment)
        self.process.wait_until(ready.exists, "no endpoints", READY_S)
        self.health_url = json.loads(ready.read_text())["health"]
        return ready.stat().st_mtime - began_s

    def health(self) -> dict[str, Any]:
        """What it says of itself."""
        return httpx.get(self.health_url, timeout=30).json()


def _keys(keys: Table) -> str:
    return "".join(f"{key} = {_value(value)}\n" for key, value in keys.items())


def _value(value: object) -> str:
    """As TOML. JSON's texts, numbers, booleans and lists are TOML as they are."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{k} = {_value(v)}" for k, v in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
