"""What goes on between two lives: who came meanwhile is not turned away."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from edge.handover import Handover


def config(listen: str) -> Any:
    return SimpleNamespace(health=SimpleNamespace(listen=listen))


def test_who_came_between_two_lives_is_served_by_the_next() -> None:
    handover = Handover(config("127.0.0.1:0"))
    listener = handover.listener()
    with socket.create_connection(listener.getsockname()[:2]) as caller:
        handover.config = config("127.0.0.1:0")  # another list of devices, the same address
        again = handover.listener()
        assert again is listener
        with again.accept()[0] as accepted:
            assert accepted.getpeername() == caller.getsockname()
    handover.close()


def test_another_address_is_another_socket() -> None:
    handover = Handover(config("127.0.0.1:0"))
    before = handover.listener()
    handover.config = config("127.0.0.2:0")
    after = handover.listener()
    assert before.fileno() == -1, "nobody would ever be answered there"
    assert after.getsockname()[0] == "127.0.0.2"
    handover.close()


def test_what_was_closed_is_opened_anew() -> None:
    handover = Handover(config("127.0.0.1:0"))
    port = handover.listener().getsockname()[1]
    handover.close()
    handover.close()
    handover.config = config(f"127.0.0.1:{port}")
    with handover.listener() as listener:
        assert listener.getsockname()[1] == port


def test_an_address_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        handover = Handover(config(f"127.0.0.1:{other.getsockname()[1]}"))
        with pytest.raises(OSError, match=r"health\.listen"):
            handover.listener()
