"""Feed: how long it takes from a node's push to a reader in the control room, and how soon one that was away has what
matters.

Watched nodes push what their street says every two seconds, as nodes do while somebody looks; readers follow the whole
feed. Both are one C process on core 1 (`feed_load.c`), so one clock tells the time from the first byte of a push to the
last event of it at each reader. Every reader must have every batch, once; the aggregator has core 0.

    behind      a reader of alarms alone, a day away, of a city of 36,900 devices: until it has the last of them
    dusk        every device changes, before 200 readers with filters (districts, cabinets, kinds, severities)
    beside      one node drains a day; another's change until a reader of everything has it
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bench import batches
from bench.cabinet import City
from bench.figure import Figure, Goal, median
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


class Scale(msgspec.Struct, frozen=True):
    """How large the city is."""

    nodes: int
    devices: int  # of each
    records: int
    alarms: int
    readers: int
    dusk_s: float
    batches: int  # of the backlog
    samples: int  # of each device in each of them


FULL: Final = Scale(450, 82, 190_000, 2_000, 200, 30.0, 288, 30)
QUICK: Final = Scale(10, 20, 1_000, 50, 20, 2.0, 20, 5)
DUSK_GOAL_S, BEHIND_GOAL_S, BESIDE_GOAL_S = 1.0, 5.0, 1.0


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
    yield from _city(stand, QUICK if stand.quick else FULL)


def _city(stand: Stand, scale: Scale) -> Iterator[Figure]:
    """Of a whole city."""
    stand.say("a reader that was away")
    runs = [_behind(stand, scale) for _ in stand.times()]
    told, spread = median(runs)
    yield Figure(
        name="feed/alarms of a day away",
        unit="s",
        less=True,
        ours=told["seconds"],
        spread=spread["seconds"],
        goal=None if stand.quick else Goal(BEHIND_GOAL_S),
        note=f"{told['seen']:.0f} alarms in {told['records']:.0f} records; CPU {told['cpu_s']:.1f} s of the aggregator",
    )
    stand.say("dusk")
    dusk = [str(n) for n in (scale.readers, scale.nodes, scale.devices, scale.dusk_s)]
    beside = [str(n) for n in (scale.batches, scale.samples)]
    for name, goal_s, nodes, given, note in (
        ("dusk", DUSK_GOAL_S, scale.nodes, ["dusk", *dusk], f"{scale.readers} readers, {{events:.0f}} events to all"),
        ("beside", BESIDE_GOAL_S, 2, ["drain", *beside], "a day in {seconds:.0f} s, {mb:.0f} MB to the reader"),
    ):
        stand.say(name)
        runs = [_loaded(stand, nodes, given) for _ in stand.times()]
        told, spread = median(runs)
        for part in ("p50", "p99"):
            yield Figure(
                name=f"feed/{name}, {part}",
                unit="s",
                less=True,
                ours=told[f"{part}_s"],
                spread=spread[f"{part}_s"],
                goal=None if stand.quick or part == "p50" else Goal(goal_s),
                note=note.format(**told) if part == "p50" else "",
            )


def _behind(stand: Stand, scale: Scale) -> dict[str, float]:
    city = City(stand, side="test")
    token = city.token("reader")
    city.process.end()
    filled = _load(["fill", city.data, scale.nodes, scale.devices, scale.records, scale.alarms])
    fleet.restart(stand, city)
    before = city.process.usage()
    told = _load(["behind", city.url, token, scale.alarms])
    told |= {"records": filled["records"], "cpu_s": city.process.usage().since(before).cpu_s}
    city.process.end()
    return told


def _loaded(stand: Stand, nodes: int, given: Sequence[str]) -> dict[str, float]:
    city = City(stand, side="test")
    tokens = fleet.tokens_for(city, [f"cab-{number:04}" for number in range(nodes)])
    tokens |= {role: city.token(role) for role in ("reader", "operator")}
    path = stand.directory / "tokens.json"
    path.write_bytes(msgspec.json.encode(tokens))
    told = _load([given[0], city.url, path, *given[1:]])
    city.process.end()
    return told


def _load(given: Sequence[object]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.loads.feed_city", *map(str, given)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"{given[0]}: {done.stderr[-3_000:]}")
    return msgspec.json.decode(done.stdout)


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
