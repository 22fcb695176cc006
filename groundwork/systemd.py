"""systemd: notifications to it (sd_notify(3)): ready, stopping, alive. Nothing where it gives no NOTIFY_SOCKET.

Nothing waits for the socket: where nobody reads it any more, or it is gone, the message is lost, which is logged once
until one arrives again. Whoever listens there sees by itself that nothing comes. The watchdog is fed from the event
loop, so that a loop that hangs is seen.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Notify:
    """The socket of NOTIFY_SOCKET, if any."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        microseconds = environ.get("WATCHDOG_USEC", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._lost = False
        self.watchdog_s: float | None = None  # how often systemd wants to hear, halved; None when it does not
        if microseconds.isdecimal() and int(microseconds) > 0:
            self.watchdog_s = int(microseconds) / 2e6

    def tell(self, state: str) -> None:
        """Send one state, e.g. READY=1, or lose it."""
        if not self._address:
            return
        try:
            # A new one each time: after systemd was started again, another socket has the name.
            with socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            ) as channel:
                channel.sendto(state.encode(), self._address)
        except OSError as error:
            if not self._lost:
                log.warning("%s could not be sent to %r: %s; this program goes on", state, self._address, error)
            self._lost = True
        else:
            self._lost = False

    async def watchdog(self) -> None:
        """Say that we live, twice as often as asked, until cancelled."""
        while self.watchdog_s is not None:
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s)
