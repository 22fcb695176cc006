"""Fleet: what many nodes send, made before it is sent, so that making it is not measured.

Each node replays the batches of one street under its own name, with devices of its own, in the bodies that its link
would choose (`edge.sync.chaining`). `Plan`s are sent by `ingest_load.c`. Bounds: those of the C program.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sqlite3
import struct
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bench import batches
from bench.cabinet import City
from bench.stand import BIN, BenchError, Stand
from bench.street import SEED, Street
from cloud.crash import never
from cloud.sqlite.chunks import MERGE_CHUNKS
from cloud.sqlite.tokens import tokens_of
from cloud.store import opened
from cloud.times import DAY_US, SECOND_US, utc_us
from edge.outbox.sealing import seal
from edge.sync.chaining import Chains
from wire import codec
from wire.batch import ORIGIN, Ack, Batch, Lane, advance
from wire.codec import ACCEPTS
from wire.device import Roster
from wire.sample import Sample

LOADS: Final = Path(__file__).parent
STREETS: Final = 2  # that differ; the nodes of a fleet take turns at them
MEDIA: Final = "application/vnd.lamplighter."
COMPACT_S: Final = 90.0
CHAINED: Final = "chained+cbor"


class Request(msgspec.Struct, frozen=True):
    """Bytes that are sent as they are. Only answers to `timed` ones count."""

    content: bytes
    timed: bool = True


class Connection(msgspec.Struct, frozen=True):
    """What one connection sends: a greeting before the clock starts, then one request after the other."""

    requests: Sequence[Request]
    greeting: bytes = b""


class Sent(msgspec.Struct, frozen=True):
    """What `ingest_load` says."""

    seconds: float
    requests: int
    bytes: int
    p50_ms: float
    p99_ms: float
    most_ms: float
    busy: int
    pauses: int
    resets: int
    rows: int


def built(stand: Stand, source: str) -> Path:
    """A program of this folder, compiled.

    Raises:
        BenchError: it does not compile.
    """
    program = stand.directory / Path(source).stem
    if not program.exists():
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", LOADS / source, "-o", program]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"{source} does not compile:\n{done.stderr}")
    return program


def many_files() -> None:
    """As many open files as this machine allows, for us and what we start: a fleet has a connection a node."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def plan(path: Path, connections: Iterable[Connection]) -> Path:
    """The file that `ingest_load.c` describes."""
    with path.open("wb") as file:
        file.write(bytes(4))
        count = 0
        for one in connections:
            count += 1
            file.write(struct.pack("<I", len(one.greeting)) + one.greeting + struct.pack("<I", len(one.requests)))
            for request in one.requests:
                file.write(struct.pack("<IB", len(request.content), request.timed) + request.content)
        file.seek(0)
        file.write(struct.pack("<I", count))
    return path


def send(stand: Stand, protocol: str, url: str, sent: Path, in_flight: int, rate: float | None = None) -> Sent:
    """Send a plan, as fast as it is taken or so many requests a second.

    Raises:
        BenchError: something was not taken.
    """
    parts = urlsplit(url)
    command = [built(stand, "ingest_load.c"), protocol, parts.hostname, str(parts.port), sent, str(in_flight)]
    command += [] if rate is None else [rate]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"not everything was taken: {done.stderr}")
    return msgspec.json.decode(done.stdout, type=Sent)


class Upload(msgspec.Struct, frozen=True):
    """A body, and the rest of its media type: `batch+cbor` or what a node says instead."""

    body: bytes
    kind: str

    def request(self, city: City, node: str, token: str, what: str = "batches") -> bytes:
        """With the heads that a node sends."""
        encoding = "" if self.kind == CHAINED else "Content-Encoding: zstd\r\n"
        head = (
            f"POST /v1/nodes/{node}/{what} HTTP/1.1\r\nHost: {urlsplit(city.url).netloc}\r\n"
            f"Authorization: Bearer {token}\r\nUser-Agent: lamplighter-edge\r\nContent-Type: {MEDIA}{self.kind}\r\n"
            f"{encoding}Content-Length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


class Sender:
    """One node's link: which bodies its batches go up in."""

    def __init__(self) -> None:
        self._chains = Chains()

    def upload(self, batch: Batch) -> Upload:
        """The next one; each is taken by an aggregator that speaks as ours does."""
        now_s = next((p.entry.times[0] / 1e6 for p in batch.entries if hasattr(p.entry, "times")), 0.0)
        body = self._chains.body(batch, now_s)
        self._chains.taken(batch.lane, body, now_s)
        self._chains.heard(
            Ack(generation=1, epoch=batch.epoch, lane=batch.lane, through_seq=0, digest=ORIGIN, accepts=ACCEPTS,
                server_us=0)
        )  # fmt: skip
        return Upload(body.data, CHAINED if body.chained else "batch+cbor")


class Fleet:
    """Some nodes with so many batches each."""

    def __init__(self, nodes: int, streets: Sequence[Sequence[Batch]], roster: Roster) -> None:
        """Of each street the first batch is for starting with; the others are what is measured."""
        self.names: list[str] = []
        self._first: list[list[Upload]] = []
        self._then: list[list[Upload]] = []
        self.batches = self.readings = self.first_readings = self.body_bytes = 0
        for number in range(nodes):
            street = streets[number % len(streets)]
            own = [batches.as_node(batch, number) for batch in street]
            sender = Sender()
            uploads = [sender.upload(batch) for batch in (told_roster(own[0], roster), *own)]
            self.names.append(own[0].node)
            self._first.append(uploads[:2])
            self._then.append(uploads[2:])
            self.first_readings += batches.readings(street[0])
            self.readings += sum(batches.readings(batch) for batch in street[1:])
            self.batches += len(street) - 1
            self.body_bytes += sum(len(upload.body) for upload in uploads[2:])

    def connections(self, city: City) -> tuple[list[Connection], list[Connection]]:
        """What each node sends to begin with, and then: with tokens of an empty aggregator."""
        tokens = tokens_for(city, self.names)

        def all_of(uploads: Sequence[Sequence[Upload]]) -> list[Connection]:
            return [
                Connection([Request(upload.request(city, name, tokens[name])) for upload in own])
                for name, own in zip(self.names, uploads, strict=True)
            ]

        return all_of(self._first), all_of(self._then)

    def bodies(self) -> Iterator[bytes]:
        """What is measured, in the order in which it is sent."""
        for turn in range(len(self._then[0])):
            yield from (own[turn].body for own in self._then)

    def check(self, city: City) -> None:
        """All of it is in the ledgers, and nothing else.

        Raises:
            BenchError: it is not.
        """
        expect(city, self.readings + self.first_readings)


def tokens_for(city: City, nodes: Sequence[str]) -> dict[str, str]:
    """A token for each: as the command line makes them, without starting it a thousand times."""
    with tokens_of(city.data) as tokens:
        return {name: tokens.create("node", name, "", 1) for name in nodes}


def expect(city: City, readings: int) -> None:
    """So many are in the ledgers of all nodes, and nothing is missing.

    Raises:
        BenchError: there are not, or something is.
    """
    held, missing = 0, 0
    cursor: dict[str, str] = {}
    while True:
        page = city.get("/v1/nodes", limit=1000, **cursor)
        for node in page["nodes"]:
            ledger = node["ledger"]
            held += ledger["readings"]
            missing += ledger["missing"]["samples"] + ledger["missing"]["unfinished_seqs"] + len(ledger["forks"])
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    if held != readings or missing:
        raise BenchError(f"{held} readings are held of {readings} sent, and {missing} are missing or held twice")


def store(data: Path) -> closing[sqlite3.Connection]:
    """The aggregator's store, to look into. Closed soon: while it is open its write-ahead log is not folded back."""
    return closing(sqlite3.connect(f"file:{data / 'store.db'}?mode=ro", uri=True))


def restart(stand: Stand, city: City, *options: str) -> None:
    """End an aggregator and start it again over the same store."""
    city.process.end()
    ready = city.directory / "endpoints.json"
    ready.unlink(missing_ok=True)
    command = [
        BIN / "lamplighter-cloud",
        "run",
        "--data",
        city.data,
        "--port",
        "0",
        "--endpoints",
        ready,
        "--no-fold",
        *options,
    ]
    city.process = stand.start("aggregator again", command, side="test")
    city.process.wait_until(ready.exists, "no endpoints", COMPACT_S)
    city.url = json.loads(ready.read_text())["url"].rstrip("/")


def compact(stand: Stand, city: City) -> None:
    """Let the aggregator compact all that it holds but the newest record, as it does with what is `--feed-days` old.

    Raises:
        BenchError: it does not come to an end.
    """

    def done() -> bool:
        with store(city.data) as held:
            (left,) = held.execute("SELECT count(*) FROM log").fetchone()
            (small,) = held.execute(
                "SELECT count(*) FROM (SELECT 1 FROM chunks WHERE small = 1 GROUP BY stream_no, device_no, base"
                " HAVING count(*) >= ?)",
                (MERGE_CHUNKS,),
            ).fetchone()
        return left <= 1 and not small

    restart(stand, city, "--feed-days", "0")
    city.process.wait_until(done, "compaction does not come to an end", COMPACT_S)


def chunk(stand: Stand, city: City) -> None:
    """Let two hours pass for the store: all that was taken is in chunks then, and the log is whole."""
    city.process.end()
    later_us = 2 * 3_600 * SECOND_US

    async def passed() -> None:
        async with opened(city.data) as store:
            step = store.compaction(7 * DAY_US, lambda: utc_us() + later_us, never, lambda _batches: None).step
            while await step():
                pass

    asyncio.run(passed())
    restart(stand, city)


def repeated(street: Street, seconds: float, commit_s: float, period_s: float) -> Iterator[list[Sample]]:
    """The samples of each commit of so long: those of one period again and again, later each time."""
    period = list(batches.commits(street, min(seconds, period_s), commit_s))
    for again in range(round(seconds / min(seconds, period_s))):
        later_us = round(again * period_s * 1e6)
        for samples in period:
            yield [msgspec.structs.replace(s, time_us=s.time_us + later_us) for s in samples] if again else samples


def streets(count: int = STREETS) -> list[Street]:
    """Streets that differ."""
    return [Street(seed=SEED + i) for i in range(count)]


def told_roster(batch: Batch, roster: Roster) -> Batch:
    """The roster of the batch's node, as it tells it in its urgent lane when it starts."""
    devices = tuple(msgspec.structs.replace(d, id=f"{batch.node}.{d.id}") for d in roster.devices)
    entries = [msgspec.structs.replace(roster, devices=devices)]
    digest = advance(ORIGIN, seal(entries)[0].body)
    return Batch(
        node=batch.node, epoch=batch.epoch, lane=Lane.URGENT, first_seq=1, through_seq=1, prev=ORIGIN, digest=digest,
        held_from=1, head_seq=1, entries=codec.decode_row(seal(entries)[0].body),
    )  # fmt: skip
