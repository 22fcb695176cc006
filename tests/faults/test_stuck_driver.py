"""Drivers that hang and gateways that take a connection and never answer as they should: the other lines go on.

The oracle is the street's own ledger: whatever the other lines were offered is in, once, and the node still
ends when it is told to.
"""

from __future__ import annotations

import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stage import Stage
from support import stuck_node
from support.laboratory import draw
from support.node_process import wait_for
from support.verdict import verdict

STUCK = [sys.executable, Path(stuck_node.__file__)]
LINE = """
[[line]]
name = "{name}"
protocol = "modbus"
host = "127.0.0.1"
port = {port}

[[device]]
id = "{name}"
profile = "lx-1"
line = "{name}"
address = {{ unit = {unit} }}
poll_s = 0.2
"""
IN_DRIVER = ("stuck-open", "stuck-poll")  # support/stuck_node.py
IN_GATEWAY = ("silent", "half", "noise", "drips")

pytestmark = pytest.mark.timeout(300)


class StuckGateway:
    """Takes connections and reads what comes. `silent`: says nothing. `half`: begins an answer. `noise`: answers what
    is none. `drips`: a byte now and then, for ever."""

    def __init__(self, way: str, rng: random.Random) -> None:
        self._way, self._rng = way, rng
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for sock in (self._listener, *self.connections):
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while asked := connection.recv(4096):
                match self._way:
                    case "half":
                        connection.sendall(asked[: self._rng.randint(1, 8)])
                    case "noise":
                        connection.sendall(self._rng.randbytes(self._rng.randint(1, 300)))
                    case "drips":
                        while True:
                            connection.sendall(self._rng.randbytes(1))
                            time.sleep(0.05)
                    case _:
                        pass
        except OSError:
            return  # it was closed


@pytest.fixture
def gateways(stage: Stage, seed: int) -> Iterator[dict[str, StuckGateway]]:
    """One in each way, and a line of the node for each, beside those whose driver hangs."""
    found = {way: StuckGateway(way, random.Random(seed)) for way in IN_GATEWAY}
    lines = [LINE.format(name=way, port=gateway.port, unit=1) for way, gateway in found.items()]
    lines += [LINE.format(name=name, port=found["silent"].port, unit=i) for i, name in enumerate(IN_DRIVER, 2)]
    random.Random(seed).shuffle(lines)
    text = stage.node_config.read_text()
    stage.node_config = stage.directory / "stuck.toml"
    stage.node_config.write_text(text + "".join(lines))
    yield found
    for gateway in found.values():
        gateway.close()


@pytest.mark.parametrize("seed", draw("a stuck driver"))
def test_a_stuck_line_holds_up_no_other(stage: Stage, gateways: dict[str, StuckGateway], seed: int) -> None:
    stage.start_node(command=STUCK)
    time.sleep(random.Random(seed).uniform(2, 4))
    assert verdict(stage).lost == []
    assert all(gateway.connections for gateway in gateways.values()), "each was asked"
    wait_for(
        lambda: {*IN_DRIVER, *IN_GATEWAY} <= set(stage.health()["devices_silent"]), "a person sees which are stuck"
    )
    assert stage.health()["counters"]["line_restarts"] == 0
