"""The broker and the devices that publish through it: the same for ours, for the peer and for the limit."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
from pathlib import Path
from typing import Final

import aiomqtt
import msgspec

from bench.loads import compiled
from bench.stand import BenchError, Process, Stand

DEVICES: Final = 200
POINTS: Final = {
    "n": "integer",
    "temperature": "double",
    "humidity": "double",
    "power": "double",
    "voltage": "double",
    "energy": "double",
    "dim": "integer",
    "mode": "integer",
}
TOPIC: Final = "street/+/up"  # devices are d000, d001 ...
# As docs/mqtt-broker.md has it, but that nothing is written down (which would only slow the load's own core), and that
# as much may wait as a saturated receiver lets wait.
SETTINGS: Final = """
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_inflight_messages 0
max_queued_messages 0
"""


def program(stand: Stand, name: str) -> Path:
    """A C program of this folder, compiled once for a row."""
    made = stand.directory / name
    return made if made.exists() else compiled(name, stand.directory)


class Sent(msgspec.Struct, frozen=True):
    """What one load was: publishes, the seconds from the first to the last acknowledgement of the broker, and by how
    much the worst was behind its clock."""

    publishes: int
    took_s: float
    behind_s: float


class Load:
    """Devices that publish. It ends when the broker has acknowledged all."""

    def __init__(self, process: Process, publishes: int) -> None:
        self._process, self._publishes = process, publishes

    @property
    def running(self) -> bool:
        """Whether there is more to come."""
        return self._process.process.poll() is None

    def sent(self) -> Sent:
        """What it was, once it has ended.

        Raises:
            BenchError: it failed.
        """
        said = re.match(r"took_ms (\d+) behind_ms (\d+)", self._process.said())
        if self._process.process.wait() or not said:
            raise BenchError(f"the load failed: {self._process.said()}")
        return Sent(self._publishes, int(said[1]) / 1000, int(said[2]) / 1000)


class Broker:
    """A mosquitto of our own."""

    def __init__(self, stand: Stand, more: str = "") -> None:
        """`more` are lines of its configuration beside SETTINGS."""
        self._stand = stand
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        config = stand.fresh("broker") / "mosquitto.conf"
        config.write_text(SETTINGS.format(port=self.port) + more)
        mosquitto = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self.process = stand.start("mosquitto", [mosquitto, "-c", config], side="load")
        self.process.wait_until(self._answers, "no listener")

    def load(self, publishes: int, per_second: float = 0, *, seed: int = 1) -> Load:
        """Start devices that publish, so many a second all together, or as fast as the broker takes it."""
        command = [program(self._stand, "mqtt_load"), self.port, DEVICES, publishes, round(per_second), seed]
        return Load(self._stand.start("devices", [str(word) for word in command], side="load"), publishes)

    def publish(self, topic: str, payload: str) -> None:
        """One publish at QoS 1; returns when the broker has it."""

        async def publish() -> None:
            async with aiomqtt.Client("127.0.0.1", self.port) as client:
                await client.publish(topic, payload, qos=1)

        asyncio.run(publish())

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True
