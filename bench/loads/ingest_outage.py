"""Outage: what a fleet does once the city is back. Each node is the node's own `edge.sync.uplink.Uplink` over its own
link.

So snapshots go first, bodies shrink and grow with the answers, `pause_s` and Retry-After are obeyed, and a body that
is not answered in time is sent again. Two things are cheaper than in a node, or one core could not be a thousand of
them: HTTP is spoken on plain sockets; and all nodes have the same street behind them, cut at powers of two of rows, so
that a body is put together once and then only carries another name. Bodies are self-contained, never chained.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import msgspec
import uvloop
import zstandard

from bench import batches
from bench.loads.ingest_fleet import MEDIA
from bench.street import Street
from edge.outbox.contract import Cut, Depth, PositionQuery, SetAside
from edge.outbox.generations import Generations
from edge.outbox.joining import MAX_CUT_READINGS
from edge.outbox.sealing import seal
from edge.sync.http import AckAnswer, LinkDown
from edge.sync.uplink import Uplink
from wire import codec
from wire.batch import ORIGIN, Ack, Batch, Lane, Snapshot, advance
from wire.columns import Columns
from wire.entries import Entry, Health
from wire.sample import Sample

TIMEOUT_S: Final = 30.0  # as `[cloud] timeout_s`
PUSH_S: Final = 60.0  # as `[cloud] push_interval_s`
HEALTH_S: Final = 60
EPOCH: Final = 1
_NAME: Final = "cab-00000"  # every other name is as long

logging.getLogger("edge.sync.uplink").setLevel(
    logging.ERROR
)  # that the cloud is out of reach is counted here, not told


class Drained(msgspec.Struct, frozen=True):
    """How it went. `downs` are the answers that made a node try again, and how often they came."""

    seconds: float
    p99_ms: float
    bodies: int
    sent_bytes: int
    paused: int
    downs: Mapping[str, int]


def name_of(number: int) -> str:
    """The name of a node of the fleet."""
    return f"{_NAME[:4]}{number:05}"


class Behind:
    """What lies in each node's outbox, and its bodies as they are put together."""

    def __init__(self, seconds: float) -> None:
        street, sealing = Street(prefix=f"{_NAME}."), batches.Sealing()
        last: dict[str, Sample] = {}
        self.rows: list[batches.Row] = []
        for samples in batches.commits(street, seconds):
            self.rows += sealing.commit(samples)
            last.update((sample.device, sample) for sample in samples)
        self.places = {row.last_seq: i + 1 for i, row in enumerate(self.rows)}
        self.readings = sum(row.readings for row in self.rows)
        self.oldest_us = min(sample.time_us for sample in last.values())
        self.latest = [Columns.of([sample]) for sample in last.values()]
        self.snapshot = _plain(codec.encode_snapshot(Snapshot(node=_NAME, columns=self.latest)))
        healths = [
            Health(time_us=self.oldest_us + i * 1_000_000, verdict="degraded", reasons=("the cloud is out of reach",))
            for i in range(0, round(seconds), HEALTH_S)
        ]
        told: list[Entry] = [street.roster, *healths]
        self.urgent = self._batch(Lane.URGENT, 1, len(told), (ORIGIN, advance(ORIGIN, b"urgent")))
        (row,) = seal(told)
        self.urgent_bytes = len(row.body)
        body = codec.encode_batch(msgspec.structs.replace(self.urgent, entries=codec.decode_row(row.body)))
        self._plain = {(Lane.URGENT, 1, len(told)): _plain(body)}
        self._heads: dict[tuple[int, int], Batch] = {}

    def cut(self, at: int, limit_bytes: int) -> Cut:
        """The body after the first `at` rows: as many more as the limit allows, rounded down to a power of two."""
        size, readings, most = 0, 0, at
        for row in self.rows[at:]:
            size, readings = size + len(row.body), readings + row.readings
            if most > at and (size > limit_bytes or readings > MAX_CUT_READINGS):
                break
            most += 1
        width = 1
        while at + 2 * width <= most and at % (2 * width) == 0:
            width *= 2
        return Cut(self._head(at, at + width), width, sum(len(row.body) for row in self.rows[at : at + width]))

    def named(self, plain: bytes, node: str) -> bytes:
        """The same body, of another node."""
        return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(
            plain.replace(_NAME.encode(), node.encode())
        )

    def plain(self, batch: Batch) -> bytes:
        """The body of a batch that `cut` has given, or of `urgent`."""
        return self._plain[batch.lane, batch.first_seq, batch.through_seq]

    def _head(self, at: int, to: int) -> Batch:
        head = self._heads.get((at, to))
        if head is None:
            rows = self.rows[at:to]
            prev = self.rows[at - 1].digest if at else ORIGIN
            head = self._batch(Lane.BULK, rows[0].first_seq, rows[-1].last_seq, (prev, rows[-1].digest))
            self._heads[at, to] = head
            opened = [(row.first_seq - head.first_seq, codec.decode_row(row.body)) for row in rows]
            body = codec.encode_batch(msgspec.structs.replace(head, entries=batches.join(opened)))
            self._plain[head.lane, head.first_seq, head.through_seq] = _plain(body)
        return head

    def _batch(self, lane: Lane, first_seq: int, through_seq: int, digests: tuple[bytes, bytes]) -> Batch:
        """Without its entries."""
        return Batch(
            node=_NAME, epoch=EPOCH, lane=lane, first_seq=first_seq, through_seq=through_seq, prev=digests[0],
            digest=digests[1], held_from=1, head_seq=max(through_seq, self.rows[-1].last_seq), entries=(),
        )  # fmt: skip


class _Outbox:
    """As much of `edge.outbox.contract.Outbox` as the uplink uses."""

    def __init__(self, behind: Behind) -> None:
        self._behind, self._at, self._urgent = behind, 0, True
        self.empty = asyncio.Event()
        self.generations = Generations()

    async def cut(self, lane: Lane, limit_bytes: int) -> Cut | PositionQuery | None:
        if lane is Lane.URGENT:
            return Cut(self._behind.urgent, 1, self._behind.urgent_bytes) if self._urgent else None
        return self._behind.cut(self._at, limit_bytes) if self._at < len(self._behind.rows) else None

    async def confirm(self, ack: Ack) -> bool:
        if ack.lane is Lane.URGENT:
            self._urgent = ack.through_seq == 0
        else:
            self._at = self._behind.places[ack.through_seq] if ack.through_seq else 0
        if not self._urgent and self._at == len(self._behind.rows):
            self.empty.set()
        return False

    async def set_aside(self) -> list[SetAside]:
        return []

    async def depth(self) -> Depth:
        return Depth(pending={}, oldest_us=self._behind.oldest_us, used_bytes=0, limit_bytes=1, quarantined=0)


class _Tally:
    def __init__(self) -> None:
        self.took_ms: list[float] = []
        self.sent_bytes = self.paused = 0
        self.downs: Counter[str] = Counter()


class _Link:
    """As much of `edge.sync.http.CloudLink` as the uplink uses, on a plain socket."""

    def __init__(self, url: str, node: str, token: str, behind: Behind, tally: _Tally) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._node, self._behind, self._tally = parts.hostname, parts.port, node, behind, tally
        self._head = (
            f"/v1/nodes/{node}/{{}} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Authorization: Bearer {token}\r\nUser-Agent: lamplighter-edge\r\n"
        )
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, batch: Batch) -> AckAnswer:
        body = self._behind.named(self._behind.plain(batch), self._node)
        started = time.monotonic()
        ack = codec.decode_ack(await self._post("batches", "batch+cbor", body))
        took_s = time.monotonic() - started
        self._tally.took_ms.append(took_s * 1000)
        self._tally.sent_bytes += len(body)
        self._tally.paused += ack.pause_s > 0
        return AckAnswer(ack, took_s, len(body))

    async def place(self, epoch: int, lane: Lane) -> AckAnswer:
        raise NotImplementedError("the outbox here never asks")

    async def snapshot(self, _snapshot: Snapshot) -> None:
        await self._post("snapshot", "snapshot+cbor", self._behind.named(self._behind.snapshot, self._node))

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    async def _post(self, what: str, kind: str, body: bytes) -> bytes:
        head = f"POST {self._head.format(what)}Content-Type: {MEDIA}{kind}\r\nContent-Encoding: zstd\r\n"
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if self._open is None:
                    self._open = await asyncio.open_connection(self._host, self._port)
                reader, writer = self._open
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                status, fields = _parsed(await reader.readuntil(b"\r\n\r\n"))
                content = await reader.readexactly(int(fields.get("content-length", "0")))
        except (OSError, TimeoutError, EOFError) as error:
            self.close()
            raise self._down(type(error).__name__) from error
        if status not in (200, 204, 409):
            raise self._down(str(status), float(fields.get("retry-after", "0")))
        return content

    def _down(self, what: str, retry_s: float = 0) -> LinkDown:
        self._tally.downs[what] += 1
        return LinkDown(what, retry_s)


def drain(url: str, tokens: Mapping[str, str], behind: Behind) -> Drained:
    """Let all nodes begin at once, until each has nothing left."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_drain(url, tokens, behind))


async def _drain(url: str, tokens: Mapping[str, str], behind: Behind) -> Drained:
    tally = _Tally()
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for node, token in tokens.items():
            group.create_task(_empty(url, node, token, behind, tally))
    took_ms = sorted(tally.took_ms)
    return Drained(
        seconds=time.monotonic() - started,
        p99_ms=took_ms[len(took_ms) * 99 // 100],
        bodies=len(took_ms),
        sent_bytes=tally.sent_bytes,
        paused=tally.paused,
        downs=tally.downs,
    )


async def _empty(url: str, node: str, token: str, behind: Behind, tally: _Tally) -> None:
    outbox, link = _Outbox(behind), _Link(url, node, token, behind, tally)
    uplink = Uplink(
        outbox,  # type: ignore[arg-type]
        link,
        node=node,
        push_interval_s=PUSH_S,
        latest=lambda: behind.latest,
        put=lambda _: None,
        hear=lambda _server_us, _took_us: None,
    )
    running = asyncio.create_task(uplink.run())
    emptied = asyncio.create_task(outbox.empty.wait())
    await asyncio.wait((running, emptied), return_when="FIRST_COMPLETED")
    emptied.cancel()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running  # a fault of its own ends the run
    link.close()


def _parsed(head: bytes) -> tuple[int, Mapping[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines)
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in fields}


def _plain(body: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(body)
