"""Found here: what of this machine a line can be: serial ports and Bluetooth adapters, and what it says of itself.

Bounds: MAX_PORTS of each. Nothing is opened.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Final, NamedTuple

MAX_PORTS: Final = 32
_NODE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_OF_AN_IMAGE: Final = frozenset({"localhost", "raspberrypi", "debian"})  # what a card is called before it has a name


class SerialPort(NamedTuple):
    """A port by the name that stays the same, and what it is in words."""

    path: str
    about: str


def serial_ports(root: Path = Path("/")) -> list[SerialPort]:
    """Those with a name of their own first (/dev/serial/by-id), which they keep wherever they are plugged in."""
    named: dict[Path, Path] = {}
    for link in sorted((root / "dev/serial/by-id").glob("*"))[:MAX_PORTS]:
        named.setdefault(link.resolve(), link)
    found = [SerialPort(str(link), device.name) for device, link in named.items()]
    return [*found, *(p for p in _others(root) if Path(p.path).resolve() not in named)][:MAX_PORTS]


def _others(root: Path) -> list[SerialPort]:
    if root != Path("/"):
        return [
            SerialPort(str(p), "")
            for kind in ("ttyUSB*", "ttyACM*", "ttyAMA*")
            for p in sorted((root / "dev").glob(kind))
        ]
    from serial.tools.list_ports import comports  # pyserial, which pymodbus brings: it leaves out ports that are none

    return [SerialPort(p.device, "" if p.description in ("n/a", p.name) else p.description) for p in sorted(comports())]


def adapters(root: Path = Path("/")) -> list[str]:
    """The Bluetooth adapters, such as hci0."""
    return sorted(p.name for p in (root / "sys/class/bluetooth").glob("hci*") if ":" not in p.name)[:MAX_PORTS]


def host_id() -> str | None:
    """The machine's name, where it can be a node's id and was given to it by somebody."""
    name = socket.gethostname().partition(".")[0]
    return name if _NODE_ID.fullmatch(name) and name.lower() not in _OF_AN_IMAGE else None


def time_zone(root: Path = Path("/")) -> str | None:
    """The IANA name of the machine's time zone, as Debian writes it down; None where it does not."""
    try:
        name = (root / "etc/timezone").read_text(encoding="utf-8")[:100].strip()
    except (OSError, UnicodeDecodeError):
        name = ""
    if not name:
        linked = str((root / "etc/localtime").resolve())
        name = linked.partition("/zoneinfo/")[2]
    return name or None
