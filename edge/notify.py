"""Tell systemd how it goes (sd_notify(3)): one datagram to the socket that it names; nothing where it names none.

Nothing waits for the socket, and what cannot be sent is lost: logged once until something arrives again.
"""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger(__name__)

_lost: set[str] = set()  # the addresses at which the last word was lost


def notify(state: str) -> None:
    """Send e.g. `READY=1` or `WATCHDOG=1`."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
            sock.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
    except OSError as error:  # the node goes on: whoever listens there sees by itself that nothing comes
        if address not in _lost:
            log.warning("%s could not be told to %s: %s", state, address, error)
        _lost.add(address)
    else:
        _lost.discard(address)


def watchdog_s() -> float | None:
    """How often systemd wants to hear, halved; None when it does not."""
    us = os.environ.get("WATCHDOG_USEC", "")
    return int(us) / 2e6 if us.isdecimal() and int(us) > 0 else None
