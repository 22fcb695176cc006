"""Batches: what a node's outbox would cut of a street, without an outbox.

Samples of one commit are sealed as a row by `edge.outbox.sealing`, the digest runs over the rows, and the rows' columns
are joined as `edge.outbox.sqlite` joins them, opened from their bytes; so a batch here is what the uplink sends, byte
for byte. Batches of one `Sealing` follow each other as the one rule wants it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy

import msgspec

from bench.street import Street
from edge.outbox.contract import MAX_CUT_BYTES
from edge.outbox.joining import MAX_CUT_READINGS
from edge.outbox.sealing import seal
from wire.batch import ORIGIN, Batch, Lane, Placed, advance
from wire.codec import decode_row
from wire.columns import Columns
from wire.contents import Contents, join
from wire.sample import Clock, Sample

NODE = "cab-0001"
EPOCH = 4_242_424_242_424_242_424
COMMIT_S = 5.0


class Row(msgspec.Struct, frozen=True):
    """One sealed row of a lane, and where it ends."""

    first_seq: int
    last_seq: int
    digest: bytes
    body: bytes
    readings: int


class Sealing:
    """One bulk lane of one epoch of one node: samples in, rows and batches out."""

    def __init__(self, node: str = NODE, epoch: int = EPOCH) -> None:
        self._node, self._epoch = node, epoch
        self.head, self.digest = 0, ORIGIN
        self._told_seq, self._told = 0, ORIGIN  # where the cloud stands

    def commit(self, samples: Sequence[Sample]) -> list[Row]:
        """What one commit writes down: runs in the order in which `edge.outbox.group_commit` meets them."""
        runs: dict[tuple[str, Clock], list[Sample]] = {}
        for sample in samples:
            runs.setdefault((sample.device, sample.clock), []).append(sample)
        rows: list[Row] = []
        for sealed in seal([Columns.of(run) for run in runs.values()]):
            first, self.head = self.head + 1, self.head + sealed.width
            self.digest = advance(self.digest, sealed.body)
            rows.append(Row(first, self.head, self.digest, sealed.body, decode_row(sealed.body).readings))
        return rows

    def cut(self, rows: Sequence[Row]) -> Batch:
        """These rows as one batch; the cloud has it from then on."""
        opened = [(row.first_seq - self._told_seq - 1, decode_row(row.body)) for row in rows]
        last = rows[-1]
        batch = Batch(
            node=self._node,
            epoch=self._epoch,
            lane=Lane.BULK,
            first_seq=self._told_seq + 1,
            through_seq=last.last_seq,
            prev=self._told,
            digest=last.digest,
            held_from=1,
            head_seq=max(self.head, last.last_seq),
            entries=join(opened),
        )
        self._told_seq, self._told = last.last_seq, last.digest
        return batch


def commits(street: Street, seconds: float, commit_s: float = COMMIT_S) -> Iterator[list[Sample]]:
    """The samples of each commit of the next seconds."""
    for _ in range(round(seconds / commit_s)):
        if samples := list(street.samples(commit_s)):
            yield samples


def pushes(
    street: Street, push_s: float, seconds: float, *, commit_s: float = COMMIT_S, sealing: Sealing | None = None
) -> Iterator[list[Batch]]:
    """What goes up at each push interval of the next seconds: one batch, or several where the outbox cuts no larger
    one (a whole hour, say)."""
    sealing = sealing or Sealing()
    for _ in range(round(seconds / push_s)):
        rows = [row for samples in commits(street, push_s, commit_s) for row in sealing.commit(samples)]
        yield [sealing.cut(part) for part in cuts(rows)]


def of_readings(
    street: Street, readings: int, *, commit_s: float = COMMIT_S, sealing: Sealing | None = None
) -> Iterator[Batch]:
    """Batches of about so many readings each, for ever."""
    sealing = sealing or Sealing()
    rows: list[Row] = []
    waiting: list[Sample] = []
    have, due_s = 0, street.elapsed_s + commit_s
    while True:
        for sample in street.samples(commit_s):
            waiting.append(sample)
            have += len(sample.values)
            if have >= readings or street.elapsed_s >= due_s:
                rows += sealing.commit(waiting)
                waiting, due_s = [], street.elapsed_s + commit_s
            if have >= readings:
                yield sealing.cut(rows)
                rows, have = [], 0


def as_node(batch: Batch, number: int) -> Batch:
    """The same batch as another node of a fleet would send it, of devices of its own.

    `prev` and `digest` stay, and so do the seqs: each node's batches follow each other as the first one's do.
    """
    node = f"cab-{number:05}"
    found = batch.entries
    assert isinstance(found, Contents)
    tables = [copy(table) for table in found.tables]
    for table in tables:
        table.devices = [f"{node}.{device}" for device in table.devices]
    entries = Contents(tables, found.others, seated=found.seated)
    return msgspec.structs.replace(batch, node=node, epoch=batch.epoch + number, entries=entries)


def readings(batch: Batch) -> int:
    """How many readings it holds."""
    assert isinstance(batch.entries, Contents)
    return batch.entries.readings


def cuts(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The rows of each batch, as few batches as the outbox makes when the link is good."""
    part: list[Row] = []
    size = count = 0
    for row in rows:
        if part and (size + len(row.body) > MAX_CUT_BYTES or count + row.readings > MAX_CUT_READINGS):
            yield part
            part, size, count = [], 0, 0
        part.append(row)
        size += len(row.body)
        count += row.readings
    if part:
        yield part


def samples_of(placed: Sequence[Placed]) -> list[Sample]:
    """The samples in it, device by device."""
    return [s for p in placed if isinstance(p.entry, Columns) for s in p.entry.samples()]
