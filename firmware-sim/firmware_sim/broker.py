"""A private MQTT broker: mosquitto on a loopback port with a configuration made for one street.

Promises: it answers when `start` returns; its store lives in the directory it is given; it ends with the
simulator; one that dies is started again on the same port, at most `MAX_DEATHS` times, then the street ends
with an error. Its queues are far larger than mosquitto's defaults but bounded: a reader that group-commits
holds many publishes open at once, and one that is away for a while must find them all.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from pathlib import Path

from firmware_sim.children import last_words, spawn, stop
from firmware_sim.errors import StreetError

MAX_INFLIGHT = 2_000
MAX_QUEUED = 200_000
AUTOSAVE_S = 5
READY_WITHIN_S = 5.0
MAX_DEATHS = 20
_TRIES = 3
_LOOK_EVERY_S = 0.02
_AGAIN_AFTER_S = 0.2
_log = logging.getLogger(__name__)


class BrokerError(StreetError):
    """The private broker did not come up, or died too often."""


class Broker:
    """One mosquitto. Port 0 means any free one; `port` then tells which."""

    def __init__(self, directory: Path, port: int) -> None:
        self._directory = directory
        self._log = directory / "mosquitto.log"
        self._wanted = port
        self.port = port
        self._child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        for _ in range(1 if self._wanted else _TRIES):
            # Somebody may take a free port between our asking and mosquitto's binding: then ask again.
            self.port = self._wanted or _free_port()
            if await self._spawn():
                return
        message = f"mosquitto does not answer on port {self.port}; it said: {last_words(self._log)}"
        raise BrokerError(message)

    async def watch(self) -> None:
        """Start it again whenever it dies."""
        for _ in range(MAX_DEATHS):
            if self._child is not None:
                code = await self._child.wait()
                _log.warning("mosquitto ended with code %d; starting it again", code)
            await asyncio.sleep(_AGAIN_AFTER_S)
            await self._spawn()
        message = f"mosquitto died {MAX_DEATHS} times"
        raise BrokerError(message)

    async def close(self) -> None:
        """End it."""
        if self._child is not None:
            await stop(self._child)

    async def _spawn(self) -> bool:
        path = self._directory / "mosquitto.conf"
        path.write_text(_configuration(self._directory, self.port), encoding="utf-8")
        child = await spawn(["mosquitto", "-c", str(path)], self._log)
        self._child = child
        if await _answers(self.port, child):
            return True
        await stop(child)
        return False


def _configuration(directory: Path, port: int) -> str:
    lines = [
        f"listener {port} 127.0.0.1",
        "allow_anonymous true",
        "persistence true",
        f"persistence_location {directory}/",
        f"autosave_interval {AUTOSAVE_S}",
        f"max_inflight_messages {MAX_INFLIGHT}",
        f"max_queued_messages {MAX_QUEUED}",
        "max_packet_size 65536",
        "set_tcp_nodelay true",
        "log_type error",
        "log_dest stderr",
    ]
    if os.geteuid() == 0:
        # mosquitto would drop to its own user, which clears the signal that binds it to our life.
        lines.append("user root")
    return "\n".join(lines) + "\n"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _answers(port: int, child: asyncio.subprocess.Process) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + READY_WITHIN_S
    while loop.time() < deadline and child.returncode is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(_LOOK_EVERY_S)
            continue
        writer.close()
        # A port that answers while mosquitto is already gone belongs to somebody else.
        await asyncio.sleep(_LOOK_EVERY_S)
        return child.returncode is None
    return False
