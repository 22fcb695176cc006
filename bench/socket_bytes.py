"""Bytes at the socket: what batches cost with TLS and HTTP around them, both ways.

A real aggregator with a certificate, our own `edge.sync.http`, and between them a relay that passes on and counts. TCP
and IP headers are not counted: how many packets carry the bytes is the network's choice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.stand import BIN, BenchError, Stand
from edge.sync.http import Cloud, CloudLink
from wire.batch import Batch

READY_S: Final = 120.0


class Crossed(msgspec.Struct, frozen=True):
    """Bytes that crossed, up and down."""

    up: int
    down: int

    @property
    def both(self) -> int:
        """Up and down together: what a SIM is billed."""
        return self.up + self.down

    def since(self, before: Crossed) -> Crossed:
        """What has crossed since then."""
        return Crossed(self.up - before.up, self.down - before.down)


class Sent(msgspec.Struct, frozen=True):
    """One batch and its answer: the body itself, and all that crossed for it."""

    body_bytes: int
    crossed: Crossed


class Relay:
    """One listening port, passed on to one target. Open it with `relay`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._up = self._down = 0
        self.open: list[asyncio.Task[None] | None] = []

    @property
    def crossed(self) -> Crossed:
        """All that has passed."""
        return Crossed(self._up, self._down)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        self.open.append(asyncio.current_task())
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        with contextlib.suppress(ConnectionError):
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pass(reader, back, up=True))
                ways.create_task(self._pass(there, writer, up=False))

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, up: bool) -> None:
        while data := await source.read(65_536):
            if up:
                self._up += len(data)
            else:
                self._down += len(data)
            sink.write(data)
            await sink.drain()
        sink.close()


@contextlib.asynccontextmanager
async def relay(port: int) -> AsyncIterator[tuple[Relay, int]]:
    """A relay to a port of this machine, and the port that it listens on."""
    passing = Relay(port)
    server = await asyncio.start_server(passing.take, "127.0.0.1", 0)
    try:
        yield passing, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*(task for task in passing.open if task is not None))  # both ends have hung up


class SecureCity:
    """A running aggregator that speaks https for `localhost`, by a certificate of its own."""

    def __init__(self, stand: Stand, node: str) -> None:
        folder = stand.fresh("secure")
        self.certificate, key, ready = folder / "cert.pem", folder / "key.pem", folder / "endpoints.json"
        made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
        names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(self.certificate)]
        _done([*made.split(), *names])
        tool, store = str(BIN / "lamplighter-cloud"), str(folder / "store")
        said = _done([tool, "token", "create", "--data", store, "--role", "node", "--node", node])
        self.token = said.strip().splitlines()[-1]
        run = [tool, "run", "--data", store, "--port", "0", "--endpoints", ready]
        process = stand.start(
            "aggregator with TLS", [*run, "--tls-cert", self.certificate, "--tls-key", key], side="load"
        )
        process.wait_until(ready.exists, "no endpoints", READY_S)
        self.port = int(json.loads(ready.read_text())["url"].rstrip("/").rpartition(":")[2])


async def send(city: SecureCity, batches: Sequence[Batch]) -> tuple[Crossed, list[Sent]]:
    """Send consecutive batches of one node over one kept-alive connection; what opening it cost (TLS handshake and the
    question for a place), and then each batch with its answer.

    Raises:
        BenchError: the aggregator did not take one.
    """
    first = batches[0]
    async with relay(city.port) as (passing, port):
        url = f"https://localhost:{port}"
        ca_file: Path = city.certificate
        async with CloudLink(Cloud(url=url, node=first.node, token=city.token, timeout_s=30, ca_file=ca_file)) as link:
            await link.place(first.epoch, first.lane)
            opening = passed = passing.crossed
            each: list[Sent] = []
            for batch in batches:
                answer = await link.send(batch)
                if answer.ack.through_seq != batch.through_seq:
                    raise BenchError(f"batch {batch.first_seq}-{batch.through_seq} was not taken: {answer.ack}")
                each.append(Sent(answer.sent_bytes, passing.crossed.since(passed)))
                passed = passing.crossed
            if len(passing.open) != 1:
                raise BenchError(f"{len(passing.open)} connections where one should have been kept")
            return opening, each


def _done(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{command[0]} failed: {done.stderr[-500:]}")
    return done.stdout
