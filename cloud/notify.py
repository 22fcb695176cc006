"""What systemd is told (sd_notify): that the aggregator is ready, stopping, and alive. Nothing without NOTIFY_SOCKET.

The watchdog is fed from the event loop, so that a loop that hangs is seen.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping


class Notify:
    """The socket that systemd has given, if any."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        microseconds = environ.get("WATCHDOG_USEC", "0")
        self._watchdog_s = int(microseconds) / 1_000_000 if microseconds.isdecimal() else 0.0

    def tell(self, state: str) -> None:
        """Send one state, e.g. READY=1."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect(self._address)
            channel.sendall(state.encode())

    async def watchdog(self) -> None:
        """Say that we live, twice as often as asked, until cancelled."""
        while self._watchdog_s:
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)
