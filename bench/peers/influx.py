"""InfluxDB 1.6, from Debian: a measurement a profile, a tag for the device, a field a point, one line a sample.

Its own defaults, so its write-ahead log is synced before each answer (`wal-fsync-delay` 0); only its own monitoring and
its log of requests are off, in its favour. Bodies are plain: with gzip it needs as much CPU, or more.
"""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import httpx

from bench.stand import Absent, Process, Stand
from wire.sample import Sample, Value

NAME: Final = "InfluxDB 1.6"
READY_S: Final = 60.0
COMPACT_CHECK_S: Final = 5.0  # it looks every second whether there is something to compact

_CONFIG: Final = """
reporting-enabled = false
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{directory}/meta"
[data]
  dir = "{directory}/data"
  wal-dir = "{directory}/wal"
  cache-snapshot-write-cold-duration = "{cold}"
  compact-full-write-cold-duration = "{full}"
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{http}"
  log-enabled = false
"""


class Influx:
    """A private server with an empty database."""

    def __init__(self, stand: Stand) -> None:
        """Start it.

        Raises:
            Absent: it is not installed.
        """
        if shutil.which("influxd") is None:
            raise Absent("InfluxDB is not installed: apt-get install influxdb")
        self._stand = stand
        self.directory = stand.fresh("influx")
        self._http = httpx.Client(timeout=120)
        self.process = self._start(cold="10m", full="4h")
        self._http.post(f"{self.url}/query", params={"q": "CREATE DATABASE bench"}).raise_for_status()

    def readings(self) -> int:
        """How many it holds."""
        answer = self._http.get(f"{self.url}/query", params={"db": "bench", "q": "SELECT count(*) FROM /.*/"})
        found = answer.raise_for_status().json()["results"][0].get("series", ())
        return sum(count or 0 for series in found for count in series["values"][0][1:])

    def rest(self) -> int:
        """Let it write down and compact what it holds, sooner than by itself; bytes of its data then."""
        self.process.end()
        self.process = self._start(cold="1s", full="1s")
        data = self.directory / "data"
        seen = None
        while seen != (now := _files(data)):
            seen = now
            time.sleep(COMPACT_CHECK_S)
        return sum(size for _, size in now)

    def _start(self, cold: str, full: str) -> Process:
        http, rpc = _free_port(), _free_port()
        config = self.directory / "influxdb.conf"
        config.write_text(_CONFIG.format(directory=self.directory, http=http, rpc=rpc, cold=cold, full=full))
        self.url = f"http://127.0.0.1:{http}"
        process = self._stand.start("influxd", ["influxd", "-config", config], side="test")
        process.wait_until(self._answers, "no answer", READY_S)
        return process

    def _answers(self) -> bool:
        try:
            return self._http.get(f"{self.url}/ping").is_success
        except httpx.HTTPError:
            return False


def request(samples: Iterable[Sample], profile_of: Callable[[str], str]) -> bytes:
    """What brings these samples at once."""
    lines = []
    for sample in samples:
        fields = ",".join(f"{point}={_field(value)}" for point, value in sample.values.items() if value is not None)
        lines.append(f"{profile_of(sample.device)},device={sample.device} {fields} {sample.time_us}")
    body = "\n".join(lines).encode()
    head = (
        "POST /write?db=bench&precision=u HTTP/1.1\r\nHost: influxdb\r\nConnection: keep-alive\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _field(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value}i"
        case str():
            return f'"{value}"'
        case _:
            return repr(value)


def _files(directory: Path) -> list[tuple[str, int]]:
    """With the room that each takes: some are made larger than what is in them."""
    return sorted((str(path), path.stat().st_blocks * 512) for path in directory.rglob("*") if path.is_file())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
