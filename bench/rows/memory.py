"""Memory: what each further body leaves in the aggregator while somebody follows the feed. It should be nothing.

Nodes push their street through `ingest_load.c`, one after the other; a reader follows the feed and wants
alarms only, so that every body is opened and all of its events are made. After a first part, by which every cache with
a bound has filled up, the aggregator's own memory (PSS) is looked at, and again after a second part of as many bodies,
each time once the reader has all there is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import chain, islice
from typing import Final

import httpx

from bench import batches
from bench.cabinet import City
from bench.figure import Figure, Goal, median
from bench.loads import ingest_fleet as fleet
from bench.loads.ingest_fleet import Connection, Fleet
from bench.stand import BenchError, Stand
from bench.street import Street

WHAT = "what each further body leaves in the aggregator's memory, with a reader of the feed"

PUSH_S: Final = 10.0
NODES: Final = 20
FULL_TURNS, QUICK_TURNS = 400, 10  # of each node, in each of the two parts
GOAL_BYTES: Final = 256  # a body: a day of one node is then less than 400 KB
CAUGHT_UP_S: Final = 600.0


def run(stand: Stand) -> Iterator[Figure]:
    """Bytes a body, and how much it is at the end."""
    fleet.many_files()
    turns = QUICK_TURNS if stand.quick else FULL_TURNS
    street = Street()
    made = chain.from_iterable(batches.pushes(street, PUSH_S, 1e9))
    stand.say(f"making {2 * turns + 1} pushes of a street")
    sent = Fleet(NODES, [list(islice(made, 2 * turns + 1))], street.roster)
    runs = [_run(stand, sent, turns) for _ in stand.times()]
    found, spread = median(runs)
    bodies = NODES * turns
    yield Figure(
        name="memory/a further body, one reader of alarms",
        unit="B",
        less=True,
        ours=found["left"],
        spread=spread["left"],
        goal=None if stand.quick else Goal(GOAL_BYTES),
        note=f"{found['before_mb']:.1f} MB after {bodies} bodies of {sent.readings / sent.batches:.0f} readings from"
        f" {NODES} nodes, {found['after_mb']:.1f} MB after as many again",
    )


class _Reader:
    """Follows the feed from its beginning and knows how far it is."""

    def __init__(self, city: City) -> None:
        self._url = f"{city.url}/v1/feed?after=0&type=alarm"
        self._heads = {"Authorization": f"Bearer {city.token('reader')}"}
        self.position = 0
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        try:
            with httpx.stream("GET", self._url, headers=self._heads, timeout=60) as answer:
                for line in answer.iter_lines():
                    cursor = line.removeprefix("id: ").split(".")  # generation, position, and where within it
                    if len(cursor) == 2 and line.startswith("id: "):
                        self.position = int(cursor[1])
        except httpx.HTTPError:  # the aggregator has ended
            return


def _run(stand: Stand, sent: Fleet, turns: int) -> dict[str, float]:
    city = City(stand, side="test")
    first, then = sent.connections(city)
    parts = [first, [Connection(c.requests[:turns]) for c in then], [Connection(c.requests[turns:]) for c in then]]
    reader = _Reader(city)
    held: list[int] = []
    for number, part in enumerate(parts):
        fleet.send(stand, "http", city.url, fleet.plan(stand.directory / f"part-{number}", part), 4)
        head = _head(city)
        city.process.wait_until(lambda: reader.position >= head, "the reader does not catch up", CAUGHT_UP_S)  # noqa: B023
        held.append(city.process.usage().memory_bytes)
    sent.check(city)
    city.process.end()
    _, before, after = held
    return {"left": (after - before) / (NODES * turns), "before_mb": before / 1e6, "after_mb": after / 1e6}


def _head(city: City) -> int:
    """The position of the newest record."""
    with fleet.store(city.data) as held:
        (head,) = held.execute("SELECT max(position) FROM log").fetchone()
    if head is None:
        raise BenchError("nothing was taken")
    return int(head)
