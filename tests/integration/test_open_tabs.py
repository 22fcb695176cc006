"""A hundred open tabs do not matter: each device is polled as often as without them, the node's memory does not grow
with what they ask, and what is beyond the bound is told so."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import re
import ssl
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.node_process import NodeProcess, wait_for

DEVICES = 200
POLL_S = 2.0  # a poll counts as missed when it is later than this: a busy machine alone does not make it so
TABS = 100
TURNS = 3
EVERY_S = 1.0
MAX_GROWTH_BYTES = 8 << 20
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # one for all: each takes its time to be made
PATHS = ("/", "/devices/c-001", "/devices/c-002", "/summary", "/health")


def street() -> str:
    device = '[[device]]\nid = "c-{i:03}"\nprofile = "counter"\nline = "table"\naddress = {{}}\npoll_s = {poll_s}\n'
    return '[[line]]\nname = "table"\nprotocol = "fake"\n' + "".join(
        device.format(i=i, poll_s=POLL_S) for i in range(DEVICES)
    )


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    process = NodeProcess(Path(tmp_path_factory.mktemp("tabs")), street())
    wait_for(lambda: process.health()["counters"]["polls"] >= DEVICES, "each was polled")
    yield process
    process.actor.kill()


def memory_bytes(node: NodeProcess) -> float:
    text = httpx.get(node.ready().replace("/health", "/metrics"), timeout=20).text
    found = re.search(r"^lamplighter_node_memory_bytes (\S+)$", text, flags=re.MULTILINE)
    assert found is not None
    return float(found[1])


async def tab(url: str, source: str, turns: int, seen: Counter[int]) -> None:
    """A page that brings itself up to date, five times as often as its script does. What meets the end of a kept
    connection is asked once more on a new one, as browsers do."""
    transport = httpx.AsyncHTTPTransport(local_address=source, verify=NO_TLS)
    async with httpx.AsyncClient(transport=transport, base_url=url, timeout=120) as client:
        for path in itertools.islice(itertools.cycle(PATHS), turns):
            await asyncio.sleep(random.random() * 2 * EVERY_S)
            for again in (True, False):
                try:
                    answer = await client.get(path, headers={"Accept": "text/html, application/json"})
                except httpx.TransportError:
                    if again:
                        continue
                    seen[0] += 1
                else:
                    seen[answer.status_code] += 1
                    assert answer.status_code != 503 or "Retry-After" in answer.headers
                break


async def held(port: int, source: str, stop: asyncio.Event) -> None:
    """A connection on which a request never ends, opened again as soon as it is closed."""
    while not stop.is_set():
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
            writer.write(b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                         b"Content-Length: 9\r\n\r\n{")  # fmt: skip
            closed, stopped = asyncio.ensure_future(reader.read()), asyncio.ensure_future(stop.wait())
            await asyncio.wait([closed, stopped], return_when=asyncio.FIRST_COMPLETED)
            closed.cancel()
            stopped.cancel()
            await asyncio.gather(closed, stopped, return_exceptions=True)
            writer.transport.abort()
        await asyncio.sleep(0.05)


async def looked_at(url: str, turns: int) -> Counter[int]:
    """By so many, from as many addresses as a full cabinet's network has; what they were answered."""
    seen: Counter[int] = Counter()
    await asyncio.gather(*(tab(url, f"127.0.1.{n % 20 + 1}", turns, seen) for n in range(TABS)))
    return seen


def test_a_hundred_tabs_leave_polling_and_memory_as_they_are(node: NodeProcess) -> None:
    url = node.ready().removesuffix("/health")
    asyncio.run(looked_at(url, 1))  # what is loaded at the first look
    before, memory = node.health()["counters"], memory_bytes(node)
    seen = asyncio.run(looked_at(url, TURNS))
    after, grown = node.health()["counters"], memory_bytes(node) - memory
    assert sum(seen.values()) == TABS * TURNS
    assert seen[200] > 9 * seen[503], seen
    assert set(seen) <= {200, 503, 0}, seen
    assert after["polls"] > before["polls"], "it went on"
    assert after["polls_missed"] == before["polls_missed"]
    assert grown < MAX_GROWTH_BYTES


def test_requests_that_never_end_take_no_poll_and_no_place_of_health(node: NodeProcess) -> None:
    port = int(node.ready().removesuffix("/health").rpartition(":")[2])
    before = node.health()["counters"]

    async def hold() -> list[int]:
        stop = asyncio.Event()
        holders = [asyncio.create_task(held(port, f"127.0.2.{n % 4 + 1}", stop)) for n in range(TABS)]
        transport = httpx.AsyncHTTPTransport(local_address="127.0.3.1", verify=NO_TLS)
        found: list[int] = []
        async with httpx.AsyncClient(transport=transport, timeout=30) as client:
            for path in ["/health", "/"] * 10:
                with contextlib.suppress(httpx.TransportError):
                    found.append((await client.get(f"http://127.0.0.1:{port}{path}")).status_code)
                await asyncio.sleep(0.05)
        stop.set()
        await asyncio.gather(*holders)
        return found

    found = asyncio.run(hold())
    assert 200 in found
    assert set(found) <= {200, 503}
    after = node.health()["counters"]
    assert after["polls"] > before["polls"]
    assert after["polls_missed"] == before["polls_missed"]
