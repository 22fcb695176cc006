"""Sizes: the batches of a street in the sizes that ingest is measured with, made once each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Final

from bench import batches
from bench.loads import ingest_fleet as fleet
from bench.street import Street
from wire import codec
from wire.batch import Batch

BODY_BYTES: Final = 20_000


class Sizes:
    """Of so many streets, which the nodes of a fleet take turns at."""

    def __init__(self, streets: int) -> None:
        self._streets = streets
        self.roster = Street().roster
        self._profiles = {d.id: d.profile for d in self.roster.devices}
        self._held: dict[tuple[str, int], list[list[Batch]]] = {}

    def of(self, size: str, nodes: int, count: int) -> list[list[Batch]]:
        """`count` batches of each street that so many nodes take turns at, and one more to begin with."""
        key = (size, min(nodes, self._streets))
        held = self._held.get(key)
        if held is None or len(held[0]) <= count:
            held = [list(islice(_sized(size)(street), count + 1)) for street in fleet.streets(key[1])]
            self._held[key] = held
        return [street[: count + 1] for street in held]

    def profile_of(self, device: str) -> str:
        """The profile of a device of any node."""
        return self._profiles[device.rpartition(".")[2]]


def _sized(size: str) -> Callable[[Street], Iterator[Batch]]:
    match size.split():
        case [count, "readings"]:
            return partial(batches.of_readings, readings=int(count.replace(",", "")))
        case [minutes, "minutes"]:
            return partial(_pushed, push_s=60.0 * int(minutes))
        case _:
            return partial(_pushed, push_s=_seconds_of(BODY_BYTES))


def _pushed(street: Street, push_s: float) -> Iterator[Batch]:
    return chain.from_iterable(batches.pushes(street, push_s, 1e9))


def _seconds_of(body_bytes: int) -> float:
    """How long a street takes to fill a self-contained body of so many bytes, in whole commits."""
    sealing, street = batches.Sealing(), Street()
    rows = [row for samples in batches.commits(street, 1_800) for row in sealing.commit(samples)]
    low, high = 1, len(rows)
    while low < high:  # the first that is large enough
        middle = (low + high) // 2
        if len(codec.encode_batch(batches.Sealing().cut(rows[:middle]))) < body_bytes:
            low = middle + 1
        else:
            high = middle
    return low * batches.COMMIT_S
