"""Hosts: which names a request may call this node by (its Host header, RFC 9110 section 7.2). Pure.

A page of another site may resolve its own name to the cabinet's address, and a browser beside the cabinet would let it
read whatever the node answers (DNS rebinding). It cannot choose what it is called by, though. So a request is answered
when it names this machine by what no other can be called (a loopback name or address), by the very address that it
came to, or by a name of the configuration. Case, port and a trailing dot make no difference.

Bounds: MAX_NAMES names; MAX_TOLD_CHARS of them are told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

MAX_NAMES: Final = 32
MAX_TOLD_CHARS: Final = 500
LOOPBACK: Final = frozenset({"localhost", "ip6-localhost", "ip6-loopback"})
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/@\s]+))(?::(\d{0,5}))?")


class Hosts:
    """What a node is called."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """`names` are names and addresses, without a port."""
        self._names = frozenset(map(_plain, names))

    def why_not(self, host: str | None, came_to: str | None) -> str | None:
        """Why a request with this Host header, on a connection to this address of ours, is not answered, in words; None
        where it is."""
        found = None if host is None else _HOST.fullmatch(host.strip())
        if found is not None:
            name = _plain(found[1] or found[2])
            if name in LOOPBACK or name in self._names:
                return None
            address = _address(name)
            if address is not None and (address.is_loopback or name == _plain(came_to or "")):
                return None
        called = "is named by no Host header" if host is None else f"is not called {host.strip()[:100]!r}"
        names = ", ".join(["localhost", *sorted(self._names), *([_plain(came_to)] if came_to else [])])
        return (
            f"this node {called}; it answers to {names[:MAX_TOLD_CHARS]}: use one of these, or write the name into"
            " health.names of node.toml"
        )


def foreign(host: str | None, origins: Sequence[bytes]) -> str | None:
    """Why a request with these Origin headers was sent by a page of another site, in words; None where it was not:
    browsers say whose page sends a form or a script's request (RFC 6454 section 7), and nothing else does."""
    if not origins:
        return None
    given = origins[0].decode("latin-1")
    scheme, _, rest = given.partition("://")
    if len(origins) == 1 and scheme in ("http", "https") and host is not None and rest.lower() == host.strip().lower():
        return None
    return f"this was sent by a page of {given[:100]!r}, not of this node"


def _plain(name: str) -> str:
    """As names are compared: an address in its one form, else small letters without the dot at the end."""
    name = name.strip().strip("[]").lower()
    address = _address(name)
    return str(address) if address is not None else name.removesuffix(".")


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(name)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
