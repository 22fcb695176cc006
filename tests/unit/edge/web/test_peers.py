from __future__ import annotations

import grp
import os
import pwd
import socket
from typing import Any

import pytest

from edge.web import peers
from edge.web.peers import Peer, Technicians, peer_of


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    here, there = socket.socketpair(socket.AF_UNIX)
    with here, there:
        peer = peer_of(here)
    assert peer is not None
    assert (peer.uid, peer.gid) == (os.geteuid(), os.getegid())
    assert set(os.getgroups()) <= peer.groups | {peer.gid}
    assert peer.name == pwd.getpwuid(os.geteuid()).pw_name


def test_on_tcp_it_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted:
            assert peer_of(accepted) is None
            assert peer_of(client) is None


def test_the_author_is_the_peer_first() -> None:
    nobody = Peer(uid=54_321, gid=1)
    assert nobody.author("") == "uid 54321"
    assert nobody.author("root") == "uid 54321 for root"
    assert Peer(uid=0, gid=0).author("root") == "root"
    assert len(nobody.author("x" * 10_000)) == 200


@pytest.mark.parametrize(
    ("peer", "group", "why"),
    [
        (Peer(uid=0, gid=0), "", None),
        (Peer(uid=7, gid=7), "", None),  # the node's own user
        (Peer(uid=8, gid=7), "", "is no technician here: use sudo, or name a group as control.technicians"),
        (Peer(uid=8, gid=8, groups=frozenset({4, 99})), "street", None),
        (Peer(uid=8, gid=99), "street", None),
        (Peer(uid=8, gid=8, groups=frozenset({4})), "street", "is not in the group street: usermod -aG street"),
        (Peer(uid=8, gid=8, groups=frozenset({99})), "streat", "there is no group streat on this node"),
        (None, "street", "at the node's own socket only"),
    ],
)
def test_who_may_act(monkeypatch: pytest.MonkeyPatch, peer: Peer | None, group: str, why: str | None) -> None:
    def getgrnam(name: str) -> Any:
        if name != "street":
            raise KeyError(name)
        return grp.struct_group(("street", "x", 99, []))

    monkeypatch.setattr(peers.grp, "getgrnam", getgrnam)
    said = Technicians(group, own_uid=lambda: 7).why_not(peer)
    assert said == why if why is None else why in (said or "")
