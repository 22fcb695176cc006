"""Feed: how long it takes from a node's push to a reader in the control room.

Watched nodes push what their street says every two seconds, as nodes do while somebody looks; readers follow the whole
feed. Both are one C process on core 1 (`feed_load.c`), so one clock tells the time from the first byte of a push to the
last event of it at each reader. Every reader must have every batch, once; the aggregator has core 0.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bench import batches
from bench.cabinet import City
from bench.figure import Figure, median
from bench.loads import ingest_fleet as fleet
from bench.loads.ingest_fleet import Connection, Request, Sender
from bench.stand import BenchError, Stand
from bench.street import Street
from wire.batch import Batch

WHAT = "from a node's push to a reader of the feed"

PUSH_S: Final = 2.0  # what a watched node does


class Audience(msgspec.Struct, frozen=True):
    """How many read, and how many nodes are watched."""

    readers: int
    nodes: int


AUDIENCES: Final = (Audience(1, 20), Audience(1_000, 4))
FULL_S, QUICK_S = 20.0, 2.0


class Told(msgspec.Struct, frozen=True):
    """What `feed_load` says."""

    p50_ms: float
    p99_ms: float
    most_ms: float
    answer_p50_ms: float
    answer_p99_ms: float
    seen: int
    bytes: int
    seconds: float


def run(stand: Stand) -> Iterator[Figure]:
    """p50 and p99 for each audience."""
    fleet.many_files()
    turns = round((QUICK_S if stand.quick else FULL_S) / PUSH_S)
    street = Street()
    street_batches = list(islice(chain.from_iterable(batches.pushes(street, PUSH_S, 1e9, commit_s=PUSH_S)), turns + 1))
    for audience in AUDIENCES:
        stand.say(f"{audience.readers:,} at a time")
        runs = [_run(stand, audience, street_batches, street) for _ in stand.times()]
        told, spread = median(runs)
        rate = audience.nodes / PUSH_S
        readings = sum(map(batches.readings, street_batches[1:])) / turns
        note = (
            f"{audience.nodes} watched nodes, {rate:.0f} batches/s of {readings:.0f} readings; the aggregator needs"
            f" {told['core']:.0%} of its core, {told['memory_mb']:.0f} MB; a push is answered within"
            f" {told['answer_p99_ms']:.0f} ms (p99)"
        )
        for part in ("p50", "p99"):
            yield Figure(
                name=f"feed/{audience.readers:,} {'reader' if audience.readers == 1 else 'readers'}, {part}",
                unit="ms",
                less=True,
                ours=told[f"{part}_ms"],
                spread=spread[f"{part}_ms"],
                note=note if part == "p50" else "",
            )


def _run(stand: Stand, audience: Audience, street: Sequence[Batch], origin: Street) -> dict[str, float]:
    city = City(stand, side="test")
    own = [[batches.as_node(batch, number) for batch in street] for number in range(audience.nodes)]
    tokens = fleet.tokens_for(city, [node[0].node for node in own])
    first: list[Connection] = []
    then: list[tuple[int, str, bytes]] = []
    sends = [Sender() for _ in own]
    for node, sender in zip(own, sends, strict=True):
        name = node[0].node
        begin = [sender.upload(batch) for batch in (fleet.told_roster(node[0], origin.roster), node[0])]
        first.append(Connection([Request(upload.request(city, name, tokens[name])) for upload in begin]))
    for turn in range(1, len(street)):
        for lane, (node, sender) in enumerate(zip(own, sends, strict=True)):
            batch = node[turn]
            request = sender.upload(batch).request(city, batch.node, tokens[batch.node])
            then.append((lane, _last_event(batch), request))
    fleet.send(stand, "http", city.url, fleet.plan(stand.directory / "first", first), len(own))
    plan = _plan(stand.directory / "feed", then)
    parts = urlsplit(city.url)
    command = [fleet.built(stand, "feed_load.c"), parts.hostname, parts.port, plan, audience.readers]
    command += [audience.nodes / PUSH_S, city.token("reader")]
    before = city.process.usage()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    used = city.process.usage().since(before)
    if done.returncode:
        raise BenchError(f"not everything came to every reader: {done.stderr}")
    told = msgspec.json.decode(done.stdout, type=Told)
    fleet.expect(city, audience.nodes * sum(map(batches.readings, street)))
    return msgspec.structs.asdict(told) | {"core": used.cpu_s / told.seconds, "memory_mb": used.memory_bytes / 1e6}


def _last_event(batch: Batch) -> str:
    """The CloudEvents id of what comes last of it: events come in the order of the entries."""
    last = list(batch.entries)[-1]
    return f"{batch.node}/{batch.epoch}/{batch.lane.value}/{batch.first_seq + last.places[-1]}"


def _plan(path: Path, requests: Sequence[tuple[int, str, bytes]]) -> Path:
    """The file that `feed_load.c` describes."""
    with path.open("wb") as file:
        file.write(struct.pack("<I", len(requests)))
        for lane, mark, content in requests:
            file.write(struct.pack("<II", lane, len(mark)) + mark.encode() + struct.pack("<I", len(content)) + content)
    return path
