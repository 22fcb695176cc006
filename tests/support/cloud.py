"""A cloud in a few lines: the log's half of the one rule, for tests of the node's half."""

from __future__ import annotations

import copy

from edge.sync.http import AckAnswer
from wire import codec
from wire.batch import ORIGIN, Ack, Batch, Lane, Placed, Snapshot
from wire.columns import Columns


class Held:
    """What the log has of one lane of one epoch."""

    def __init__(self) -> None:
        self.through, self.digest, self.head = 0, ORIGIN, 0
        self.batches: list[Batch] = []


class SmallCloud:
    """Compare-and-append, nothing else. `fail` makes the next requests raise."""

    def __init__(self) -> None:
        self.lanes: dict[tuple[int, Lane], Held] = {}
        self.generation = 1
        self.fail: list[Exception] = []
        self.requests: list[str] = []
        self.snapshots: list[Snapshot] = []
        self.live_s = self.pause_s = 0.0
        self.server_us = 0
        self.took_s = 0.01
        self.held_s = 0.0

    def take(self, batch: Batch) -> Ack:
        """The one rule."""
        held = self.lanes.setdefault((batch.epoch, batch.lane), Held())
        if batch.first_seq == held.through + 1 and batch.prev == held.digest:
            held.batches.append(codec.decode_batch(codec.encode_batch(batch)))
            held.through, held.digest = batch.through_seq, batch.digest
            held.head = max(held.head, batch.head_seq)
        return self.ack(batch.epoch, batch.lane)

    def ack(self, epoch: int, lane: Lane) -> Ack:
        held = self.lanes.get((epoch, lane), Held())
        return Ack(
            generation=self.generation,
            epoch=epoch,
            lane=lane,
            through_seq=held.through,
            digest=held.digest,
            head_seq=held.head,
            accepts=(1,),
            server_us=self.server_us,
            live_s=self.live_s,
            pause_s=self.pause_s,
            held_s=self.held_s,
        )

    def backup(self) -> dict[tuple[int, Lane], Held]:
        return copy.deepcopy(self.lanes)

    def restore(self, backup: dict[tuple[int, Lane], Held]) -> None:
        self.lanes = copy.deepcopy(backup)
        self.generation += 1

    def entries(self, lane: Lane = Lane.BULK) -> list[tuple[int, Placed]]:
        """Every entry with its epoch, in order."""
        return [
            (epoch, placed)
            for (epoch, of), held in self.lanes.items()
            if of is lane
            for batch in held.batches
            for placed in batch.entries
        ]

    def numbers(self, point: str = "n") -> list[tuple[int, object]]:
        """(epoch, value) of every reading of a point."""
        return [
            (epoch, sample.values[point])
            for epoch, placed in self.entries()
            if isinstance(placed.entry, Columns)
            for sample in placed.entry.samples()
            if point in sample.values
        ]

    # ---- as a link (edge.uplink.Link) ----

    async def send(self, batch: Batch) -> AckAnswer:
        self.requests.append(batch.lane.value)
        self._maybe_fail()
        size = len(codec.encode_batch(batch))
        return AckAnswer(self.take(batch), self.took_s, size)

    async def place(self, epoch: int, lane: Lane) -> AckAnswer:
        self.requests.append("place")
        self._maybe_fail()
        return AckAnswer(self.ack(epoch, lane), self.took_s, 0)

    async def snapshot(self, snapshot: Snapshot) -> None:
        self.requests.append("snapshot")
        self._maybe_fail()
        self.snapshots.append(snapshot)

    def _maybe_fail(self) -> None:
        if self.fail:
            raise self.fail.pop(0)
