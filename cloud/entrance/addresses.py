"""Addresses: who a client is counted as, when it has shown no valid token.

An IPv4 address stands for itself, an IPv6 address for its /64, which is what one subscriber gets (RFC 6177). What a
proxy says of the one behind it (`X-Forwarded-For`, the last address that no proxy of ours has) is believed from the
proxies that the command line names, and from nobody else: anybody can write that header. Pure.

Bound: MAX_HOPS addresses of the header are looked at, from its end.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_HOPS: Final = 8
IPV6_PREFIX: Final = 64
UNKNOWN: Final = "unknown"


def key_of(address: str) -> str:
    """What an address is counted under; UNKNOWN for what is none."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return UNKNOWN
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))


class Proxies:
    """The proxies that are believed."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self._networks = tuple(networks)

    def has(self, address: str) -> bool:
        """Say whether the other end of a connection is one of them."""
        if not self._networks:
            return False
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._networks)

    def client(self, peer: str, forwarded: str) -> str:
        """The key of who asks: `peer` is the other end of the connection, `forwarded` the header's whole value."""
        if not self.has(peer):
            return key_of(peer)
        for hop in reversed(forwarded.rsplit(",", MAX_HOPS)[-MAX_HOPS:]):
            address = hop.strip()
            if address and not self.has(address):
                return key_of(address)
        return key_of(peer)


def networks_of(texts: Sequence[str]) -> list[Network]:
    """Addresses and networks as the command line has them.

    Raises:
        ValueError: one is neither.
    """
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise ValueError(f"--trusted-proxy {text!r} is no address and no network: {error}") from error
    return found
