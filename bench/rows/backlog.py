"""Backlog: how soon all is there once the link is back.

One node: a real node process on core 0 whose outbox holds a day of the street, written through the node's own outbox
in commits of five seconds, and an aggregator on core 1, as on a machine of its own. The clock runs from the moment at
which the node's first connection stands to the moment at which the log took the last batch. Each run has a copy of the
outbox and an empty aggregator.

A fleet: a thousand nodes come back at once after an hour, to an aggregator with core 0 to itself
(`bench.loads.ingest_outage`). Nothing may be missing, here or there.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from bench import batches
from bench.cabinet import City, Node
from bench.figure import Figure, Goal, median
from bench.loads import ingest_fleet as fleet
from bench.loads import ingest_outage as outage
from bench.stand import BenchError, Stand
from bench.street import START_S, Street
from edge.outbox.sqlite import SqliteOutbox
from wire.batch import Lane
from wire.entries import Health

WHAT = "after an outage: until all is there"

NODE: Final = "cab-bench"
HEALTH_S: Final = 60.0
REPEATED_S: Final = 3 * 3600.0  # of street are made; a day goes over them again, later by as much
LOOK_S: Final = 0.1
LONGEST_S: Final = 300.0
SEEN_S: Final = 10.0  # once all is there


class Day(msgspec.Struct, frozen=True):
    """A filled outbox and what is in it."""

    directory: Path
    hours: float
    readings: int
    size_bytes: int


def run(stand: Stand) -> Iterator[Figure]:
    """One node, then the fleet."""
    fleet.many_files()
    stand.say("filling an outbox")
    directory, hours = stand.fresh("outbox"), 1 if stand.quick else 24
    readings = asyncio.run(_fill(directory, hours))
    day = Day(directory, hours, readings, sum(path.stat().st_size for path in directory.iterdir()))
    runs = [_drain(stand, day) for _ in stand.times()]
    ours, spread = median(runs)
    yield Figure(
        name=f"backlog/{day.hours:g} h of one node",
        unit="s",
        less=True,
        ours=ours["seconds"],
        spread=spread["seconds"],
        goal=None if stand.quick else Goal(5),
        note=(
            f"{day.readings / 1e6:.2f} M readings, {day.size_bytes / 1e6:.1f} MB of outbox, {ours['sent_mb']:.1f} MB in"
            f" {ours['bodies']:.0f} bodies; CPU {ours['node_s']:.1f} s of the node with its start,"
            f" {ours['city_s']:.1f} s of the aggregator"
        ),
    )
    yield from _fleet(stand)


# ---- one node ---------------------------------------------------------------------------------------------------


async def _fill(directory: Path, hours: float) -> int:
    """Write what a node would have, offline for so long; how many readings."""
    readings = 0
    street = Street()
    async with SqliteOutbox(directory, node=NODE, limit_bytes=512 << 20) as outbox:
        for i, samples in enumerate(fleet.repeated(street, hours * 3600, batches.COMMIT_S, REPEATED_S), 1):
            readings += sum(len(sample.values) for sample in samples)
            await outbox.append({Lane.BULK: samples})
            at_s = i * batches.COMMIT_S
            if at_s % HEALTH_S == 0:
                health = Health(
                    time_us=round((START_S + at_s) * 1e6), verdict="degraded", reasons=("the cloud is out of reach",)
                )
                await outbox.append({Lane.URGENT: [health]})
    return readings


def _drain(stand: Stand, day: Day) -> dict[str, float]:
    city = City(stand, side="load")
    settings: dict[str, Any] = {"outbox": {"limit_bytes": 512 << 20}}
    # Nobody is there, so nothing new comes.
    line = {"name": "broker", "protocol": "mqtt", "host": "127.0.0.1", "port": 1, "client_id": NODE}
    publishers = [device for device in Street().roster.devices if device.profile in ("bn-1", "aq-2")]
    devices = [
        {"id": d.id, "profile": d.profile, "line": "broker", "address": {"serial": f"{d.profile[:2].upper()}{i:06}"}}
        for i, d in enumerate(publishers, 1)
    ]
    node = Node(stand, city, [line], devices, name=NODE, settings=settings)
    shutil.copytree(day.directory, node.data)
    watch = _Watch(urlsplit(city.url).port or 0)
    city_before = city.process.usage()
    node.start()
    deadline = time.monotonic() + LONGEST_S
    while city.readings_of(NODE) < day.readings:
        if time.monotonic() > deadline:
            raise BenchError(f"{city.readings_of(NODE)} of {day.readings} readings after {LONGEST_S:.0f} s")
        time.sleep(LOOK_S)
    node_used, city_used = node.process.usage(), city.process.usage().since(city_before)
    if (held := city.readings_of(NODE)) != day.readings:
        raise BenchError(f"{held} readings are held of {day.readings}")
    (bulk,) = (lane for lane in city.ledger(NODE)["lanes"] if lane["lane"] == Lane.BULK)
    counters = node.health()["counters"]
    return {
        "seconds": datetime.fromisoformat(bulk["last_heard"]).timestamp() - watch.connected_s(),
        "sent_mb": counters["batch_bytes"] / 1e6,
        "bodies": counters["batches"],
        "node_s": node_used.cpu_s,
        "city_s": city_used.cpu_s,
    }


class _Watch:
    """Tells when a port of this machine first had a connection; nobody else may connect before."""

    def __init__(self, port: int) -> None:
        self._local = f"0100007F:{port:04X}"
        self._connected_s = 0.0
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def connected_s(self) -> float:
        """Seconds since 1970.

        Raises:
            BenchError: no connection was seen.
        """
        self._thread.join(SEEN_S)
        if not self._connected_s:
            raise BenchError("no connection of the node was seen in /proc/net/tcp")
        return self._connected_s

    def _look(self) -> None:
        established = "01"
        while not self._connected_s:
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
                _, local, _, state, *_ = line.split()
                if local == self._local and state == established:
                    self._connected_s = time.time()
            time.sleep(0.002)


# ---- a fleet ----------------------------------------------------------------------------------------------------


def _fleet(stand: Stand) -> Iterator[Figure]:
    nodes, minutes = (50, 2) if stand.quick else (1_000, 60)
    stand.say("fleet: making it")
    behind = outage.Behind(minutes * 60)
    city = City(stand, side="test")
    tokens = fleet.tokens_for(city, [outage.name_of(number) for number in range(nodes)])
    stand.say(f"fleet: {nodes * behind.readings / 1e6:.0f} M readings of {nodes} nodes, one run")
    before = city.process.usage()
    found = outage.drain(city.url, tokens, behind)
    used = city.process.usage().since(before)
    fleet.expect(city, nodes * behind.readings)
    asked = ", ".join(f"{count} × {what}" for what, count in found.downs.items()) or "no error"
    name = f"backlog/{minutes} min of {nodes:,} nodes"
    yield Figure(
        name=name,
        unit="s",
        less=True,
        ours=found.seconds,
        note=(
            f"one run; {found.bodies} bodies of {found.sent_bytes / found.bodies:.0f} bytes, {found.paused} asked to"
            f" pause, {asked}; {nodes * behind.readings / used.cpu_s / 1e6:.2f} M readings a CPU-second"
        ),
    )
    yield Figure(name=f"{name}, p99 of an answer", unit="ms", less=True, ours=found.p99_ms)
    yield Figure(name=f"{name}, memory", unit="MB", less=True, ours=used.memory_bytes / 1e6)
