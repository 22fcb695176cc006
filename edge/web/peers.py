"""Peers: who is at the other end of a Unix socket, by the word of the kernel and by nobody else's. And who of them may
act here: root, the user that the node runs as, and whoever is in the group of technicians, where one is named.

A proxy carries none of this on: what it passes on comes from the proxy's own user, who is no technician. See
unix(7), SO_PEERCRED and SO_PEERGROUPS. Bounds: MAX_GROUPS groups of a peer; MAX_BY_CHARS of a name.
"""

from __future__ import annotations

import array
import grp
import os
import pwd
import socket
import struct
from collections.abc import Callable
from typing import Final

import msgspec

MAX_GROUPS: Final = 1_024
MAX_BY_CHARS: Final = 200  # of `by` in an order (`wire.entries.Name`)
SO_PEERGROUPS: Final = 59  # <asm-generic/socket.h>, Linux 4.13; the socket module has no name for it
_UCRED: Final = struct.Struct("iII")  # pid, uid, gid


class Peer(msgspec.Struct, frozen=True):
    """Whoever opened the connection, at the moment when they did."""

    uid: int
    gid: int
    groups: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        """Their login name; `uid N` for one that has none here, as in a container."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except (KeyError, OverflowError):
            return f"uid {self.uid}"

    def author(self, said: str) -> str:
        """Who an order is from: the peer, and in whose name as they say (someone behind sudo, say)."""
        name = self.name
        return (name if said in ("", name) else f"{name} for {said}")[:MAX_BY_CHARS]


def peer_of(connection: socket.socket) -> Peer | None:
    """Who has opened a connection of a Unix socket; None for any other."""
    if connection.family != socket.AF_UNIX:
        return None
    _, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    try:
        groups = array.array("I", connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * MAX_GROUPS))
    except OSError:  # an older kernel: what the system's table says of them
        return Peer(uid, gid, frozenset(_listed(uid, gid)))
    return Peer(uid, gid, frozenset(groups))


def _listed(uid: int, gid: int) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return []


class Technicians:
    """Who may act here. The group is looked up each time: it may be made while the node runs."""

    def __init__(self, group: str = "", *, own_uid: Callable[[], int] = os.geteuid) -> None:
        self._group, self._own_uid = group, own_uid

    def why_not(self, peer: Peer | None) -> str | None:
        """Why a peer may not act, in words; None for one that may."""
        if peer is None:
            return (
                "orders are taken at the node's own socket only, where the system says who gives them: log in on the"
                " node and use lamplighter-edge"
            )
        if peer.uid in (0, self._own_uid()):
            return None
        if not self._group:
            return f"{peer.name} is no technician here: use sudo, or name a group as control.technicians in node.toml"
        try:
            gid = grp.getgrnam(self._group).gr_gid
        except KeyError:
            return f"{peer.name} is no technician here: there is no group {self._group} on this node (groupadd)"
        if gid in peer.groups or gid == peer.gid:
            return None
        return f"{peer.name} is not in the group {self._group}: usermod -aG {self._group} {peer.name}, and log in anew"
