"""Writes what streets say to the card, commit after commit, and tells how many bytes that handed to the disk.

    python -m bench.loads.card_writer SINK ARRIVALS COMMIT_S WARM_S RUN_S DIRECTORY RESULT

SINK is `outbox` (the node's group commit and outbox, as shipped) or `file` (the same rows appended to one file, one
fdatasync a commit). ARRIVALS is a file with a list of `bench.street.Arrival`, in order, as MessagePack. Street time
passes as fast as the card takes it: what is written depends on what is in a commit, not on how long nothing happens
between two. Each minute of street time a Health entry is committed and everything is cut and acked, as the uplink does.
HISTORY_S bounds the local history, so that from then on there is always something to prune, as there is on a node after
its first `history_days`.

Measured are RUN_S seconds of street time after WARM_S. RESULT is written at the end, as JSON.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from bench.batches import NODE, Sealing
from bench.street import START_S, Arrival
from edge.config import OutboxTable
from edge.outbox.contract import MAX_CUT_BYTES, PositionQuery
from edge.outbox.group_commit import FULL_READINGS, FULL_RECEIPTS, GroupCommit
from edge.outbox.sqlite import SqliteOutbox
from wire.batch import ORIGIN, Ack, Lane
from wire.entries import Health

PUSH_S: Final = 60.0
HISTORY_S: Final = 120.0
COUNTERS: Final = (
    "polls", "polls_failed", "polls_missed", "samples_committed", "samples_lost", "batches", "batch_bytes",
    "batches_refused", "link_failures", "forks", "rows_pruned", "line_restarts", "unknown_points",
    "north.requests", "north.connects", "north.connected", "broker.publishes", "broker.acknowledged",
    "broker.connected", "radio.adverts", "radio.repeats", "radio.connections", "radio.connected",
)  # fmt: skip


class Result(msgspec.Struct, frozen=True):
    """`written_bytes` and `readings` are of the measured time, `samples` of all time."""

    written_bytes: int
    readings: int
    samples: int


class Sink(Protocol):
    """Where commits go."""

    async def take(self, arrival: Arrival) -> None:
        """Put it into the next commit."""
        ...

    async def commit(self) -> None:
        """Make what waits durable."""
        ...

    async def push(self, now_s: float) -> None:
        """A minute is over."""
        ...


class OutboxSink:
    """The node's own way: `edge.outbox.group_commit` on `edge.outbox.sqlite`."""

    def __init__(self, commit_s: float) -> None:
        self._commit_s = commit_s
        self._readings = self._receipts = 0
        self.now_us = int(START_S * 1e6)

    def open(self, outbox: SqliteOutbox) -> None:
        """Into this one."""
        self._outbox = outbox
        self._group = GroupCommit(outbox, interval_s=self._commit_s, committed=lambda _urgent, _live: None)

    async def take(self, arrival: Arrival) -> None:
        """Commits early where the group commit would."""
        self.now_us = int((START_S + arrival.at_s) * 1e6)
        self._group.add([arrival.sample], arrival.receipt, live=False)
        self._readings += len(arrival.sample.values)
        self._receipts += arrival.receipt is not None
        if self._readings >= FULL_READINGS or self._receipts >= FULL_RECEIPTS:
            await self.commit()

    async def commit(self) -> None:
        """Now, whatever the interval."""
        await self._group.flush()
        self._readings = self._receipts = 0

    async def push(self, now_s: float) -> None:
        """Health, and all that waits to the cloud, which has it at once."""
        counters = {name: int(now_s * 7) % 100_000 for name in COUNTERS}
        health = Health(time_us=int(now_s * 1e6), verdict="ok", version="0.1.0", uptime_s=now_s, counters=counters)
        self._group.put(health)
        await self.commit()
        for lane in Lane:
            while (cut := await self._outbox.cut(lane, MAX_CUT_BYTES)) is not None:
                epoch, through, digest = (
                    (cut.epoch, 0, ORIGIN)
                    if isinstance(cut, PositionQuery)
                    else (cut.batch.epoch, cut.batch.through_seq, cut.batch.digest)
                )
                ack = Ack(generation=1, epoch=epoch, lane=lane, through_seq=through, digest=digest, accepts=(1,),
                          server_us=int(now_s * 1e6))  # fmt: skip
                await self._outbox.confirm(ack)


class FileSink:
    """The least that durability costs: the sealed rows, one after the other, and one fdatasync."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._sealing = Sealing()
        self._waiting: list[Arrival] = []

    async def take(self, arrival: Arrival) -> None:
        """Keep it."""
        self._waiting.append(arrival)

    async def commit(self) -> None:
        """Append and sync."""
        samples, self._waiting = [a.sample for a in self._waiting], []
        for row in self._sealing.commit(samples) if samples else ():
            os.write(self._fd, struct.pack("<I", len(row.body)) + row.body)
        os.fdatasync(self._fd)

    async def push(self, now_s: float) -> None:
        """Acks are not kept; history goes by unlinking whole files."""


def rows_in(path: Path) -> Iterator[bytes]:
    """The rows that a FileSink has written."""
    data = path.read_bytes()
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        yield data[at + 4 : at + 4 + size]
        at += 4 + size


async def run(sink: Sink, arrivals: Sequence[Arrival], commit_s: float, warm_s: float, run_s: float) -> Result:
    """Warm up, then measure."""
    samples = readings = 0
    began = written_bytes()
    coming = deque(arrivals)
    for turn in range(round((warm_s + run_s) / commit_s)):
        end_s = (turn + 1) * commit_s
        measured = turn * commit_s >= warm_s
        if not measured:
            began = written_bytes()
        while coming and coming[0].at_s < end_s:
            arrival = coming.popleft()
            await sink.take(arrival)
            samples += 1
            readings += len(arrival.sample.values) if measured else 0
        await sink.commit()
        if round(end_s) % round(PUSH_S) == 0:
            await sink.push(START_S + end_s)
    return Result(written_bytes() - began, readings, samples)


def written_bytes() -> int:
    """What this process has handed to the disk so far (proc(5))."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("write_bytes")).split()[1])


async def measure(
    sink: str, arrivals: Sequence[Arrival], commit_s: float, warm_s: float, run_s: float, folder: Path
) -> Result:
    """See the module."""
    if sink == "file":
        return await run(FileSink(folder / "rows"), arrivals, commit_s, warm_s, run_s)
    taking = OutboxSink(commit_s)
    outbox = SqliteOutbox(
        folder,
        node=NODE,
        limit_bytes=OutboxTable().limit_bytes,
        history_us=int(HISTORY_S * 1e6),
        now_us=lambda: taking.now_us,
    )
    async with outbox:
        taking.open(outbox)
        return await run(taking, arrivals, commit_s, warm_s, run_s)


if __name__ == "__main__":
    given = msgspec.msgpack.decode(Path(sys.argv[2]).read_bytes(), type=list[Arrival])
    told = asyncio.run(measure(sys.argv[1], given, *map(float, sys.argv[3:6]), Path(sys.argv[6])))
    Path(sys.argv[7]).write_bytes(msgspec.json.encode(told))
