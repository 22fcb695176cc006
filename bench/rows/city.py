"""City: every question at once, beside what all cabinets send.

450 cabinets of 82 devices push what a whole city says, 36,900 devices a reading of each point a minute: first a day in
five-minute pushes, as fast as it is taken, ending now (`--hours` says how long instead; `--hours 168` is a week). Over
the second half of it memory is looked at each hour (PSS of the aggregator and what it has started), and disk, and what
was written: what is left is a slope. Then 45 pushes of a minute come in each second, for a minute alone, and for a
minute while a control room asks one question after the other, each of the kind that its screens ask, of a reader
process. The aggregator has core 0; readers, questions and cabinets have the other.

A push's time counts from when it was due. A question's is that of its whole answer.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import cycle
from typing import Final
from urllib.parse import urlencode

import httpx
import msgspec
import psutil

from bench.cabinet import City
from bench.figure import Figure, Goal
from bench.loads import ingest_fleet as fleet
from bench.loads.city_pushes import Pushes
from bench.loads.ingest_fleet import Connection, Request, Sent, Upload
from bench.loads.ingest_reader import Reader
from bench.stand import BenchError, Stand

WHAT = "a whole city at once: what it leaves, and how long the control room waits meanwhile"

PUSH_MIN: Final = 5
IN_FLIGHT: Final = 32
LATE_MIN: Final = 30  # the pushes of the two minutes of load are minutes of the city, and none lies ahead
CAUGHT_UP_S: Final = 120.0
GOAL_BYTES: Final = 256  # left by a body
GOAL_WRITTEN: Final = 5  # bytes to the disk a byte of payload
GOAL_ALONE: Final = 0.5  # an ack waits at most twice as long as alone


class Scale(msgspec.Struct, frozen=True):
    """How large the city is, how long it is filled, and the load beside the questions."""

    nodes: int
    lamps: int  # of each node, beside its meter
    hours: float
    rate: float  # pushes a second
    steps: int  # a push of each node


FULL: Final = Scale(nodes=450, lamps=81, hours=24, rate=45, steps=6)
QUICK: Final = Scale(nodes=6, lamps=9, hours=2, rate=20, steps=5)


class Look(msgspec.Struct, frozen=True):
    """At the aggregator, after so many bodies: bytes."""

    bodies: int
    payload: int
    memory: int
    disk: int
    written: int


def run(stand: Stand) -> Iterator[Figure]:
    """Fill it, look at it, load it, ask it."""
    fleet.many_files()
    scale = QUICK if stand.quick else FULL
    scale = msgspec.structs.replace(scale, hours=stand.hours or scale.hours)
    city = City(stand, side="test", readers=1)
    _move_readers(stand, city)
    begin_min = int(time.time() // 60) - LATE_MIN - round(scale.hours * 60)
    pushes = Pushes(scale.nodes, scale.lamps, begin_min)
    loaded = _Loaded(stand, city, pushes)
    looks = _fill(stand, loaded, scale)
    yield from _left(stand, scale, looks, pushes)
    _caught_up(city)
    area = _area(city)
    stand.say("pushes alone")
    alone = loaded.at_rate(scale)
    stand.say("pushes, and every question")
    asking = _Asking(city, scale, area)
    with asking:
        beside = loaded.at_rate(scale)
    fleet.expect(city, pushes.readings)
    yield Figure(
        name="city/ack p99 while everything is asked",
        unit="ms",
        less=True,
        ours=beside.p99_ms,
        peer=alone.p99_ms,
        peer_name="alone",
        goal=None if stand.quick else Goal(GOAL_ALONE, "peer"),
        note=f"{scale.rate:.0f} pushes a second; p50 {beside.p50_ms:.1f} ms, alone {alone.p50_ms:.1f} ms; the longest"
        f" {beside.most_ms:.0f} ms, alone {alone.most_ms:.0f} ms",
    )
    for name, took_ms in asking.took_ms.items():
        yield Figure(
            name=f"city/{name}",
            unit="ms",
            less=True,
            ours=statistics.median(took_ms),
            spread=(max(took_ms) - min(took_ms)) / statistics.median(took_ms),
            note=f"{len(took_ms)} times, the longest {max(took_ms):.0f} ms, {asking.bytes[name] / 1e6:.2f} MB",
        )


# ---- what is sent -----------------------------------------------------------------------------------------------


class _Loaded:
    """An aggregator, and the cabinets that push to it."""

    def __init__(self, stand: Stand, city: City, pushes: Pushes) -> None:
        self._stand, self.city, self._pushes = stand, city, pushes
        self._tokens = fleet.tokens_for(city, pushes.names)
        self.bodies = self.payload = 0
        self._send([pushes.rosters()])

    def fill(self, steps: int) -> None:
        """So many pushes of each cabinet, as fast as they are taken."""
        self._send([self._pushes.step(PUSH_MIN) for _ in range(steps)])

    def at_rate(self, scale: Scale) -> Sent:
        """Pushes of a minute each, so many a second."""
        return self._send([self._pushes.step(1) for _ in range(scale.steps)], scale.rate)

    def _send(self, steps: Sequence[Sequence[Upload]], rate: float | None = None) -> Sent:
        names = self._pushes.names
        connections = [
            Connection([Request(upload.request(self.city, name, self._tokens[name])) for upload in own])
            for name, own in zip(names, zip(*steps, strict=True), strict=True)
        ]
        self.bodies += len(names) * len(steps)
        self.payload += sum(len(upload.body) for step in steps for upload in step)
        plan = fleet.plan(self._stand.directory / "pushes", connections)
        return fleet.send(self._stand, "http", self.city.url, plan, IN_FLIGHT, rate)

    def look(self) -> Look:
        """At what there is now."""
        used = self.city.process.usage()
        disk = sum(path.stat().st_size for path in self.city.data.rglob("*") if path.is_file())
        return Look(self.bodies, self.payload, used.memory_bytes, disk, used.written_bytes)


def _fill(stand: Stand, loaded: _Loaded, scale: Scale) -> list[Look]:
    looks = [loaded.look()]
    whole = round(scale.hours * 60 / PUSH_MIN)
    each = max(1, min(60 // PUSH_MIN, whole // 4))
    for done in range(0, whole, each):
        stand.say(f"hour {done * PUSH_MIN / 60:.0f} of {scale.hours:.0f}")
        loaded.fill(min(each, whole - done))
        looks.append(loaded.look())
    return looks


def _left(stand: Stand, scale: Scale, looks: Sequence[Look], pushes: Pushes) -> Iterator[Figure]:
    """Slopes over the second half: by then every cache with a bound has filled up."""
    half = looks[len(looks) // 2 :]
    bodies = [look.bodies for look in half]
    memory = statistics.linear_regression(bodies, [look.memory for look in half]).slope
    disk = statistics.linear_regression(bodies, [look.disk for look in half]).slope
    payload = half[-1].payload - half[0].payload
    each = pushes.readings / (looks[-1].bodies - looks[0].bodies)
    about = f"{scale.nodes * (scale.lamps + 1):,} devices for {scale.hours:.0f} h: {looks[-1].bodies:,} bodies of"
    about += f" {each:,.0f} readings"
    yield Figure(
        name="city/memory, a further body",
        unit="B",
        less=True,
        ours=memory,
        goal=None if stand.quick else Goal(GOAL_BYTES),
        note=f"{about}; {half[0].memory / 1e6:.0f} MB at half, {half[-1].memory / 1e6:.0f} MB at the end",
    )
    yield Figure(
        name="city/disk, a further reading",
        unit="B",
        less=True,
        ours=disk / each,
        note=f"as received: {looks[-1].disk / 1e6:.0f} MB at the end, with folded hours and write-ahead log; payload"
        f" {looks[-1].payload / pushes.readings:.2f} B a reading",
    )
    yield Figure(
        name="city/written, a byte of payload",
        unit="B",
        less=True,
        ours=(half[-1].written - half[0].written) / payload,
        goal=None if stand.quick else Goal(GOAL_WRITTEN),
        note="by all processes, of the second half",
    )


# ---- what is asked ----------------------------------------------------------------------------------------------


def _move_readers(stand: Stand, city: City) -> None:
    """What only answers goes to the load's side."""
    city.process.wait_until(lambda: bool(_readers(city)), "no reader process", CAUGHT_UP_S)
    for process in _readers(city):
        process.cpu_affinity(stand.cores("load"))


def _readers(city: City) -> list[psutil.Process]:
    children = psutil.Process(city.process.process.pid).children(recursive=True)
    return [child for child in children if "reader" in " ".join(child.cmdline())]


def _caught_up(city: City) -> None:
    def done() -> bool:
        return city.metric("lamplighter_readers_behind") == 0

    city.process.wait_until(done, "the reader process does not catch up", CAUGHT_UP_S)


def _area(city: City) -> str:
    """Keep an area; all devices lie in it, for the street has one place."""
    ring = [[4.9, 47.2], [5.2, 47.2], [5.2, 47.4], [4.9, 47.4], [4.9, 47.2]]
    answer = httpx.put(
        f"{city.url}/v1/areas/district",
        json={"name": "District", "geometry": {"type": "Polygon", "coordinates": [ring]}},
        headers={"Authorization": f"Bearer {city.token('operator')}"},
        timeout=30,
    )
    if answer.is_error:
        raise BenchError(f"no area: {answer.text}")
    return "district"


class _Asking:
    """Asks one question after the other, in a thread, while it is open."""

    def __init__(self, city: City, scale: Scale, area: str) -> None:
        self.took_ms: dict[str, list[float]] = {}
        self.bytes: dict[str, int] = {}
        self._url, self._token = city.readers_url, city.token("reader")
        self._questions = _questions(scale, area)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._ask()), daemon=True)
        self._failed: BaseException | None = None

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._failed is not None:
            raise BenchError(f"a question was not answered: {self._failed!r}") from self._failed
        if missing := self._questions.keys() - self.took_ms.keys():
            raise BenchError(f"never asked: {', '.join(sorted(missing))}")

    async def _ask(self) -> None:
        try:
            async with Reader(self._url, self._token) as reader:
                for name, path in cycle(self._questions.items()):
                    if self._ended.is_set() and len(self.took_ms) == len(self._questions):
                        return
                    began = time.perf_counter()
                    answer = await reader.get(path)
                    self.took_ms.setdefault(name, []).append((time.perf_counter() - began) * 1000)
                    self.bytes[name] = len(answer)
        except Exception as error:  # noqa: BLE001 it is told where the thread is joined
            self._failed = error


def _questions(scale: Scale, area: str) -> Mapping[str, str]:
    """By what they are called; each is asked again and again, of an answer that new readings have made old."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)

    def ago(hours: float) -> str:
        return datetime.fromtimestamp(now.timestamp() - hours * 3600, UTC).isoformat()

    def history(hours: float, **asked: str) -> str:
        return f"/v1/history?{urlencode({'from': ago(hours), 'to': ago(0), **asked})}"

    last, day = f"cab-{scale.nodes - 1:05}", min(24.0, scale.hours)
    return {
        "latest of all, JSON": "/v1/latest",
        "latest of all, CSV": "/v1/latest?format=csv",
        "latest of one cabinet": f"/v1/latest?node={last}",
        "latest of a district": f"/v1/latest?area={area}&kind=meter",
        "all nodes, first page": "/v1/nodes?limit=1000",
        "one node": f"/v1/nodes/{last}",
        "a lamp": f"/v1/devices/{last}.lamp-001",
        "a lamp's readings, two hours": f"/v1/devices/{last}.lamp-001/readings?{urlencode({'from': ago(2)})}",
        "a lamp's hours of a day": history(day, device=f"{last}.lamp-001", point="active_power"),
        "a lamp's minutes of two hours": history(2, device=f"{last}.lamp-001", point="active_power", every="1m"),
        "a cabinet's energy by hour": history(day, device=f"{last}.meter-001", point="energy_import", fn="increase"),
    }
