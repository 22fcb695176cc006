"""Greeting: what the first bytes from the other end say where they are no CONNACK of MQTT 5. Pure.

A broker of MQTT 3.1.1 answers in its own form, which is one byte shorter and has codes of its own (MQTT 3.1.1, section
3.2.2); what is no broker answers in its own protocol. Neither means anything to a client of MQTT 5, which would wait.
"""

from __future__ import annotations

from typing import Final

from drivers.errors import DriverError, Misconfigured, Unreachable
from drivers.mqtt.settings import Line
from drivers.mqtt.stream import GREETING_BYTES

CONNACK: Final = 0x20
OLD_SIZE: Final = 2  # of what follows in a CONNACK of MQTT 3.1.1; one of MQTT 5 has at least three bytes there
_TLS: Final = (b"\x15\x03", b"\x16\x03")  # an alert and a handshake record (RFC 8446, 5.1)
_REFUSED: Final = {  # MQTT 3.1.1, table 3.1
    2: "client_id not accepted (code 2): choose another client_id",
    4: "bad user name or password (code 4): check username and password_file",
    5: "not authorised (code 5): check username and password_file, and what the broker allows",
}


def old_version(line: Line) -> Misconfigured:
    """What is said of a broker that knows no MQTT 5."""
    return Misconfigured(f"broker {line.host} does not speak MQTT 5, which the node needs; see docs/mqtt-broker.md")


def unlike(data: bytes, line: Line) -> DriverError | None:
    """Why an answer to CONNECT that begins like this is none; None where it is one, or where more of it is needed."""
    port = line.port or (8883 if line.secure else 1883)
    if data[0] != CONNACK:
        what = _spoken(data)
        text = f"what answers at {line.host}, port {port}, is not MQTT{what}; see host, port and tls"
        return Unreachable(text)
    if len(data) < GREETING_BYTES or data[1] != OLD_SIZE:
        return None
    code = data[3]
    if code in (0, 1):
        return old_version(line)
    if code in _REFUSED:
        return Misconfigured(f"broker {line.host} refused: {_REFUSED[code]}")
    why = "it is not available now" if code == 3 else "for a reason that MQTT 3.1.1 does not know"
    return Unreachable(f"broker {line.host}, port {port}, refused: {why} (code {code})")


def _spoken(data: bytes) -> str:
    if data.startswith(_TLS):
        return " without TLS: set tls = true, or ca"
    head = data[:40].split(b"\n")[0].strip()
    if head.startswith(b"HTTP/") or head.lower().startswith((b"<!doctype", b"<html")):
        return " but HTTP"
    text = head.decode("ascii", errors="replace")
    return f': it says "{text}"' if len(text) > 1 and text.isprintable() and text.isascii() else ""
