"""thingsboard-gateway: the open-source gateway that does most of what a node of ours does, and a server for it.

It runs with its shipped settings and its SQLite storage with that one's defaults; what is changed is named where it is
set. Its server is `loads/mqtt_sink.c`, which takes and counts. `python -m bench.peers.thingsboard` installs it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.loads.mqtt_broker import program
from bench.stand import BIN, PEERS, Absent, BenchError, Stand, Usage

VERSION: Final = "3.8.5"
NAME: Final = f"thingsboard-gateway {VERSION}"
HOME: Final = PEERS / "thingsboard"
LOCK: Final = Path(__file__).with_suffix(".lock")
SHIPPED: Final = "lib/python*/site-packages/thingsboard_gateway/config"
READY_S: Final = 60.0
STILL_S: Final = 5.0
NOWHERE: Final = "http://127.0.0.1:9"  # it asks its maker for updates when it starts: not from a benchmark


def available() -> str | None:
    """None where it can be run; else why not, and how to get it."""
    if _stamp().exists() and _stamp().read_text() == _wanted():
        return None
    return f"{NAME} is not installed: python -m bench.peers.thingsboard"


def install(say: Callable[[str], None]) -> None:
    """Into an environment of its own, exactly what the lock says.

    Raises:
        BenchError: it cannot be had here.
    """
    if available() is None:
        return
    say(f"installing {NAME}")
    shutil.rmtree(HOME, ignore_errors=True)
    uv = BIN / "uv"
    for command in (
        [uv, "venv", "-q", "--python", sys.executable, HOME],
        [uv, "pip", "sync", "-q", "--python", HOME / "bin/python", "--require-hashes", LOCK],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"{NAME} cannot be installed: {done.stderr[-1000:]}")
    _stamp().write_text(_wanted())


def _stamp() -> Path:
    return HOME / "stamp"


def _wanted() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


class Connector(msgspec.Struct, frozen=True):
    """One of its connectors. `ready` is what its log says once it is at work."""

    kind: str
    config: Mapping[str, Any]
    ready: str


def mqtt(port: int, topic: str, points: Mapping[str, str]) -> Connector:
    """What devices publish as JSON at QoS 1. `topic` has a + for the device's name; points with their types."""
    before, after = (part.replace("/", r"\/") for part in topic.split("+"))
    mapping = {
        "topicFilter": topic,
        "subscriptionQos": 1,
        "converter": {
            "type": "json",
            "deviceInfo": {
                "deviceNameExpressionSource": "topic",
                "deviceNameExpression": f"(?<={before})(.*?)(?={after})",
                "deviceProfileExpressionSource": "constant",
                "deviceProfileExpression": "default",
            },
            "sendDataOnlyOnChange": False,
            "timeout": 60000,
            "attributes": [],
            "timeseries": [{"type": kind, "key": name, "value": f"${{{name}}}"} for name, kind in points.items()],
        },
    }
    broker = _shipped("mqtt.json")["broker"] | {"host": "127.0.0.1", "port": port}
    return Connector("mqtt", {"broker": broker, "mapping": [mapping], "requestsMapping": {}}, "subscription success")


def modbus(ports: Sequence[int], units: int, registers: int, *, period_s: float = 1.0) -> Connector:
    """Holding registers 0 to `registers` of units 1 to `units` behind each port, in one request a device."""
    slaves = [
        {
            "host": "127.0.0.1",
            "port": port,
            "type": "tcp",
            "method": "socket",
            "unitId": unit,
            "deviceName": f"meter-{port}-{unit}",
            "deviceType": "default",
            "timeout": 35,
            "byteOrder": "BIG",
            "wordOrder": "BIG",
            "retries": 3,
            "pollPeriod": round(period_s * 1000),
            "connectAttemptTimeMs": 5000,
            "connectAttemptCount": 5,
            "waitAfterFailedAttemptsMs": 30000,
            "attributes": [],
            "timeseries": [
                {
                    "tag": "r${address}_${unitId}",
                    "type": "16uint",
                    "functionCode": 3,
                    "objectsCount": 1,
                    "address": f"0-{registers - 1}",
                    "maxRegistersPerRequest": registers,
                }
            ],
            "attributeUpdates": [],
            "rpc": [],
        }
        for port in ports
        for unit in range(1, units + 1)
    ]
    return Connector("modbus", {"master": {"slaves": slaves}}, "Starting Modbus Connector")


class Gateway:
    """One that runs, and the server that it sends to."""

    def __init__(self, stand: Stand, connectors: Sequence[Connector]) -> None:
        self.directory = stand.fresh("thingsboard")
        self._counts = self.directory / "counts"
        self.server = stand.start("ThingsBoard server", [program(stand, "mqtt_sink"), self._counts], side="load")
        self.server.wait_until(lambda: "port " in self.server.said(), "no port")
        _configure(self.directory, int(self.server.said().split()[1]), connectors)
        self.process = stand.start(
            "thingsboard-gateway",
            [HOME / "bin/thingsboard-gateway"],
            side="test",
            environment={"TB_GW_CONFIG_DIR": str(self.directory / "config"), "HTTPS_PROXY": NOWHERE},
            directory=self.directory,
        )
        waited = ["Gateway started.", *(c.ready for c in connectors)]
        self.process.wait_until(lambda: all(text in self._log() for text in waited), f"{waited} not said", READY_S)

    @property
    def storage(self) -> Path:
        """Its SQLite file, table `messages (id, timestamp, message)`; a message goes when the server has it."""
        return self.directory / "data/data.db"

    def usage(self) -> Usage:
        """Of the gateway alone."""
        return self.process.usage()

    def delivered(self) -> int:
        """Readings that the server has taken; more than once where the gateway sent them again."""
        return self._counted()[0]

    def settle(self, readings: int, timeout_s: float = 60) -> int:
        """Wait until the server has so many, or nothing more has come for STILL_S; how many it has."""
        have, deadline = -1, time.monotonic() + timeout_s
        still = time.monotonic() + STILL_S
        while have < readings and time.monotonic() < min(still, deadline):
            time.sleep(0.02)
            self.process.usage()  # it is still there
            if (now := self.delivered()) != have:
                have, still = now, time.monotonic() + STILL_S
        return have

    def sent_bytes(self) -> int:
        """Payload bytes of telemetry that the server has taken."""
        return self._counted()[2]

    def _counted(self) -> array[int]:
        return array("Q", self._counts.read_bytes())

    def _log(self) -> str:
        logs = [*sorted((self.directory / "logs").glob("*.log")), self.process.log]
        return "".join(log.read_text(errors="replace") for log in logs)


def start(stand: Stand, connectors: Sequence[Connector]) -> Gateway:
    """Start it and its server, and wait until all connectors are at work.

    Raises:
        Absent: it is not installed.
    """
    if (reason := available()) is not None:
        raise Absent(reason)
    return Gateway(stand, connectors)


def _shipped(name: str) -> Any:
    """One of the configuration files that come with it."""
    return json.loads((next(HOME.glob(SHIPPED)) / name).read_text(encoding="utf-8"))


def _configure(directory: Path, port: int, connectors: Sequence[Connector]) -> None:
    """Its shipped files, but for: SQLite, where the server is, and no remote configuration (nobody gives one)."""
    config = directory / "config"
    config.mkdir()
    (directory / "logs").mkdir()  # its Debian package brings one
    main = _shipped("tb_gateway.json")
    main["thingsboard"] |= {"host": "127.0.0.1", "port": port, "remoteConfiguration": False}
    main["storage"] = {"type": "sqlite", "data_file_path": "./data/"}
    main["connectors"] = []
    for connector in connectors:
        name = f"{connector.kind}.json"
        main["connectors"].append({"type": connector.kind, "name": connector.kind, "configuration": name})
        (config / name).write_text(json.dumps({"name": connector.kind, "logLevel": "INFO", **connector.config}))
    (config / "tb_gateway.json").write_text(json.dumps(main))
    (config / "logs.json").write_text(json.dumps(_shipped("logs.json")))


if __name__ == "__main__":
    install(print)
