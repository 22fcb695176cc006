"""Ports: whether a serial port has the parity that is asked for, found out before pyserial opens it.

pyserial keeps such a port open, and locked, when the system refuses the parity (3.5: `termios.error` is no OSError, and
passes by its cleaning up): every later try would be told that another program has it.
"""

from __future__ import annotations

import os
import termios
from contextlib import suppress

from drivers.modbus.settings import Line


def check_parity(line: Line) -> None:
    """Set the parity once, where it is one, and put back what was there.

    Raises:
        OSError: the port cannot be opened, or is none. ValueError: it has no parity.
    """
    if line.parity == "N" or not line.serial.startswith("/"):
        return
    port = os.open(line.serial, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        try:
            before = termios.tcgetattr(port)
        except termios.error as error:
            raise OSError(*error.args) from error
        asked = [*before]
        odd = termios.PARODD if line.parity == "O" else 0
        asked[2] = (before[2] | termios.PARENB) & ~termios.PARODD | odd
        with suppress(termios.error):  # said only where nothing else was changed either (glibc)
            termios.tcsetattr(port, termios.TCSANOW, asked)
        has_it = bool(termios.tcgetattr(port)[2] & termios.PARENB)
        with suppress(termios.error):
            termios.tcsetattr(port, termios.TCSANOW, before)
        if not has_it:
            raise ValueError(f'it has no parity "{line.parity}"')
    finally:
        os.close(port)
