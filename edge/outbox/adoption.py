"""Adoption: what a card in memory has, which stood in for one that could not be used, goes onto that one.

Bound: PAGE_ROWS rows a transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge.outbox.card import Card
from edge.outbox.reading import PAGE_ROWS
from edge.outbox.records import seq_of
from edge.outbox.retention import Retention
from edge.outbox.runs import Run, row_id


async def adopt(card: Card, room: Retention, memory: Card) -> None:
    """Let the runs of `memory` go on here, under their epochs and seqs; what was open here is closed, for nothing was
    added to it. State by key that it had from here is replaced; where it could not read the card, what it has goes
    before.

    It takes several transactions; a crash in between leaves whole rows, and the rest is lost with the memory.
    """
    mine = {(r.epoch, r.lane): r.id for r in card.runs}
    begun: dict[int, int] = {}

    async def begin() -> None:
        for run in card.runs:
            run.dirty |= not run.closed
            run.closed = run.settled = True
        for other in memory.runs:
            if (other.epoch, other.lane) in mine:
                continue
            run = await card.runs.create(other.lane, other.epoch)
            run.held_from, run.base = other.held_from, other.base
            run.acked, run.told, run.dirty = other.acked, other.told, True
            run.head, run.head_digest = other.held_from - 1, other.base
            begun[run.id] = other.id
        await card.runs.save()

    await card.write(begin)
    for run_id, other_id in begun.items():
        await _take_rows(card, room, run_id, memory, memory.runs.by_id(other_id))
    await _take_state(card, memory)


async def _take_rows(card: Card, room: Retention, run_id: int, memory: Card, other: Run) -> None:
    after = row_id(other, 0)
    while rows := await memory.db.all(
        "SELECT id, first_seq, from_us, to_us, digest, body FROM rows WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
        after, row_id(other, other.head), PAGE_ROWS,
    ):  # fmt: skip
        await room.make(sum(len(row[5]) for row in rows))

        async def put(rows: Sequence[Any] = rows) -> None:
            run = card.runs.by_id(run_id)
            for id_, first, from_us, to_us, digest, body in rows:
                await card.put_row(row_id(run, seq_of(id_)), first, from_us, to_us, digest, body)
                run.head, run.head_digest = seq_of(id_), digest

        await card.write(put)
        after = rows[-1][0]


async def _take_state(card: Card, memory: Card) -> None:
    kept = await memory.db.all("SELECT key, value, sum FROM kept")
    receipts = await memory.db.all("SELECT source, n, keys, sum FROM receipts ORDER BY id")

    async def put() -> None:
        if memory.seeded:
            await card.db.execute("DELETE FROM kept")
            await card.db.execute("DELETE FROM receipts")
        for row in kept:
            await card.db.execute("INSERT OR REPLACE INTO kept (key, value, sum) VALUES (?, ?, ?)", *row)
        for row in receipts:
            await card.db.execute("INSERT INTO receipts (source, n, keys, sum) VALUES (?, ?, ?, ?)", *row)

    await card.write(put)
