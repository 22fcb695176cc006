"""Announced: whether the node's page can be found by name on the cabinet's network, by avahi on this machine.

avahi is asked at its own socket, as nss-mdns does it (avahi-daemon/simple-protocol.c): one line there, one back.

Bounds: avahi has ANSWER_S, its answer MAX_BYTES; MAX_FILE_BYTES of the service file are read.
"""

from __future__ import annotations

import re
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal

from edge.config import Config

AVAHI: Final = Path("run/avahi-daemon/socket")
SERVICE: Final = Path("etc/avahi/services/lamplighter.service")
ANSWER_S: Final = 4.0
MAX_BYTES: Final = 1_024
MAX_FILE_BYTES: Final = 65_536
_ANSWER: Final = re.compile(r"\+ \S+ \S+ \S+ (\S+)\s*")

Said = tuple[Literal["ok", "!!", "? "], str, tuple[object, ...]]


def announced(config: Config, root: Path = Path("/")) -> Said | None:
    """What is to be said of it, as `edge.verbs.doctor.Diagnosis`; None where there is no avahi. `root` stands in for
    the machine in tests."""
    avahi, service = root / AVAHI, root / SERVICE
    if not avahi.exists() and not service.exists():
        return None
    host, _, port = config.health.listen.rpartition(":")
    name = f"{socket.gethostname().partition('.')[0]}.local"
    if not service.exists():
        return "? ", "mdns not", ()
    if not avahi.exists():
        return "!!", "mdns down", ()
    with service.open("rb") as file:
        ports = set(re.findall(rb"<port>(\d+)</port>", file.read(MAX_FILE_BYTES)))
    if ports != {port.encode()}:
        return "!!", "mdns port", (port,)
    if host.strip("[]") in ("localhost", "::1") or host.startswith("127."):
        return "!!", "mdns here", (config.health.listen,)
    if name.lower() not in {n.lower() for n in config.health.names}:
        return "!!", "mdns name", (name,)
    try:
        answer = _ask(avahi, name)
    except OSError as error:
        return "!!", "mdns silent", (name, error.strerror or str(error))
    found = _ANSWER.fullmatch(answer)
    if found is None:
        return "!!", "mdns silent", (name, answer.strip()[:100])
    if not _ours(found[1]):
        return "!!", "mdns taken", (name, found[1])
    return "ok", "mdns ok", (f"http://{name}:{port}/", found[1])


def _ask(avahi: Path, name: str) -> str:
    """Raises OSError."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(ANSWER_S)
        line.connect(str(avahi))
        line.sendall(f"RESOLVE-HOSTNAME {name}\n".encode("ascii", "replace"))
        answer = b""
        while not answer.endswith(b"\n") and len(answer) < MAX_BYTES:
            piece = line.recv(MAX_BYTES)
            if not piece:
                break
            answer += piece
    return answer.decode("ascii", "replace")


def _ours(address: str) -> bool:
    """Whether an address is one of this machine: only those can be bound."""
    try:
        version = ip_address(address.partition("%")[0]).version
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(socket.getaddrinfo(address, 0, family, socket.SOCK_DGRAM)[0][4])
    except (ValueError, OSError):
        return False
    return True
