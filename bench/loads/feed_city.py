"""A city whose feed is read: what its nodes send, put into a store or pushed, and readers that look at the clock.

    fill DIR NODES DEVICES RECORDS ALARMS      a store of so many records, of which so many hold an alarm; nobody else
                                               has it open
    behind URL TOKEN ALARMS                    how long a reader of alarms alone takes for all of them
    dusk URL TOKENS READERS NODES DEVICES S    every lamp changes within so many seconds, before readers with filters
    drain URL TOKENS BATCHES SAMPLES           one node drains, another changes, and one reader reads all

TOKENS is a file of JSON, by the name of the node; `reader` is one that reads, `operator` one that makes areas. Each
writes one JSON object to standard output. Of a filled store most records are copies of some that were taken as any
other: the feed neither sees nor minds that their seqs return.

Bounds: events of LINE_BYTES.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from bench.stand import BenchError
from cloud.log.batch_facts import facts_of
from cloud.store import opened
from edge.outbox.sealing import seal
from wire import codec
from wire.batch import ORIGIN, Batch, Lane, advance
from wire.contents import Contents, join
from wire.device import Device, Point, Roster
from wire.entries import Alarm, Entry, Health
from wire.sample import Clock, Sample

LINE_BYTES: Final = 8 << 20
POINTS: Final = ("dim_level", "active_power", "energy", "voltage", "current", "power_factor", "temperature")
GROUP: Final = 128
AREAS: Final = 50
KINDS: Final = ("streetlight", "streetlight", "streetlight", "bin", "meter", "sensor")
SEVERITIES: Final = ("low", "medium", "high", "urgent")
SOURCE: Final = re.compile(rb'"source":"/nodes/([^"]+)"')


class Node:
    """What one node sends."""

    def __init__(self, number: int, devices: int) -> None:
        self.name, self.number = f"cab-{number:04}", number
        self.devices = [f"dev-{number:04}-{i:03}" for i in range(devices)]
        self.places = dict.fromkeys(Lane, (0, ORIGIN))

    def bulk(self, at_us: int, turn: int, samples: int = 1, head: int = 0) -> Batch:
        """Each device so many times, a second apart; `head` is what else it still holds."""
        clock = Clock(1, synced=True)
        found = [
            Sample(
                d,
                at_us + k * 1_000_000 + i,
                clock,
                {p: float((turn * 7 + i * n + k) % 100) for n, p in enumerate(POINTS)},
            )
            for k in range(samples)
            for i, d in enumerate(self.devices)
        ]
        rows = [codec.decode_row(row.body) for row in seal(found)]
        return self._batch(Lane.BULK, join([(0, rows[0])]), head)

    def urgent(self, *entries: Entry) -> Batch:
        """Entries of the urgent lane."""
        return self._batch(Lane.URGENT, Contents.of(entries), 0)

    def roster(self) -> Roster:
        """Its devices, on a grid of the city."""
        lon, lat = 5.0 + self.number % 25 * 0.004, 47.3 + self.number // 25 * 0.004
        devices = [
            Device(id=d, kind=KINDS[i % len(KINDS)], profile="p", lon=lon + i % 10 * 4e-4, lat=lat + i // 10 * 4e-4)
            for i, d in enumerate(self.devices)
        ]
        return Roster(devices=tuple(devices), profiles={"p": tuple(Point(name=p, type="float") for p in POINTS)})

    def alarm(self, turn: int, at_us: int) -> Alarm:
        """One."""
        severity = SEVERITIES[turn % 4]
        return Alarm(
            id=f"a-{turn}", device=self.devices[turn % len(self.devices)], rule="lamp-dark", severity=severity,
            state="raised", raised_us=at_us, time_us=at_us,
        )  # fmt: skip

    def _batch(self, lane: Lane, entries: Contents, head: int) -> Batch:
        row = codec.encode_row(list(entries))
        seq, prev = self.places[lane]
        through, digest = seq + entries.width, advance(prev, row)
        self.places[lane] = (through, digest)
        return Batch(
            node=self.name, epoch=7, lane=lane, first_seq=seq + 1, through_seq=through, prev=prev, digest=digest,
            held_from=1, head_seq=through + head, entries=entries,
        )  # fmt: skip


def now_us() -> int:
    """UTC."""
    return time.time_ns() // 1_000


def area_of(number: int) -> list[list[float]]:
    """One of AREAS stripes of the city's grid."""
    west, east = 5.0 + number % 25 * 0.004 - 1e-4, 5.0 + number % 25 * 0.004 + 3.9e-3
    south, north = (47.29, 47.332) if number < 25 else (47.332, 47.4)
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


async def fill(directory: Path, nodes: int, devices: int, records: int, alarms: int) -> dict[str, Any]:
    """See above."""
    fleet = [Node(number, devices) for number in range(nodes)]
    began = time.monotonic()
    async with opened(directory) as store:

        async def take(batches: Sequence[Batch]) -> None:
            for at in range(0, len(batches), GROUP):
                part = [(b, facts_of(b), codec.encode_batch(b)) for b in batches[at : at + GROUP]]
                part = [(codec.decode_batch(body), facts, body) for _, facts, body in part]
                await asyncio.gather(*(store.log.append(b, facts, body) for b, facts, body in part))

        await take([node.urgent(node.roster()) for node in fleet])
        at_us = now_us()
        await take([node.bulk(at_us + turn * 1_000_000, turn) for turn in range(3) for node in fleet])
        await take([node.urgent(Health(time_us=at_us, verdict="ok")) for node in fleet])
        first, head = nodes + 1, store.log.reach().head
        size = head - first + 1
        copies = max(0, (records - head - alarms) // size)

        def copy(connection: Any) -> None:
            for table, rest in (("log", "stream_no, received_us, body"), ("outlines", "node_no, holds")):
                if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone():
                    for turn in range(1, copies + 1):
                        connection.execute(
                            f"INSERT INTO {table} SELECT position + ?, {rest} FROM {table}"  # noqa: S608  ours
                            " WHERE position BETWEEN ? AND ?",
                            (turn * size, first, head),
                        )
            store.interned.clear()

        await store.writer.do(copy)
        store.latest.passed(head + copies * size)
        await take([fleet[i % nodes].urgent(fleet[i % nodes].alarm(i, at_us)) for i in range(alarms)])
        held = store.log.reach().head
    return {"records": held, "seconds": time.monotonic() - began}


class Reader:
    """One that reads the feed; `saw` is called with what has come and when."""

    def __init__(self, url: str, token: str, query: str, saw: Callable[[bytes, float], object]) -> None:
        self._parts, self._saw = urlsplit(url), saw
        self._request = (
            f"GET /v1/feed?{query} HTTP/1.1\r\nHost: {self._parts.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"
        ).encode()
        self.bytes = 0

    async def open(self) -> None:
        """Until it has begun."""
        self._in, self._out = await asyncio.open_connection(self._parts.hostname, self._parts.port, limit=LINE_BYTES)
        self._out.write(self._request)
        head = (await self._in.readuntil(b"\r\n\r\n")).decode("latin-1")
        if " 200 " not in head.splitlines()[0]:
            raise BenchError(f"the feed: {head.splitlines()[0]}")
        await self._in.readuntil(b"retry: 2000")

    async def run(self) -> None:
        """Until it is cancelled."""
        while piece := await self._in.read(1 << 18):
            self.bytes += len(piece)
            self._saw(piece, time.monotonic())
        raise BenchError("the feed ended")


async def behind(url: str, token: str, alarms: int) -> dict[str, Any]:
    """See above."""
    seen, done, rest = 0, asyncio.Event(), b""

    def saw(piece: bytes, _at_s: float) -> None:
        nonlocal seen, rest
        *lines, rest = (rest + piece).split(b"\n")
        seen += sum(line.startswith(b"data:") and b'"type":"city.lamplighter.alarm"' in line for line in lines)
        if seen >= alarms:
            done.set()

    began = time.monotonic()
    reader = Reader(url, token, "after=0&type=alarm", saw)
    await reader.open()
    task = asyncio.create_task(reader.run())
    await asyncio.wait([task, asyncio.create_task(done.wait())], return_when="FIRST_COMPLETED")
    task.cancel()
    return {"seconds": time.monotonic() - began, "seen": seen}


class Pusher:
    """One node's connection."""

    def __init__(self, url: str, node: Node, token: str) -> None:
        self._parts, self.node, self._token = urlsplit(url), node, token

    async def open(self) -> None:
        """Connect."""
        self._in, self._out = await asyncio.open_connection(self._parts.hostname, self._parts.port)

    async def push(self, batch: Batch) -> float:
        """Push it; when it was sent."""
        body = codec.encode_batch(batch)
        return await self.push_body(body)

    async def push_body(self, body: bytes) -> float:
        """The same of bytes."""
        head = (
            f"POST /v1/nodes/{self.node.name}/batches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._token}\r\n"
            "Content-Type: application/vnd.lamplighter.batch+cbor\r\nContent-Encoding: zstd\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        at_s = time.monotonic()
        self._out.write(head + body)
        answer = (await self._in.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        await self._in.readexactly(int(answer.partition("content-length:")[2].split("\r\n")[0]))
        if " 200 " not in answer.splitlines()[0]:
            raise BenchError(f"{self.node.name}: {answer.splitlines()[0]}")
        return at_s


async def make_area(url: str, token: str, number: int) -> None:
    """An operator draws one."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    body = json.dumps({"geometry": {"type": "Polygon", "coordinates": [area_of(number)]}}).encode()
    writer.write(
        (
            f"PUT /v1/areas/area-{number} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nIf-None-Match: *\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        ).encode()
        + body
    )
    answer = await reader.read()
    if b" 20" not in answer.splitlines()[0]:
        raise BenchError(answer.decode(errors="replace")[:600])
    writer.close()


def query_of(number: int, nodes: int) -> str:
    """The filter of one of the readers: a district, a cabinet or two, a kind in a district, alarms of a severity."""
    match number % 5:
        case 0 | 1:
            return f"area=area-{number // 5 * 2 % AREAS + number % 5}&type=reading"
        case 2:
            return f"node=cab-{number * 7 % nodes:04}&node=cab-{(number * 7 + 1) % nodes:04}"
        case 3:
            return f"kind=bin&area=area-{number * 3 % AREAS}"
        case _:
            return f"severity={SEVERITIES[number % 4]}"


async def dusk(
    url: str, tokens: dict[str, str], readers: int, nodes: int, devices: int, seconds: float
) -> dict[str, Any]:
    """See above."""
    fleet = [Node(number, devices) for number in range(nodes)]
    pushers = [Pusher(url, node, tokens[node.name]) for node in fleet]
    await asyncio.gather(*(pusher.open() for pusher in pushers))
    for pusher in pushers:
        await pusher.push(pusher.node.urgent(pusher.node.roster()))
    for number in range(AREAS):
        await make_area(url, tokens["operator"], number)
    pushed: dict[bytes, float] = {}
    waits: list[float] = []
    seen = 0

    def saw(piece: bytes, at_s: float) -> None:
        nonlocal seen
        for name in SOURCE.findall(piece):
            seen += 1
            if (sent_s := pushed.get(name)) is not None:
                waits.append(at_s - sent_s)

    them = [Reader(url, tokens["reader"], query_of(number, nodes), saw) for number in range(readers)]
    await asyncio.gather(*(reader.open() for reader in them))
    reading = [asyncio.create_task(reader.run()) for reader in them]
    await asyncio.sleep(2)
    began = time.monotonic()

    async def change(pusher: Pusher, at: float, turn: int) -> None:
        await asyncio.sleep(max(0.0, began + at - time.monotonic()))
        body = codec.encode_batch(pusher.node.bulk(now_us(), turn))
        pushed[pusher.node.name.encode()] = time.monotonic()
        await pusher.push_body(body)
        if pusher.node.number % 10 == 0:
            await pusher.push(pusher.node.urgent(pusher.node.alarm(pusher.node.number + turn, now_us())))

    await asyncio.gather(*(change(p, i * seconds / nodes, 1) for i, p in enumerate(pushers)))
    took_s, last = time.monotonic() - began, -1
    while seen != last:
        last = seen
        await asyncio.sleep(2)
    for task in reading:
        task.cancel()
    waits.sort()
    return {
        "p50_s": statistics.median(waits), "p99_s": waits[len(waits) * 99 // 100], "most_s": waits[-1],
        "events": seen, "seconds": took_s,
    }  # fmt: skip


async def drain(url: str, tokens: dict[str, str], batches: int, samples: int) -> dict[str, Any]:
    """See above. The node that drains holds a day, each batch `samples` of 82 devices; the other changes twice a
    second until the reader has had everything."""
    old, live = Node(0, 82), Node(1, 82)
    pushers = [Pusher(url, node, tokens[node.name]) for node in (old, live)]
    await asyncio.gather(*(pusher.open() for pusher in pushers))
    step_us = 86_400_000_000 // batches
    begin_us = now_us() - 86_400_000_000 - 3_600_000_000
    bodies = [codec.encode_batch(old.bulk(begin_us + i * step_us, i, samples, batches - i)) for i in range(batches)]
    pushed: dict[bytes, float] = {}
    waits: list[float] = []
    late = 0
    rest = b""
    name = re.compile(rb'"id":"(cab-0001/[^"]+)"')

    def saw(piece: bytes, at_s: float) -> None:
        nonlocal late, rest
        text = rest + piece
        cut = text.rfind(b"\n") + 1
        text, rest = text[:cut], text[cut:]
        late += text.count(b'"source":"/nodes/cab-0000"')
        if b"cab-0001" in text:
            waits.extend(at_s - pushed.pop(found) for found in name.findall(text) if found in pushed)

    reader = Reader(url, tokens["reader"], "", saw)
    await reader.open()
    reading = asyncio.create_task(reader.run())
    began = time.monotonic()
    drained_s = 0.0

    async def go() -> None:
        nonlocal drained_s
        for body in bodies:
            await pushers[0].push_body(body)
        drained_s = time.monotonic() - began

    draining = asyncio.create_task(go())
    turn = 0
    while late < batches * samples * 82:
        if reading.done():
            await reading
        turn += 1
        batch = live.bulk(now_us(), turn)
        body = codec.encode_batch(batch)
        pushed[f"cab-0001/7/bulk/{batch.through_seq}".encode()] = time.monotonic()
        await pushers[1].push_body(body)
        await asyncio.sleep(0.5)
    seconds = time.monotonic() - began
    await asyncio.sleep(2)
    await draining
    reading.cancel()
    if pushed:
        raise BenchError(f"{len(pushed)} changes never came")
    waits.sort()
    return {
        "p50_s": statistics.median(waits), "p99_s": waits[len(waits) * 99 // 100], "most_s": waits[-1],
        "changes": len(waits), "drained_s": drained_s, "seconds": seconds, "mb": reader.bytes / 1e6,
    }  # fmt: skip


def main() -> None:
    """See above."""
    what, *given = sys.argv[1:]
    match what:
        case "fill":
            told = asyncio.run(fill(Path(given[0]), *map(int, given[1:])))
        case "behind":
            told = asyncio.run(behind(given[0], given[1], int(given[2])))
        case "dusk":
            tokens = json.loads(Path(given[1]).read_text())
            told = asyncio.run(dusk(given[0], tokens, *map(int, given[2:5]), float(given[5])))
        case _:
            told = asyncio.run(drain(given[0], json.loads(Path(given[1]).read_text()), *map(int, given[2:])))
    sys.stdout.write(msgspec.json.encode(told).decode() + "\n")


if __name__ == "__main__":
    main()
