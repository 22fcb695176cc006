"""Forks: a run of which the cloud has another past ends, and what it holds beyond goes on under a new epoch.

Bound: MOVE_ROWS rows a transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edge.outbox.card import Card
from edge.outbox.records import SEQ_BITS, Damaged, seq_of, sum_of, whole
from edge.outbox.runs import row_id
from wire.batch import advance

MOVE_ROWS: Final = 128


class Forks:
    """Those of one card. Whoever asks has the card to itself."""

    def __init__(self, card: Card, draw_epoch: Callable[[], int]) -> None:
        self._card, self._draw_epoch = card, draw_epoch

    async def begin(self, run_id: int, keep: int) -> None:
        """The cloud stands where this run has never been: close it, and let what it holds beyond go on anew. Inside a
        transaction; `finish` moves the rows."""
        run = self._card.runs.by_id(run_id)
        new = await self._card.runs.create(run.lane, self._draw_epoch())
        new.ask, new.dirty = False, True
        kept = await self._card.db.all(
            "SELECT id FROM rows WHERE id > ? AND id <= ? ORDER BY id DESC LIMIT 1", row_id(run, 0), row_id(run, keep)
        )
        run.acked = seq_of(kept[0][0]) if kept else run.held_from - 1
        run.keep = run.acked
        run.closed = run.moving = run.settled = run.dirty = True
        run.moved = run.acked
        await self._card.runs.save()

    async def finish(self) -> None:
        """Move what closed runs hold beyond, some rows a transaction: a whole card could not be moved at once."""
        for run_id in [r.id for r in self._card.runs if r.moving]:
            while self._card.runs.by_id(run_id).moving:
                await self._card.write(lambda run_id=run_id: self.move_some(run_id))

    async def move_some(self, run_id: int) -> None:
        """Move the oldest rows that are to be moved; inside a transaction."""
        run = self._card.runs.by_id(run_id)
        new = self._card.runs.open(run.lane)
        rows = await self._card.db.all(
            "SELECT id, first_seq, from_us, to_us, digest, body, sum FROM rows WHERE id > ? AND id < ?"
            " ORDER BY id LIMIT ?",
            row_id(run, run.keep), (run.id + 1) << SEQ_BITS, MOVE_ROWS,
        )  # fmt: skip
        for *fields, sum_ in rows:
            id_, first, from_us, to_us, _, body = fields
            if not whole(sum_, *fields) or (run.moved and first != run.moved + 1):
                raise Damaged("the rows that are to be moved are not as they were written")
            run.moved = seq_of(id_)
            digest, width = advance(new.head_digest, body), seq_of(id_) - first + 1
            last = row_id(new, new.head + width)
            await self._card.db.execute(
                "UPDATE rows SET id = ?, first_seq = ?, digest = ?, sum = ? WHERE id = ?",
                last, new.head + 1, digest, sum_of(last, new.head + 1, from_us, to_us, digest, body), id_,
            )  # fmt: skip
            new.head, new.head_digest = new.head + width, digest
        await self._card.runs.find_head(run)
        run.moving, run.dirty = run.head > run.keep, True
        await self._card.runs.save()
