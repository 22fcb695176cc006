"""Ingest: what taking in a reading costs the city, durable before it is acknowledged.

The aggregator has core 0 to itself and is sent ready-made batches by `ingest_load.c` from core 1, IN_FLIGHT at a time
(one where there is one node); each node has told its roster and brought a first batch before. Beside it run InfluxDB
and PostgreSQL on the same core with the same samples in the same batches, each acknowledged when it is on the disk. The
limit is a loop in C that appends the very bodies to a file and syncs it: once for as many as are in flight for the
rate, once a batch for the p99.

At rest is what six hours of four nodes take once the aggregator's own compaction has been through all of it, indexes
and the rest of the store included, pages that are free for the next batches not.
"""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from bench import batches
from bench.cabinet import City
from bench.figure import Figure, Goal, median
from bench.loads import ingest_fleet as fleet
from bench.loads.ingest_fleet import Connection, Fleet, Request
from bench.loads.ingest_sizes import Sizes
from bench.peers import influx, postgres
from bench.stand import Absent, BenchError, Stand
from wire.batch import Batch
from wire.sample import Sample

WHAT = "readings into the store, durable before the answer, for a second of CPU"

IN_FLIGHT: Final = 32  # enough for group commit, few enough for an answer not to be mere queueing
REST_BATCHES: Final = 72  # of 5 minutes


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Batches of one size from so many nodes."""

    size: str
    nodes: int
    batches: int  # of each node
    goal: float | None = None
    beside: int = 0  # batches of each node that the peers are given; 0 for no peers
    limit: bool = False

    @property
    def name(self) -> str:
        """As the figures have it."""
        return f"ingest/{self.size}, {self.nodes:,} {'node' if self.nodes == 1 else 'nodes'}"


FULL: Final = (
    Load(size="330 readings", nodes=1, batches=1_500),
    Load(size="330 readings", nodes=100, batches=30, beside=30, limit=True),
    Load(size="330 readings", nodes=1_000, batches=4),
    Load(size="20,000 readings", nodes=1, batches=40),
    Load(size="20,000 readings", nodes=100, batches=5, beside=1, limit=True),
    Load(size="20,000 readings", nodes=1_000, batches=1),
    Load(size="5 minutes", nodes=100, batches=5, goal=5e6, limit=True),
    Load(size="20 KB", nodes=100, batches=4, goal=30e6, limit=True),
)
QUICK: Final = (
    Load(size="330 readings", nodes=20, batches=10, beside=10, limit=True),
    Load(size="5 minutes", nodes=10, batches=2, goal=5e6, limit=True),
)


def run(stand: Stand) -> Iterator[Figure]:
    """The figures of all loads, then what is held at rest."""
    fleet.many_files()
    sizes = Sizes(1 if stand.quick else fleet.STREETS)
    for load in QUICK if stand.quick else FULL:
        stand.say(f"{load.name}: making it")
        yield from _load(stand, load, sizes)
    yield _rest(stand, sizes)


# ---- one load ---------------------------------------------------------------------------------------------------


class Taken(msgspec.Struct, frozen=True):
    """What one run has measured."""

    rate: float  # readings a CPU-second
    p99_ms: float
    memory_mb: float


def _load(stand: Stand, load: Load, sizes: Sizes) -> Iterator[Figure]:
    streets = sizes.of(load.size, load.nodes, load.batches)
    sent = Fleet(load.nodes, streets, sizes.roster)
    in_flight = 1 if load.nodes == 1 else IN_FLIGHT
    runs = [_ours(stand, sent, in_flight) for _ in stand.times()]
    ours, spread = median([msgspec.structs.asdict(one) for one in runs])
    peers, notes = _beside(stand, load, sizes, streets) if load.beside else ({}, [])
    best = max(peers, key=lambda name: peers[name]["rate"], default="")
    beside = peers.get(best, {})
    limit = _limit(stand, sent, in_flight) if load.limit else {}
    each = sent.readings / sent.batches
    about = f"{sent.batches} batches of {each:.0f} readings, bodies of {sent.body_bytes / sent.batches:.0f} bytes"
    others = [
        f"{name}: {found['rate'] / 1e6:.2f} M, p99 {found['p99_ms']:.0f} ms, {found['memory_mb']:.0f} MB"
        for name, found in peers.items()
        if name != best
    ]
    yield Figure(
        name=load.name,
        unit="readings/CPU-s",
        less=False,
        ours=ours["rate"],
        spread=spread["rate"],
        peer=beside.get("rate"),
        peer_name=best,
        limit=limit.get("rate"),
        limit_name="append and sync",
        goal=None if load.goal is None else Goal(load.goal),
        note="; ".join([about, *others, *notes]),
    )
    yield Figure(
        name=f"{load.name}, p99 of an answer",
        unit="ms",
        less=True,
        ours=ours["p99_ms"],
        spread=spread["p99_ms"],
        peer=beside.get("p99_ms"),
        peer_name=best,
        limit=limit.get("p99_ms"),
        limit_name="append and sync",
        note=f"{in_flight} in flight, as fast as they are answered",
    )
    if load.nodes >= 100 or stand.quick:
        yield Figure(
            name=f"{load.name}, memory",
            unit="MB",
            less=True,
            ours=ours["memory_mb"],
            spread=spread["memory_mb"],
            peer=beside.get("memory_mb"),
            peer_name=best,
        )


def _ours(stand: Stand, sent: Fleet, in_flight: int) -> Taken:
    city = City(stand, side="test")
    first, then = sent.connections(city)
    fleet.send(stand, "http", city.url, fleet.plan(stand.directory / "first", first), IN_FLIGHT)
    measured = fleet.plan(stand.directory / "then", then)
    before = city.process.usage()
    answered = fleet.send(stand, "http", city.url, measured, in_flight)
    used = city.process.usage().since(before)
    if answered.requests != sent.batches:
        raise BenchError(f"{answered.requests} answers to {sent.batches} batches")
    sent.check(city)
    return Taken(sent.readings / used.cpu_s, answered.p99_ms, used.memory_bytes / 1e6)


# ---- beside it --------------------------------------------------------------------------------------------------


def _beside(
    stand: Stand, load: Load, sizes: Sizes, streets: Sequence[Sequence[Batch]]
) -> tuple[dict[str, Mapping[str, float]], list[str]]:
    """What the peers need for the same, and which of them is not here."""
    found: dict[str, Mapping[str, float]] = {}
    notes: list[str] = []
    measured = [street[1 : load.beside + 1] for street in streets]
    readings = sum(batches.readings(b) for n in range(load.nodes) for b in measured[n % len(measured)])
    for peer in (_influx, _postgres):
        try:
            runs = list(peer(stand, sizes, partial(_samples, load.nodes, measured), readings))
        except Absent as absent:
            notes.append(str(absent))
            continue
        found[runs[0][0]], _ = median([msgspec.structs.asdict(taken) for _, taken in runs])
    return found, notes


def _samples(nodes: int, streets: Sequence[Sequence[Batch]]) -> Iterator[tuple[int, list[Sample]]]:
    """Which node brings which samples, in the order in which they are sent."""
    for turn in range(len(streets[0])):
        for node in range(nodes):
            batch = batches.as_node(streets[node % len(streets)][turn], node)
            yield node, batches.samples_of(batch.entries)


_Samples = Callable[[], Iterable[tuple[int, list[Sample]]]]


def _influx(stand: Stand, sizes: Sizes, samples: _Samples, readings: int) -> Iterator[tuple[str, Taken]]:
    stand.say(f"{influx.NAME}: making its batches")
    sent = _shared(stand, "influx", ((node, influx.request(found, sizes.profile_of)) for node, found in samples()))
    for _ in stand.times():
        server = influx.Influx(stand)
        before = server.process.usage()
        answered = fleet.send(stand, "http", server.url, sent, IN_FLIGHT)
        used = server.process.usage().since(before)
        _same(influx.NAME, server.readings(), readings)
        yield influx.NAME, Taken(readings / used.cpu_s, answered.p99_ms, used.memory_bytes / 1e6)


def _postgres(stand: Stand, sizes: Sizes, samples: _Samples, readings: int) -> Iterator[tuple[str, Taken]]:
    stand.say(f"{postgres.NAME}: making its batches")
    copies = postgres.Copies(sizes.roster, sizes.profile_of)
    requests = ((node, copies.request(found)) for node, found in samples())
    sent = _shared(stand, "postgres", requests, copies.greeting())
    for _ in stand.times():
        server = postgres.Postgres(stand, sizes.roster)
        try:
            before = server.process.usage()
            answered = fleet.send(stand, "postgres", server.url, sent, IN_FLIGHT)
            memory = server.process.usage().memory_bytes
            server.settle()
            used = server.process.usage().since(before)
            _same(postgres.NAME, server.readings(), readings)
        finally:
            server.close()
        yield postgres.NAME, Taken(readings / used.cpu_s, answered.p99_ms, memory / 1e6)


def _shared(stand: Stand, name: str, requests: Iterable[tuple[int, bytes]], greeting: bytes = b"") -> Path:
    """A plan with as many connections as requests are in flight, shared by the nodes."""
    lanes: list[list[Request]] = [[] for _ in range(IN_FLIGHT)]
    for node, request in requests:
        lanes[node % IN_FLIGHT].append(Request(request))
    return fleet.plan(stand.directory / name, [Connection(lane, greeting) for lane in lanes if lane])


def _same(who: str, held: int, sent: int) -> None:
    if held != sent:
        raise BenchError(f"{who} holds {held} readings of {sent} sent")


def _limit(stand: Stand, sent: Fleet, in_flight: int) -> Mapping[str, float]:
    """The same bodies appended to a file: the rate with a sync for as many as are in flight, p99 with one for each."""
    bodies = stand.directory / "bodies"
    all_of = list(sent.bodies())
    bodies.write_bytes(struct.pack("<I", len(all_of)) + b"".join(struct.pack("<I", len(b)) + b for b in all_of))
    program = fleet.built(stand, "ingest_append.c")

    def append(group: int) -> Mapping[str, float]:
        command = [str(program), str(bodies), str(stand.directory / "appended"), str(group)]
        with stand.pinned("test"):
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        _same("the limit", found["bytes"], sent.body_bytes)
        return {"rate": sent.readings / found["cpu_s"], "p99_ms": found["p99_ms"]}

    grouped, _ = median([append(in_flight) for _ in range(stand.repeats)])
    single, _ = median([append(1) for _ in range(stand.repeats)])
    return {"rate": grouped["rate"], "p99_ms": single["p99_ms"]}


# ---- at rest ----------------------------------------------------------------------------------------------------


def _rest(stand: Stand, sizes: Sizes) -> Figure:
    stand.say("at rest: making it")
    nodes, count = (2, 2) if stand.quick else (4, REST_BATCHES)
    streets = sizes.of("5 minutes", 1, count)
    sent = Fleet(nodes, streets, sizes.roster)
    readings = sent.readings + sent.first_readings
    stand.say("at rest: ours")
    city = City(stand, side="test")
    for connections in sent.connections(city):
        fleet.send(stand, "http", city.url, fleet.plan(stand.directory / "rest", connections), IN_FLIGHT)
    sent.check(city)
    city.process.end()
    received = _used(city.data)
    fleet.compact(stand, city)
    city.process.end()
    ours = _used(city.data)
    peers: dict[str, float] = {}
    notes = [f"{(count + 1) / 12:.1f} h of {nodes} nodes; as received {received / readings:.2f}"]
    if not stand.quick:
        samples = partial(_samples, nodes, streets)
        for peer in (_influx_rest, _postgres_rest):
            try:
                name, held = peer(stand, sizes, samples, readings)
                peers[name] = held / readings
            except Absent as absent:
                notes.append(str(absent))
    best = min(peers, key=peers.__getitem__, default="")
    notes += [f"{name}: {held:.1f}" for name, held in peers.items() if name != best]
    return Figure(
        name="ingest/at rest",
        unit="bytes/reading",
        less=True,
        ours=ours / readings,
        peer=peers.get(best),
        peer_name=best,
        limit=sent.body_bytes / sent.readings,
        limit_name="the bodies alone",
        goal=None if stand.quick else Goal(0.6),  # a store of some minutes is mostly what a store always has
        note="; ".join(notes),
    )


def _used(data: Path) -> int:
    """Bytes of a store that is not in use, without the pages of the database that are free."""
    with fleet.store(data) as store:
        pages, free, size = (
            store.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "freelist_count", "page_size")
        )
    others = sum(path.stat().st_size for path in data.iterdir() if path.name != "store.db" and path.is_file())
    return (pages - free) * size + others


def _influx_rest(stand: Stand, sizes: Sizes, samples: _Samples, readings: int) -> tuple[str, int]:
    stand.say(f"at rest: {influx.NAME}")
    server = influx.Influx(stand)
    requests = ((node, influx.request(found, sizes.profile_of)) for node, found in samples())
    fleet.send(stand, "http", server.url, _shared(stand, "rest", requests), IN_FLIGHT)
    _same(influx.NAME, server.readings(), readings)
    held = server.rest()
    server.process.end()
    return influx.NAME, held


def _postgres_rest(stand: Stand, sizes: Sizes, samples: _Samples, readings: int) -> tuple[str, int]:
    stand.say(f"at rest: {postgres.NAME}")
    copies = postgres.Copies(sizes.roster, sizes.profile_of)
    server = postgres.Postgres(stand, sizes.roster)
    try:
        requests = ((node, copies.request(found)) for node, found in samples())
        sent = _shared(stand, "rest", requests, copies.greeting())
        fleet.send(stand, "postgres", server.url, sent, IN_FLIGHT)
        _same(postgres.NAME, server.readings(), readings)
        return postgres.NAME, server.rest()
    finally:
        server.close()
