"""More connections than an address may have, which say nothing or never end: the node delivers all the same.

The oracle is the street's own ledger. The node's own port is held open too.
"""

from __future__ import annotations

import random
import socket
import time
from contextlib import ExitStack

import pytest

from cloud.entrance.door import STRANGERS
from stage import Stage
from support.laboratory import draw
from support.verdict import verdict

IDLE = STRANGERS // 4 + 300  # an address may have a quarter of them
AT_THE_NODE = 64
SAID = (  # each of these is kept, until its time is up or another one needs the room
    b"",
    b"\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ",
    b"POST /v1/nodes/cab-faults/batches HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
)

pytestmark = pytest.mark.timeout(300)


def address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").split("/")[0].rpartition(":")
    return host, int(port)


def is_closed(raw: socket.socket) -> bool:
    """Whether the other end has closed it, said or not why."""
    try:
        while raw.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@pytest.mark.parametrize("seed", draw("connections that say nothing"))
def test_idle_connections_take_no_place_of_a_node(stage: Stage, seed: int) -> None:
    rng = random.Random(seed)
    first = stage.start_node() if rng.random() < 0.5 else None  # else it comes once they are there
    with ExitStack() as idle:

        def hold(where: tuple[str, int], many: int) -> list[socket.socket]:
            raws = [idle.enter_context(socket.create_connection(where, timeout=20)) for _ in range(many)]
            for raw in raws:
                raw.sendall(rng.choice(SAID))
                raw.setblocking(False)
            return raws

        raws = hold(address(stage.cloud_url), IDLE)
        if first is None:
            stage.start_node()
        hold(address(stage.health_url), AT_THE_NODE)
        time.sleep(rng.uniform(1.5, 3))
        closed = sum(is_closed(raw) for raw in raws)
        assert verdict(stage).lost == []
        assert IDLE - closed <= STRANGERS // 4, "so many were kept, and no more"
