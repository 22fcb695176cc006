"""Cutting: what the next batch of a run is made of: the rows after the place where the cloud stands, or a Gap where
they are missing.

Bounds: PAGE_ROWS rows a question to the card, MAX_CUT_ROWS a batch.
"""

from __future__ import annotations

from typing import Final

import msgspec

from edge.outbox.card import Card
from edge.outbox.contract import MAX_CUT_ROWS, Cut
from edge.outbox.joining import SealedRow
from edge.outbox.reading import PAGE_ROWS
from edge.outbox.records import Damaged, seq_of, whole
from edge.outbox.runs import Run, row_id
from wire.batch import Batch
from wire.contents import Contents
from wire.entries import Gap

DAMAGED: Final = "damaged on the card"


class Cutter:
    """For one card, whose node is named in each batch."""

    def __init__(self, card: Card, node: str) -> None:
        self._card, self._node = card, node

    async def rows(self, run: Run, limit_bytes: int) -> tuple[list[SealedRow], int | None]:
        """Unacked rows up to a size, or to a hole or one that is not as it was written. When the first is such a one,
        no row and its last seq.

        Raises:
            Damaged: rows are missing.
        """
        rows: list[SealedRow] = []
        size, after = 0, run.acked
        while (wanted := min(PAGE_ROWS, MAX_CUT_ROWS - len(rows))) > 0:
            # By the page: row by row, SQLite's thread would be asked for each, and a message wait for all of them.
            page = await self._card.db.all(
                "SELECT id, first_seq, from_us, to_us, digest, body, sum FROM rows WHERE id > ? AND id <= ?"
                " ORDER BY id LIMIT ?",
                row_id(run, after), row_id(run, run.head), wanted,
            )  # fmt: skip
            for *fields, sum_ in page:
                id_, first, _, _, digest, body = fields
                is_hole = id_ in self._card.holes
                if not whole(sum_, *fields):
                    return rows, None if rows else seq_of(id_)
                if first != after + 1 and not (is_hole and not rows and first <= after):
                    raise Damaged(f"the rows after {after} are missing")
                size += len(body)
                if rows and (size > limit_bytes or is_hole):
                    return rows, None
                rows.append(SealedRow(first, seq_of(id_), digest, body))
                after = rows[-1].last_seq
                if is_hole:
                    return rows, None
            if len(page) < wanted:
                break
        if not rows:
            raise Damaged(f"the rows after {after} are missing")
        return rows, None

    def hole(self, run: Run, row: SealedRow) -> Cut:
        """The rest of a hole, from wherever in it the cloud stands."""
        width = row.last_seq - run.acked
        gap = Gap(reason=DAMAGED, lost=width, seqs=width)
        batch = msgspec.structs.replace(
            self.batch(run), through_seq=row.last_seq, digest=row.digest, entries=Contents.of([gap])
        )
        return Cut(batch, 0, 0)

    def gap_before(self, run: Run) -> Cut:
        """The cloud stands before all that is held."""
        width = run.held_from - 1 - run.acked
        gap = Gap(reason="no longer held by the node", lost=width, seqs=width)
        batch = msgspec.structs.replace(
            self.batch(run),
            through_seq=run.held_from - 1,
            digest=run.base,
            entries=Contents.of([gap]),
        )
        return Cut(batch, 0, 0)

    def batch(self, run: Run) -> Batch:
        """A batch from where the cloud stands; what is in it is filled in later."""
        return Batch(
            node=self._node,
            epoch=run.epoch,
            lane=run.lane,
            first_seq=run.acked + 1,
            through_seq=run.acked,
            prev=run.told,
            digest=run.told,
            held_from=run.held_from,
            head_seq=run.head,
            entries=(),
            predecessor=msgspec.UNSET if run.acked else self._card.runs.predecessor(run),
        )
