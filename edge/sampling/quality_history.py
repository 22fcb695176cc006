"""Quality history: how well each device was heard in the last 24 h, a quarter of an hour at a time. For pictures.

Of each quarter it is counted how many samples were good, had points that were not, or had nothing good at all. A slot
is BAD where most samples were, PARTLY where more than one in TOLERATED was not good, NOTHING where none came; a device
that speaks seldom keeps the state of its last sample for one and a half of its periods. In memory alone: after a
restart it is brought back from the card (`edge.outbox.skimming`).

Bounds: SLOTS slots of 3 bytes a device. A count stands for at most 255 samples; then all of its slot are halved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil
from typing import Final

from edge.sampling.last_samples import says_something
from wire.columns import PRESENT, Columns
from wire.sample import Sample
from wire.time import Micros, Utc

SLOT_US: Final = Micros(900_000_000)
SLOTS: Final = 96
MOST: Final = 255
TOLERATED: Final = 20
KEEPS_PERIODS: Final = 1.5

NOTHING: Final = 0
GOOD: Final = 1
PARTLY: Final = 2
BAD: Final = 3


def grade(sample: Sample) -> int:
    """GOOD, PARTLY or BAD."""
    if not sample.quality:
        return GOOD
    return PARTLY if says_something(sample) else BAD


class _Ring:
    """One device: a byte a slot for each grade. `head` is the newest slot, counted since 1970."""

    __slots__ = ("counts", "head")

    def __init__(self) -> None:
        self.head = 0
        self.counts = (bytearray(SLOTS), bytearray(SLOTS), bytearray(SLOTS))  # good, partly, bad

    def add(self, slot: int, grade: int) -> None:
        if slot > self.head:
            for passed in range(max(self.head + 1, slot - SLOTS + 1), slot + 1):
                for counts in self.counts:
                    counts[passed % SLOTS] = 0
            self.head = slot
        elif slot <= self.head - SLOTS:
            return
        at = slot % SLOTS
        row = self.counts[grade - 1]
        if row[at] == MOST:
            for counts in self.counts:
                counts[at] = (counts[at] + 1) >> 1
        row[at] += 1

    def state(self, slot: int) -> int:
        if not self.head - SLOTS < slot <= self.head:
            return NOTHING
        good, partly, bad = (counts[slot % SLOTS] for counts in self.counts)
        total = good + partly + bad
        if not total:
            return NOTHING
        if 2 * bad > total:
            return BAD
        return PARTLY if TOLERATED * (partly + bad) > total else GOOD


class QualityHistory:
    """All devices of the node. `now_us` is the node's clock, in UTC microseconds."""

    def __init__(self, now_us: Callable[[], Utc]) -> None:
        self._now_us = now_us
        self._rings: dict[str, _Ring] = {}
        self._began = 0  # the first slot of this run of the clock: what came before does not move with it

    def expect(self, devices: Iterable[str]) -> None:
        """These are kept; of others nothing is."""
        self._rings |= {device: _Ring() for device in devices}
        self._began = self._now_us() // SLOT_US

    def note(self, sample: Sample) -> None:
        """A sample has come."""
        if (ring := self._rings.get(sample.device)) is not None:
            self._add(ring, sample.time_us // SLOT_US, grade(sample))

    def recall(self, columns: Columns, *, plain: bool) -> None:
        """What the card has kept. `plain` says that every point of all samples is good: they are not looked at."""
        ring = self._rings.get(columns.device)
        if ring is None:
            return
        grades = [GOOD] * columns.n if plain else _grades(columns)
        for time_us, each in zip(columns.times, grades, strict=True):
            self._add(ring, time_us // SLOT_US, each)

    def shifted(self, offset_us: Micros) -> None:
        """The clock was set: what has come since the start belongs elsewhere."""
        by = round(offset_us / SLOT_US)
        if by:
            for device, ring in self._rings.items():
                self._rings[device] = _moved(ring, self._began, by)
            self._began += by

    def slots(self, device: str, every_s: float) -> bytes:
        """The states of the last 24 h, the present slot last. `every_s` is how often the device is expected."""
        ring = self._rings.get(device)
        if ring is None:
            return bytes(SLOTS)
        now = self._now_us() // SLOT_US
        keeps = ceil(KEEPS_PERIODS * every_s * 1e6 / SLOT_US)
        found = bytearray()
        last, age = NOTHING, 0
        for slot in range(now - SLOTS + 1, now + 1):
            state = ring.state(slot)
            if state:
                last, age = state, 0
            else:
                age += 1
            found.append(state or (last if age <= keeps else NOTHING))
        return bytes(found)

    def heard_us(self, device: str) -> Utc | None:
        """Until when something good came from a device, to the slot, in UTC microseconds; None where not in 24 h."""
        ring = self._rings.get(device)
        if ring is None:
            return None
        heard = (
            s for s in range(ring.head, ring.head - SLOTS, -1) if ring.counts[0][s % SLOTS] + ring.counts[1][s % SLOTS]
        )
        slot = next(heard, None)
        return None if slot is None else Utc((slot + 1) * SLOT_US)

    def _add(self, ring: _Ring, slot: int, grade: int) -> None:
        if slot > ring.head and slot > self._now_us() // SLOT_US:
            return  # a device whose clock is ahead must not push the day away
        ring.add(slot, grade)


def _grades(columns: Columns) -> list[int]:
    present = [0] * columns.n
    marked = [0] * columns.n
    bad = [0] * columns.n
    for cell in columns.cells.values():
        for i in range(columns.n):
            present[i] += cell.present is None or cell.present[i] == PRESENT
        for first, count, quality in cell.quality:
            for i in range(first, first + count):
                marked[i] += 1
                bad[i] += quality.startswith("bad")
    return [
        GOOD if not m else BAD if b >= p else PARTLY for p, m, b in zip(present, marked, bad, strict=True)
    ]  # fmt: skip


def _moved(ring: _Ring, began: int, by: int) -> _Ring:
    moved = _Ring()
    slots = range(ring.head - SLOTS + 1, ring.head + 1)
    targets = sorted((slot + by if slot >= began else slot, slot) for slot in slots)
    for target, slot in targets:
        if not any(counts[slot % SLOTS] for counts in ring.counts):
            continue
        moved.add(target, GOOD)  # makes room up to there
        moved.counts[0][target % SLOTS] -= 1
        for to, counts in zip(moved.counts, ring.counts, strict=True):
            to[target % SLOTS] = min(MOST, to[target % SLOTS] + counts[slot % SLOTS])
    return moved
