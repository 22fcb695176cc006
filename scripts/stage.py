"""A street, a node and an aggregator as real processes: what the demonstration, the fault tests and the soak play on.

Everything lives in one directory and ends with the stage. Ports are drawn by the processes themselves.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from cloud.sqlite.tokens import tokens_of
from firmware_sim.compare import Comparison
from firmware_sim.running import RunningStreet

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
READY_S = 60.0
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")  # nothing outlives the stage, even when it is killed


class StageError(Exception):
    """Something on the stage did not do its part; the text holds what it said last."""


class Actor:
    """One process, its output in a file."""

    def __init__(self, name: str, command: Sequence[str | Path], log: Path, environment: Mapping[str, str]) -> None:
        self.name, self._log = name, log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [*DIE_WITH_PARENT, *map(str, command)],
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **environment},
                start_new_session=True,  # Ctrl-C reaches the stage alone, which then ends each in its turn
            )

    def said(self) -> str:
        """The last of its output."""
        return self._log.read_text(errors="replace")[-3000:]

    def wait_for(self, file: Path) -> dict[str, Any]:
        """What it writes into a file once it is ready."""
        deadline = time.monotonic() + READY_S
        while not file.exists():
            if self.process.poll() is not None:
                raise StageError(f"{self.name} ended with {self.process.returncode}:\n{self.said()}")
            if time.monotonic() > deadline:
                raise StageError(f"{self.name} was not ready within {READY_S:.0f} s:\n{self.said()}")
            time.sleep(0.02)
        return json.loads(file.read_text())

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def end(self, timeout_s: float = 10) -> int:
        """Ask it to end; its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired as error:
                self.kill()
                raise StageError(f"{self.name} did not end within {timeout_s} s:\n{self.said()}") from error
        return self.process.returncode


class Stage:
    """Start what is needed, in any order; `close` ends all of it."""

    def __init__(self, directory: Path, scene: Path, node_config: Path, node: str) -> None:
        self.directory, self.node_config, self.node_name = directory, node_config, node
        self.street = RunningStreet(scene, directory)
        self.cloud: Actor | None = None
        self.node: Actor | None = None
        self.cloud_url = ""
        self.health_url = ""
        self.node_endpoints = Path()
        self.environment: dict[str, str] = {"DEMO_DIR": str(directory)}
        self.tokens: dict[str, str] = {}
        self._starts = 0
        self.http = httpx.Client(timeout=20)

    # ---- actors ------------------------------------------------------------------------------------------------

    def start_street(self) -> RunningStreet:
        """The simulated street, with a ledger."""
        found = self.street.start().endpoints

        def port(address: str) -> str:
            return address.rpartition(":")[2]

        self.environment |= {
            f"DEMO_MODBUS_{name.upper()}": port(a) for name, a in (found.get("modbus_tcp") or {}).items()
        }
        for path in (found.get("modbus_rtu") or {}).values():
            self.environment["DEMO_MODBUS_SERIAL"] = path
        if found.get("mqtt"):
            self.environment["DEMO_MQTT"] = port(found["mqtt"])
        if found.get("dbus"):
            self.environment["DBUS_SYSTEM_BUS_ADDRESS"] = found["dbus"]
        return self.street

    def make_tokens(self) -> None:
        """One for the node, one for a reader, one for an operator: what `lamplighter-cloud token create` makes."""
        now_us = time.time_ns() // 1000
        with tokens_of(self.data) as tokens:
            self.tokens = {
                "node": tokens.create("node", self.node_name, "", now_us),
                "reader": tokens.create("reader", None, "", now_us),
                "operator": tokens.create("operator", None, "m.dupont", now_us),
            }
        token = self.directory / "node.token"
        token.touch(mode=0o600)
        token.write_text(self.tokens["node"])

    def start_cloud(self, environment: Mapping[str, str] | None = None, command: Sequence[str | Path] = ()) -> Actor:
        """The aggregator; on the port that it had before, if it ran before."""
        ready = self._fresh("cloud.json")
        port = self.cloud_url.rpartition(":")[2].rstrip("/") or "0"
        run = [*(command or [BIN / "lamplighter-cloud"]), "run", "--data", self.data, "--port", port]
        run += ["--endpoints", ready]
        self.cloud = Actor("the aggregator", run, self.directory / "cloud.log", environment or {})
        self.cloud_url = self.cloud.wait_for(ready)["url"].rstrip("/")
        self.environment.setdefault("DEMO_CLOUD_URL", self.cloud_url)
        return self.cloud

    def start_node(
        self, environment: Mapping[str, str] | None = None, command: Sequence[str | Path] = (), *, wait: bool = True
    ) -> Actor:
        """The node. One that is to die before it is ready is not waited for."""
        ready = self._fresh("node.json")
        run = [*(command or [BIN / "lamplighter-edge"]), "run", "--config", self.node_config, "--endpoints", ready]
        self.node = Actor("the node", run, self.directory / "node.log", {**self.environment, **(environment or {})})
        if wait:
            self.health_url = self.node.wait_for(ready)["health"]
            self.node_endpoints = ready
        return self.node

    def hush(self) -> None:
        """The street falls silent; on return its ledger does not grow any more."""
        self.street.hush()

    def close(self) -> None:
        """End all, the node first; whoever does not end by itself keeps none of the others."""
        with contextlib.ExitStack() as last:
            for actor in (self.street, self.cloud, self.node):
                if actor is not None:
                    last.callback(actor.end)
            self.http.close()

    def _fresh(self, name: str) -> Path:
        self._starts += 1
        return self.directory / f"{self._starts}-{name}"

    # ---- what can be seen --------------------------------------------------------------------------------------

    @property
    def data(self) -> Path:
        """The aggregator's store."""
        return self.directory / "cloud"

    def get(self, path: str, **params: Any) -> Any:
        """What the aggregator answers to a reader."""
        answer = self.http.get(
            self.cloud_url + path, params=params, headers={"Authorization": f"Bearer {self.tokens['reader']}"}
        )
        answer.raise_for_status()
        return answer.json()

    def order(self, path: str, key: str, **body: Any) -> httpx.Response:
        """What the aggregator answers to an operator who gives an order."""
        headers = {"Authorization": f"Bearer {self.tokens['operator']}", "Idempotency-Key": key}
        return self.http.post(self.cloud_url + path, json=body, headers=headers)

    def health(self) -> dict[str, Any]:
        """The node's own, where it listens now: it may have begun anew by itself."""
        self.health_url = json.loads(self.node_endpoints.read_text())["health"]
        return self.http.get(self.health_url).json()

    def devices(self) -> Iterator[dict[str, Any]]:
        """All devices that the aggregator knows."""
        cursor: dict[str, str] = {}
        while True:
            page = self.get("/v1/devices", **cursor)
            yield from page["devices"]
            if page["next"] is None:
                return
            cursor = {"cursor": page["next"]}

    def readings(self, device: str) -> Iterator[dict[str, Any]]:
        """All rows of a device."""
        more: dict[str, Any] = {"limit": 1000}
        while True:
            page = self.get(f"/v1/devices/{device}/readings", **{"from": "2020-01-01T00:00:00Z"}, **more)
            yield from page["rows"]
            if page["next"] is None:
                return
            more["cursor"] = page["next"]

    def compare(self) -> Comparison:
        """The store against the street's ledger."""
        stored: list[tuple[str, int, dict[str, Any]]] = []
        half: dict[tuple[str, str], float] = {}
        for device in self.devices():
            detail = self.get(f"/v1/devices/{device['id']}")
            for point in detail["points"]:
                half[device["id"], point["name"]] = (point.get("resolution") or 0) / 2
            stored += [(device["id"], r["time_us"], r["values"]) for r in self.readings(device["id"])]
        return self.street.compare(stored, lambda d, p: half.get((d, p), 0))

    def settle(self, good: Callable[[Comparison], bool], timeout_s: float = 40) -> Comparison:
        """Compare again and again until it is good, or for as long as that takes."""
        deadline = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(httpx.HTTPError):
                found = self.compare()
                if good(found) or time.monotonic() > deadline:
                    return found
            if time.monotonic() > deadline + 20:
                raise StageError("the aggregator does not answer")
            time.sleep(0.5)
