"""A city's minutes into a store of its own, as fast as it takes them, on a clock that says that a minute has passed.

`python -m bench.loads.latest_city DIR NODES DEVICES MINUTES` writes one JSON object to standard output. Bytes written
are what the kernel counts for this process (`write_bytes` of /proc/self/io): with the write-ahead log, checkpoints and
all. The event loop is asked every millisecond whether it is free while `latest` is saved.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cloud.log.batch_facts import facts_of
from cloud.store import Store, opened
from edge.outbox.sealing import seal
from wire import codec
from wire.batch import ORIGIN, Batch, Lane, advance
from wire.contents import join
from wire.sample import Clock, Sample

START_US = 1_790_000_000_000_000
MINUTE_US = 60_000_000
POINTS = ("dim_level", "active_power", "energy", "voltage", "current", "power_factor", "temperature", "operating_h")


class Told(msgspec.Struct):
    """Bytes, seconds, milliseconds."""

    devices: int
    minutes: int
    payload: int
    written: int
    written_saving: int  # of it while `latest` was saved
    saves: int
    held_ms: float  # the longest that the event loop was not free then
    again_records: int  # what a start after kill -9 goes over
    start_s: float  # and how long that takes, at the end
    store: int


class Node:
    """What one node sends."""

    def __init__(self, number: int, devices: int) -> None:
        self.name = f"cab-{number:04}"
        self.lamps = [f"lamp-{number:04}-{i:03}" for i in range(devices)]
        self.head, self.digest = 0, ORIGIN

    def body(self, minute: int) -> bytes:
        """The next one, self-contained."""
        clock = Clock(1, synced=True)
        at_us = START_US + minute * MINUTE_US
        samples = [
            Sample(lamp, at_us + i, clock, {p: float((minute * 7 + i * k) % 100) for k, p in enumerate(POINTS)})
            for i, lamp in enumerate(self.lamps)
        ]
        (row,) = seal(samples)
        first, prev = self.head + 1, self.digest
        self.head, self.digest = self.head + row.width, advance(prev, row.body)
        batch = Batch(
            node=self.name, epoch=7, lane=Lane.BULK, first_seq=first, through_seq=self.head, prev=prev,
            digest=self.digest, held_from=1, head_seq=self.head, entries=join([(0, codec.decode_row(row.body))]),
        )  # fmt: skip
        return codec.encode_batch(batch)


def written() -> int:
    """Bytes that this process has handed to the disk."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


async def _free(longest: list[float]) -> None:
    while True:
        asked = time.perf_counter()
        await asyncio.sleep(0.001)
        longest[0] = max(longest[0], time.perf_counter() - asked - 0.001)


async def _minute(store: Store, bodies: Iterator[bytes]) -> int:
    size = 0
    for body in bodies:
        batch = codec.decode_batch(body)
        assert (await store.log.append(batch, facts_of(batch), body)).position is not None
        size += len(body)
    return size


async def run(directory: Path, nodes: int, devices: int, minutes: int) -> Told:
    """All of it."""
    fleet = [Node(number, devices) for number in range(nodes)]
    told = Told(nodes * devices, minutes, 0, 0, 0, 0, 0.0, 0, 0.0, 0)
    before = written()
    async with opened(directory) as store:
        await _minute(store, (node.body(0) for node in fleet))  # every device is known
        before, saved = written(), store.latest.saved_through
        for minute in range(1, minutes + 1):
            told.payload += await _minute(store, (node.body(minute) for node in fleet))
            for _ in range(2):  # every 30 s
                at, longest = written(), [0.0]
                watch = asyncio.create_task(_free(longest))
                await store.tend()
                watch.cancel()
                told.written_saving += written() - at
                told.held_ms = max(told.held_ms, longest[0] * 1e3)
                told.again_records = max(told.again_records, store.log.reach().head - store.latest.saved_through)
                told.saves += store.latest.saved_through != saved
                saved = store.latest.saved_through
        told.written = written() - before
        # What kill -9 would leave: a copy of the files, opened.
        left = directory.with_name("killed")
        left.mkdir()
        for name in ("store.db", "store.db-wal", "generation"):
            (left / name).write_bytes((directory / name).read_bytes())
        told.store = sum(p.stat().st_size for p in left.iterdir())
    started = time.perf_counter()
    async with opened(left):
        told.start_s = time.perf_counter() - started
    return told


if __name__ == "__main__":
    gc.set_threshold(100_000, 50, 100)  # as `cloud.cli` does
    found = asyncio.run(run(Path(sys.argv[1]), *map(int, sys.argv[2:5])))
    os.write(1, msgspec.json.encode(found) + b"\n")
